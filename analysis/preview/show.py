"""A preview on the terminal and as a chart."""

import math
from collections.abc import Sequence
from itertools import groupby

from rich.table import Table

from analysis.charts.chart import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SIGNAL_COLOURS,
    Band,
    Blocks,
    Chart,
    Line,
    Mark,
    Panel,
    Rule,
    span_text,
    spans,
)
from analysis.preview.compute import Preview
from trainables.noise.controller import Injection
from trainables.noise.signals import SIGNALS


def signals_table(found: Preview) -> Table:
    """When each signal is raised, up to the fork."""
    table = Table(title="signals, up to the first noisy epoch")
    table.add_column("signal", no_wrap=True)
    table.add_column("raised before epochs")
    for column in ("first", "threshold", "lowest", "highest"):
        table.add_column(column, justify="right")
    for signal in found.signals:
        table.add_row(
            signal.name,
            span_text(signal.raised),
            str(signal.raised[0]) if signal.raised else "–",
            _number(signal.threshold),
            _number(signal.lowest),
            _number(signal.highest),
        )
    return table


def timeline_table(found: Preview) -> Table:
    """The controller's phases in order, from epoch 0 to the end of the budget."""
    table = Table(title=f"{found.source}: what these settings would do")
    table.add_column("epochs", no_wrap=True)
    table.add_column("phase")
    table.add_column("signals raised")
    for column in ("noise", "magnitude", "severity", "cooldown left"):
        table.add_column(column, justify="right")
    for first, last, decided in _phases(found):
        noisy = decided.injecting
        style = "bold" if noisy else ""
        table.add_row(
            f"{first}" if first == last else f"{first}–{last}",
            decided.phase.replace("_", "-"),
            ", ".join(decided.signals) or "–",
            decided.kind if noisy else "–",
            f"{decided.magnitude:.4g}" if noisy else "–",
            f"{decided.severity:.3f}" if noisy and found.noise.policy != "always" else "–",
            _cooldown_left(first, last, decided),
            style=style,
        )
    if found.known < found.epochs:
        end = found.epochs - 1
        cells = [f"{found.known}–{end}" if end > found.known else str(end), "no longer known"]
        table.add_row(*cells, *["?"] * 5, style="dim")
    return table


def _cooldown_left(first: int, last: int, decided: Injection) -> str:
    if decided.phase != "cooldown":
        return str(decided.cooldown_remaining) if decided.cooldown_remaining else "–"
    return f"{decided.cooldown_remaining + last - first}–{decided.cooldown_remaining}"


def _phases(found: Preview) -> list[tuple[int, int, Injection]]:
    """Runs of epochs with the same phase and signals: first, last, the last one's decision."""
    known = enumerate(found.decisions)
    runs = [list(run) for _, run in groupby(known, lambda each: (each[1].phase, each[1].signals))]
    return [(run[0][0], run[-1][0], run[-1][1]) for run in runs]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


_STATISTICS = (
    ("loss", {"train_loss": BLUE, "val_loss": ORANGE}),
    ("grad_norm", {"grad_norm": GREEN}),
    ("weight_update_norm", {"weight_update_norm": RED}),
)
"""Panels: axis, and statistics with colours; the signals are those that are read off them."""


def preview_chart(found: Preview) -> Chart:
    """The statistics with the raised signals as bands, the fork, and the unknown part greyed."""
    raised = {signal.name: signal.raised for signal in found.signals}
    panels = []
    for axis, statistics in _STATISTICS:
        marks: list[Mark] = [
            Band(start - 0.5, stop + 0.5, f"{name} raised", SIGNAL_COLOURS[name])
            for name, signal in SIGNALS.items()
            if not statistics.keys().isdisjoint(signal.statistics)
            for start, stop in spans(raised.get(name, ()))
        ]
        for name, colour in statistics.items():
            marks += _baseline_lines(found, name, colour)
        panels.append(
            Panel(
                (*marks, *_borders(found)),
                x="",
                y=axis,
                x_range=_x_range(found),
                y_log=_spans_decades(found, list(statistics)),
                height=0.75,
            )
        )
    panels.append(_signals_panel(found))
    return Chart(
        key="preview",
        title=" ".join([found.source + ":", *found.sentences()[:1]]),
        panels=tuple(panels),
        caption=" ".join(found.sentences()),
    )


def _spans_decades(found: Preview, names: Sequence[str]) -> bool:
    """Whether a linear axis would show little but the largest value."""
    values = [getattr(row, name) for row in found.history for name in names]
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 1000 * min(finite)


