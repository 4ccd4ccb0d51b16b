"""A preview on the terminal and as a chart."""

import math
from collections.abc import Sequence
from itertools import groupby

from rich.table import Table

from analysis.charts.chart import Band, Blocks, Chart, Line, Mark, Panel, Rule, span_text, spans
from analysis.charts.looks import BLUE, GREEN, GREY, ORANGE, RED, SIGNAL_COLOURS
from analysis.preview.compute import Preview
from study.formats import DASH, number
from trainables.epochs import epoch_number, epoch_numbers
from trainables.noise.controller import Injection
from trainables.noise.signals import SIGNALS


def signals_table(preview: Preview) -> Table:
    """When each signal is raised, up to the fork."""
    table = Table(title="signals, up to the first noisy epoch")
    table.add_column("signal", no_wrap=True)
    table.add_column("raised before epochs")
    for column in ("first", "threshold", "lowest", "highest"):
        table.add_column(column, justify="right")
    for signal in preview.signals:
        table.add_row(
            signal.name,
            span_text(epoch_numbers(signal.raised)),
            str(epoch_number(signal.raised[0])) if signal.raised else DASH,
            number(signal.threshold, ".4g"),
            number(signal.lowest, ".4g"),
            number(signal.highest, ".4g"),
        )
    return table


def timeline_table(preview: Preview) -> Table:
    """The controller's phases in order, from the first epoch to the end of the budget."""
    table = Table(title=f"{preview.source}: what these settings would do")
    table.add_column("epochs", no_wrap=True)
    table.add_column("phase")
    table.add_column("signals raised")
    for column in ("noise", "magnitude", "severity", "cooldown left"):
        table.add_column(column, justify="right")
    for first, last, decided in _phases(preview):
        noisy = decided.injecting
        style = "bold" if noisy else ""
        table.add_row(
            span_text(epoch_numbers(range(first, last + 1))),
            decided.phase.replace("_", "-"),
            ", ".join(decided.signals) or DASH,
            decided.kind if noisy else DASH,
            f"{decided.magnitude:.4g}" if noisy else DASH,
            f"{decided.severity:.3f}" if noisy and preview.noise.policy != "always" else DASH,
            _cooldown_left(first, last, decided),
            style=style,
        )
    if preview.known < preview.epochs:
        cells = [
            span_text(range(epoch_number(preview.known), preview.epochs + 1)),
            "no longer known",
        ]
        table.add_row(*cells, *["?"] * 5, style="dim")
    return table


def _cooldown_left(first: int, last: int, decided: Injection) -> str:
    if decided.phase != "cooldown":
        return str(decided.cooldown_remaining) if decided.cooldown_remaining else DASH
    return f"{decided.cooldown_remaining + last - first}–{decided.cooldown_remaining}"


def _phases(preview: Preview) -> list[tuple[int, int, Injection]]:
    """Runs of epochs with the same phase and signals: first, last, the last one's decision."""
    known = enumerate(preview.decisions)
    runs = [list(run) for _, run in groupby(known, lambda each: (each[1].phase, each[1].signals))]
    return [(run[0][0], run[-1][0], run[-1][1]) for run in runs]


_STATISTICS = (
    ("loss", {"train_loss": BLUE, "val_loss": ORANGE}),
    ("grad_norm", {"grad_norm": GREEN}),
    ("weight_update_norm", {"weight_update_norm": RED}),
)
"""Panels: axis, and statistics with colours; the signals are those that are read off them."""


def preview_chart(preview: Preview) -> Chart:
    """The statistics with the raised signals as bands, the fork, and the unknown part greyed."""
    raised = {signal.name: signal.raised for signal in preview.signals}
    reach = (0.5, preview.epochs + 0.5)
    panels = []
    for axis, statistics in _STATISTICS:
        marks: list[Mark] = [
            Band(start - 0.5, stop + 0.5, f"{name} raised", SIGNAL_COLOURS[name])
            for name, signal in SIGNALS.items()
            if not statistics.keys().isdisjoint(signal.statistics)
            for start, stop in spans(epoch_numbers(raised.get(name, ())))
        ]
        for name, colour in statistics.items():
            marks += _baseline_lines(preview, name, colour)
        panels.append(
            Panel(
                (*marks, *_borders(preview)),
                x="",
                y=axis,
                x_range=reach,
                y_log=_spans_decades(preview, list(statistics)),
                height=0.75,
            )
        )
    panels.append(_signals_panel(preview, reach))
    return Chart(
        key="preview",
        title=" ".join([preview.source + ":", *preview.sentences()[:1]]),
        panels=tuple(panels),
        caption=" ".join(preview.sentences()),
    )


def _spans_decades(preview: Preview, names: Sequence[str]) -> bool:
    """Whether a linear axis would show little but the largest value."""
    values = [getattr(row, name) for row in preview.history for name in names]
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 1000 * min(finite)


