"""What settings would do on a recorded baseline: which signals, when noise begins, how strong.

A trial equals the baseline of its seed until its first noisy epoch (METHOD, section 9). So up to
that epoch all of it follows from the baseline's recorded statistics and the settings, without
training; after it the course is another one, which nobody knows yet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.table import Table

from analysis.charts import (
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
from analysis.reading import BaselineHistory
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.noise.controller import SEVERITY_UNKNOWN, Injection, replay
from trainables.noise_config import NoiseConfig


@dataclass(frozen=True)
class SignalPreview:
    """One signal that is listened to, over the epochs that are known.

    Attributes:
        name: the signal.
        threshold: what it is compared with.
        raised: the epochs before which it is raised.
        evaluated: how many epochs it was evaluated before.
        lowest, highest: of what was measured; None if it never was.
    """

    name: str
    threshold: float | None
    raised: tuple[int, ...]
    evaluated: int
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class CooldownPreview:
    """The first cooldown.

    Attributes:
        exact: its length in epochs, where it follows from the baseline; else None.
        earliest: the first epoch that it could begin at.
        shortest, longest: the lengths that the settings allow.
        at_this_severity: its length if the gradient's severity stays as at the fork.
    """

    exact: int | None
    earliest: int
    shortest: int
    longest: int
    at_this_severity: int


@dataclass(frozen=True)
class Preview:
    """What the settings would do.

    Attributes:
        source: whose history it is.
        noise: the settings.
        epochs: the epoch budget.
        history: the baseline's recorded epochs.
        decisions: one for each epoch from 0 on that is known.
        fork: the first noisy epoch; None if noise does not begin within what is known.
        signals: the signals listened to.
        cooldown: the first cooldown; None without a fork, or where there is none.
    """

    source: str
    noise: NoiseConfig
    epochs: int
    history: tuple[EpochMetrics, ...]
    decisions: tuple[Injection, ...]
    fork: int | None
    signals: tuple[SignalPreview, ...]
    cooldown: CooldownPreview | None

    @property
    def known(self) -> int:
        """Epochs whose decision is known: from 0 on."""
        return len(self.decisions)

    @property
    def injection(self) -> Injection | None:
        """The first injection."""
        return None if self.fork is None else self.decisions[self.fork]

    def sentences(self) -> list[str]:
        """The answer, for people."""
        return [*_beginning(self), *_after(self)]


def preview(baseline: BaselineHistory, noise: NoiseConfig) -> Preview:
    """See from a baseline's history what settings would do.

    Args:
        baseline: its recorded epochs; the whole of them, or as many as there are.
        noise: the settings.

    Raises:
        InputError: if nothing is recorded, or the settings say that there is no noise.
    """
    if noise.policy == "off":
        raise InputError(
            "noise.policy = 'off': there is no noise to preview; "
            "give --policy on_stagnation or always"
        )
    if not baseline.rows and baseline.noisy_from is None:
        raise InputError(f"{baseline.source}: no epoch is recorded yet")
    every = list(replay(baseline.rows, noise, baseline.epochs))
    fork = next((epoch for epoch, decided in enumerate(every) if decided.injecting), None)
    known = len(every) if fork is None else fork + 1
    decisions = every[:known]
    cooldown = None if fork is None else _cooldown(noise, decisions[fork], fork)
    if fork is not None and cooldown is not None and cooldown.exact:
        # A cooldown of known length is clean, whatever training does meanwhile.
        last = min(baseline.epochs, fork + 1 + cooldown.exact)
        decisions += [
            Injection("none", 0.0, 0.0, (), "cooldown", cooldown_remaining=last - 1 - epoch)
            for epoch in range(fork + 1, last)
        ]
    return Preview(
        source=baseline.source,
        noise=noise,
        epochs=baseline.epochs,
        history=baseline.rows,
        decisions=tuple(decisions),
        fork=fork,
        signals=_signals(noise, decisions),
        cooldown=cooldown,
    )


def _signals(noise: NoiseConfig, decisions: Sequence[Injection]) -> tuple[SignalPreview, ...]:
    if noise.policy != "on_stagnation":
        return ()
    found = []
    for name in noise.signals:
        seen = [
            (epoch, reading)
            for epoch, decided in enumerate(decisions)
            for reading in decided.readings
            if reading.name == name
        ]
        values = [reading.value for _, reading in seen if reading.value is not None]
        found.append(
            SignalPreview(
                name=name,
                threshold=seen[0][1].threshold if seen else None,
                raised=tuple(epoch for epoch, reading in seen if reading.raised),
                evaluated=len(values),
                lowest=min(values, default=None),
                highest=max(values, default=None),
            )
        )
    return tuple(found)


def _cooldown(noise: NoiseConfig, first: Injection, fork: int) -> CooldownPreview | None:
    """METHOD, section 4, step 4: the length follows from the severity of the *last* noisy epoch."""
    if noise.policy != "on_stagnation" or noise.cooldown_min + noise.cooldown_extra == 0:
        return None

    def length(severity: float) -> int:
        return math.floor(noise.cooldown_min + severity * noise.cooldown_extra)

    gradient = "grad_norm_plateau" in first.signals
    return CooldownPreview(
        exact=first.cooldown_remaining if noise.max_injection_epochs == 1 else None,
        earliest=fork + noise.max_injection_epochs,
        shortest=length(SEVERITY_UNKNOWN),
        longest=length(1.0) if "grad_norm_plateau" in noise.signals else length(SEVERITY_UNKNOWN),
        at_this_severity=length(first.severity if gradient else SEVERITY_UNKNOWN),
    )


def _beginning(found: Preview) -> list[str]:
    injection = found.injection
    if injection is None:
        told = len(found.history)
        if told >= found.epochs - 1:
            return [
                f"Noise never begins within {found.epochs} epochs: a trial with these settings "
                "would equal the baseline."
            ]
        return [
            f"Noise does not begin within the {told} epochs recorded of {found.epochs}; "
            "what comes later is not known."
        ]
    begins = (
        f"Noise begins in epoch {found.fork} of {found.epochs} (counted from 0): {injection.kind} "
        f"noise of magnitude {injection.magnitude:.4g}"
    )
    if found.noise.policy == "always":
        return [f"{begins}, in every epoch."]
    raised = ", ".join(injection.signals)
    return [f"{begins}, severity {injection.severity:.3f}, because of {raised}."]


def _after(found: Preview) -> list[str]:
    if found.fork is None:
        return []
    if found.noise.policy == "always":
        return ["What training becomes under it is not known in advance."]
    lines = []
    cooldown, noise = found.cooldown, found.noise
    if cooldown is None:
        lines.append("There is no cooldown.")
    elif cooldown.earliest >= found.epochs:
        lines.append(
            f"There is no room for a cooldown: it would follow {noise.max_injection_epochs} noisy "
            "epochs in a row."
        )
    elif cooldown.exact is not None:
        lines.append(
            f"One noisy epoch, then a cooldown of {cooldown.exact} epochs "
            f"(from epoch {cooldown.earliest} on)."
        )
    else:
        lines.append(
            f"A cooldown follows {noise.max_injection_epochs} noisy epochs in a row, so from epoch "
            f"{cooldown.earliest} on at the earliest: {_lengths(cooldown)}."
        )
    if found.known < found.epochs:
        lines.append(f"From epoch {found.known} on nothing is known: training leaves the baseline.")
    return lines


def _lengths(cooldown: CooldownPreview) -> str:
    if cooldown.shortest == cooldown.longest:
        return f"{cooldown.shortest} epochs long"
    return (
        f"{cooldown.shortest} to {cooldown.longest} epochs long, {cooldown.at_this_severity} "
        "if the severity stays"
    )


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
    ("loss", (("train_loss", BLUE), ("val_loss", ORANGE)), ("stuck", "val_loss_plateau")),
    ("grad_norm", (("grad_norm", GREEN),), ("grad_norm_plateau",)),
    ("weight_update_norm", (("weight_update_norm", RED),), ("low_weight_update",)),
)
"""Panels: axis, statistics with colours, and the signals that are read off them."""


def preview_chart(found: Preview) -> Chart:
    """The statistics with the raised signals as bands, the fork, and the unknown part greyed."""
    raised = {signal.name: signal.raised for signal in found.signals}
    panels = []
    for axis, statistics, signals in _STATISTICS:
        marks: list[Mark] = [
            Band(start - 0.5, stop + 0.5, f"{name} raised", SIGNAL_COLOURS[name])
            for name in (*signals, *(("overfitting",) if axis == "loss" else ()))
            for start, stop in spans(raised.get(name, ()))
        ]
        for name, colour in statistics:
            marks += _baseline_lines(found, name, colour)
        panels.append(
            Panel(
                (*marks, *_borders(found)),
                x="",
                y=axis,
                x_range=_x_range(found),
                y_log=_spans_decades(found, [name for name, _ in statistics]),
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