def _baseline_lines(found: Preview, name: str, colour: str) -> list[Line]:
    values = [getattr(row, name) for row in found.history]
    # The first noisy epoch's own statistics are no longer the baseline's.
    cut = len(values) if found.fork is None else found.fork
    before = Line(range(cut), values[:cut], name, colour)
    after = range(max(0, cut - 1), len(values))
    later = Line(
        after, values[max(0, cut - 1) :], f"{name} of the baseline", colour, "dot", 1.2, 0.6, False
    )
    return [before, later] if len(after) > 1 else [before]


def _borders(found: Preview) -> list[Mark]:
    marks: list[Mark] = []
    if found.known < found.epochs:
        name = "no longer known" if found.fork is not None else "not recorded"
        marks.append(Band(found.known - 0.5, found.epochs - 0.5, name, GREY, 0.22))
    if found.fork is not None:
        marks.append(Rule(found.fork, f"noise begins (epoch {found.fork})", RED, "x", "solid"))
    return marks


def _x_range(found: Preview) -> tuple[float, float]:
    return (-0.5, found.epochs - 0.5)


def _signals_panel(found: Preview) -> Panel:
    rows = (*(signal.name for signal in found.signals), "noise", "cooldown")
    by_row: dict[str, list[tuple[int, int]]] = {s.name: spans(s.raised) for s in found.signals}
    by_row["noise"] = spans([e for e, d in enumerate(found.decisions) if d.injecting])
    by_row["cooldown"] = spans([e for e, d in enumerate(found.decisions) if d.phase == "cooldown"])
    colours = {**SIGNAL_COLOURS, "noise": RED, "cooldown": GREY}
    marks: list[Mark] = [
        Blocks(
            rows,
            [(row, start - 0.5, stop + 0.5) for start, stop in by_row[row]],
            row,
            colours[row],
        )
        for row in rows
    ]
    return Panel((*marks, *_borders(found)), y="raised before", x_range=_x_range(found), height=0.9)


def terminal_picture(found: Preview, width: int = 90) -> str:
    """The preview as text with ANSI colours: curves, and a line for each signal."""
    label = max(len(name) for name in (*(signal.name for signal in found.signals), "cooldown"))
    columns = max(20, width - label - 2)
    parts = [
        _terminal_curves(found, axis, names, width)
        for axis, names in (("loss", ("train_loss", "val_loss")), ("grad_norm", ("grad_norm",)))
    ]
    noisy = {epoch for epoch, decided in enumerate(found.decisions) if decided.injecting}
    cooling = {e for e, decided in enumerate(found.decisions) if decided.phase == "cooldown"}
    rows = [(signal.name, set(signal.raised), "█") for signal in found.signals]
    lines = [
        f"{name:>{label}} {_strip(found, epochs, columns, sign)}"
        for name, epochs, sign in (*rows, ("noise", noisy, "▲"), ("cooldown", cooling, "▼"))
    ]
    shown = min(columns, found.epochs) * _wide(found, columns)
    lines.append(f"{'epoch':>{label}} 0{found.epochs - 1:>{max(1, shown - 1)}}")
    lines.append(f"{'':>{label}} █ raised  ▲ noise  ▼ cooldown  · neither  ░ not known")
    return "\n".join([*parts, *lines])


def _terminal_curves(found: Preview, axis: str, names: Sequence[str], width: int) -> str:
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.theme("simple")
    figure.plot_size(width, 11)
    figure.legend(False)
    last = max(1, found.epochs - 1)
    figure.ruler("x").lim(0, last)
    figure.ruler("x").ticks(sorted({round(i * last / 5) for i in range(6)}))
    title, values = [], []
    for name, color in zip(names, ("cyan", "yellow"), strict=False):
        known = [(row.epoch, getattr(row, name)) for row in found.history]
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
    if found.fork is not None:
        text += "; red: noise begins"
        line = figure.signal([found.fork] * 2, [low, high], marker=plotext.marker("braille", "red"))
        figure.draw(line.lines())
    return f"{text}\n{str(figure.build().string()).rstrip()}"


def _strip(found: Preview, marked: set[int], columns: int, sign: str) -> str:
    """An epoch is one character or several; where they don't fit, a character several epochs."""
    count = min(columns, found.epochs)
    text = ""
    for column in range(count):
        first = column * found.epochs // count
        inside = range(first, max(first + 1, (column + 1) * found.epochs // count))
        if any(epoch in marked for epoch in inside):
            text += sign * _wide(found, columns)
        else:
            text += ("░" if first >= found.known else "·") * _wide(found, columns)
    return text


def _wide(found: Preview, columns: int) -> int:
    return max(1, columns // found.epochs)