def _baseline_lines(preview: Preview, name: str, colour: str) -> list[Line]:
    values = [getattr(row, name) for row in preview.history]
    # The first noisy epoch's own statistics are no longer the baseline's.
    cut = len(values) if preview.fork is None else preview.fork
    before = Line(epoch_numbers(range(cut)), values[:cut], name, colour)
    after = range(max(0, cut - 1), len(values))
    later = Line(
        epoch_numbers(after),
        values[max(0, cut - 1) :],
        f"{name} of the baseline",
        colour,
        "dot",
        1.2,
        0.6,
        False,
    )
    return [before, later] if len(after) > 1 else [before]


def _borders(preview: Preview) -> list[Mark]:
    marks: list[Mark] = []
    if preview.known < preview.epochs:
        name = "no longer known" if preview.fork is not None else "not recorded"
        marks.append(Band(preview.known + 0.5, preview.epochs + 0.5, name, GREY, 0.22))
    if preview.fork is not None:
        begins = epoch_number(preview.fork)
        marks.append(Rule(begins, f"noise begins (epoch {begins})", RED, "x", "solid"))
    return marks


def _signals_panel(preview: Preview, reach: tuple[float, float]) -> Panel:
    by_row = {name: spans(epoch_numbers(epochs)) for name, epochs in _marked(preview).items()}
    colours = {**SIGNAL_COLOURS, "noise": RED, "cooldown": GREY}
    marks: list[Mark] = [
        Blocks(tuple(by_row), [(row, a - 0.5, b + 0.5) for a, b in found], row, colours[row])
        for row, found in by_row.items()
    ]
    return Panel((*marks, *_borders(preview)), y="raised before", x_range=reach, height=0.9)


def _marked(preview: Preview) -> dict[str, list[int]]:
    """The epochs before which each signal is raised, those with noise, and those of cooldowns."""
    known = list(enumerate(preview.decisions))
    return {signal.name: list(signal.raised) for signal in preview.signals} | {
        "noise": [epoch for epoch, decided in known if decided.injecting],
        "cooldown": [epoch for epoch, decided in known if decided.phase == "cooldown"],
    }


def terminal_picture(preview: Preview, width: int = 90) -> str:
    """The preview as text with ANSI colours: curves, and a line for each signal."""
    marked = _marked(preview)
    label = max(map(len, marked))
    columns = max(20, width - label - 2)
    parts = [
        _terminal_curves(preview, axis, names, width)
        for axis, names in (("loss", ("train_loss", "val_loss")), ("grad_norm", ("grad_norm",)))
    ]
    signs = {"noise": "▲", "cooldown": "▼"}
    lines = [
        f"{name:>{label}} {_strip(preview, set(epochs), columns, signs.get(name, '█'))}"
        for name, epochs in marked.items()
    ]
    shown = min(columns, preview.epochs) * _wide(preview, columns)
    lines.append(f"{'epoch':>{label}} 1{preview.epochs:>{max(1, shown - 1)}}")
    lines.append(f"{'':>{label}} █ raised  ▲ noise  ▼ cooldown  · neither  ░ not known")
    return "\n".join([*parts, *lines])


def _terminal_curves(preview: Preview, axis: str, names: Sequence[str], width: int) -> str:
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.theme("simple")
    figure.plot_size(width, 11)
    figure.legend(False)
    last = max(2, preview.epochs)
    figure.ruler("x").lim(1, last)
    figure.ruler("x").ticks(sorted({1 + round(i * (last - 1) / 5) for i in range(6)}))
    title, values = [], []
    for name, color in zip(names, ("cyan", "yellow"), strict=False):
        known = [(epoch_number(row.epoch), getattr(row, name)) for row in preview.history]
        shown = [(epoch, value) for epoch, value in known if math.isfinite(value)]
        if not shown:
            continue
        title.append(f"{name} ({color})")
        values += [value for _, value in shown]
        marker = plotext.marker("braille", color)
        signal = figure.signal(*map(list, zip(*shown, strict=True)), marker=marker)
        figure.draw(signal.lines())
    if not values:
        return f"{axis}: no finite value is recorded"
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    figure.ruler("y").lim(low, high)
    text = f"baseline: {', '.join(title)}"
    if preview.fork is not None:
        text += "; red: noise begins"
        line = figure.signal(
            [epoch_number(preview.fork)] * 2, [low, high], marker=plotext.marker("braille", "red")
        )
        figure.draw(line.lines())
    return f"{text}\n{str(figure.build().string()).rstrip()}"


def _strip(preview: Preview, marked: set[int], columns: int, sign: str) -> str:
    """An epoch is one character or several; where they don't fit, a character several epochs."""
    count = min(columns, preview.epochs)
    text = ""
    for column in range(count):
        first = column * preview.epochs // count
        inside = range(first, max(first + 1, (column + 1) * preview.epochs // count))
        if any(epoch in marked for epoch in inside):
            text += sign * _wide(preview, columns)
        else:
            text += ("░" if first >= preview.known else "·") * _wide(preview, columns)
    return text


def _wide(preview: Preview, columns: int) -> int:
    return max(1, columns // preview.epochs)
