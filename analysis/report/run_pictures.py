"""The pictures of a single run: what the reference's notebooks drew of one."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from analysis.charts.chart import Band, Chart, Line, Mark, Panel, spans
from analysis.charts.looks import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, Dash
from analysis.report.epoch_pictures import curve, is_steep, shading
from study.units import statistic_unit
from trainables.epochs import epoch_number, epoch_numbers
from trainables.metrics import EpochMetrics

Logged = Mapping[str, Any]

_LAYERS = 8
"""Layers that are drawn: those with the largest norms."""

_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, "#882255", "#999933")

_TRAINING: tuple[tuple[str, tuple[tuple[str, str, str, Dash], ...]], ...] = (
    (
        "loss",
        (("train_loss", "training", ORANGE, "dash"), ("val_loss", "validation", BLUE, "solid")),
    ),
    (
        "accuracy",
        (
            ("train_accuracy", "training", ORANGE, "dash"),
            ("val_accuracy", "validation", BLUE, "solid"),
        ),
    ),
    ("learning rate", (("lr", "learning rate", GREEN, "solid"),)),
    ("gradient norm", (("grad_norm", "gradient, before noise", PINK, "solid"),)),
    ("update norm", (("weight_update_norm", "change of the weights", SKY, "solid"),)),
)
"""Panels: their words, and the statistics in each with name, colour and dash."""


def training_chart(rows: Sequence[EpochMetrics]) -> Chart:
    """Loss, accuracy, learning rate, and the norms of gradient and update."""
    return Chart(
        "training",
        "Loss, accuracy, learning rate and norms",
        tuple(_panel(rows, words, drawn) for words, drawn in _TRAINING),
        caption="Shaded: epochs with noise, cooldowns, and epochs before which a signal was raised "
        "without noise. Training figures are taken while the weights move and with any noise.",
    )


def _panel(
    rows: Sequence[EpochMetrics], words: str, drawn: Sequence[tuple[str, str, str, Dash]]
) -> Panel:
    unit = statistic_unit(drawn[0][0], None)
    values = [float(getattr(row, name)) for name, *_ in drawn for row in rows]
    lines = [Line(*curve(rows, name, unit), label, *look) for name, label, *look in drawn]  # type: ignore[arg-type]
    return Panel(
        (*_shaded(rows), *lines),
        y=unit.axis(words),
        y_log=not unit.share and is_steep(values),
        y_limits=unit.limits(),
        height=0.8,
    )


def _shaded(rows: Sequence[EpochMetrics]) -> tuple[Mark, ...]:
    """Noise and cooldowns, and thin marks where a signal was raised in vain."""
    idle = [row.epoch for row in rows if row.signals and not row.injected]
    raised = [
        Band(a - 0.5, b + 0.5, "signal, no noise", GREY, 0.2) for a, b in spans(epoch_numbers(idle))
    ]
    return (*shading(rows), *raised)


def optimizer_chart(rows: Sequence[EpochMetrics], lines: Sequence[Logged]) -> Chart | None:
    """The norms of what the optimiser keeps: momentum, or first and second moment."""
    names = [name for name in (lines[0] if lines else {}) if name not in {"epoch", "lr"}]
    if not names:
        return None
    panels = [
        Panel(
            (*_shaded(rows), Line(*_over(lines, name), name, colour)),
            y=f"norm of {name}",
            height=0.7,
        )
        for name, colour in zip(names, cycle(_COLOURS), strict=False)
    ]
    return Chart("optimizer", "State of the optimiser", tuple(panels))


def strength_chart(rows: Sequence[EpochMetrics], lines: Sequence[Logged]) -> Chart | None:
    """The norm of what noise was added to, before and after."""
    if not any(line.get("norm_before") for line in lines):
        return None
    marks = (
        Line(*_over(lines, "norm_before"), "before noise", BLUE),
        Line(*_over(lines, "norm_after"), "with noise", RED, "dash"),
    )
    panel = Panel((*_shaded(rows), *marks), y="norm", height=0.8)
    return Chart("strength", "Norms before and after the noise", (panel,))


def layers_chart(lines: Sequence[Logged]) -> Chart | None:
    """Norms by layer in the noisy epochs; None where they were not recorded."""
    by_layer: dict[str, dict[float, float]] = {}
    for line in lines:
        for name, norms in (line.get("layers") or {}).items():
            if norms.get("norm_before") is not None:
                by_layer.setdefault(name, {})[epoch_number(line["epoch"])] = norms["norm_before"]
    if not by_layer:
        return None
    largest = sorted(by_layer, key=lambda name: -max(by_layer[name].values()))[:_LAYERS]
    epochs = [epoch_number(line["epoch"]) for line in lines]
    marks = tuple(
        Line(epochs, [by_layer[name].get(epoch) for epoch in epochs], name, colour)
        for name, colour in zip(largest, cycle(_COLOURS), strict=False)
    )
    values = [value for name in largest for value in by_layer[name].values()]
    left_out = len(by_layer) - len(largest)
    more = f" The {left_out} layers with smaller norms are left out." if left_out else ""
    return Chart(
        "layers",
        "Layers by norm",
        (Panel(marks, y="norm before noise", y_log=is_steep(values)),),
        caption=f"Of what the noise was added to, in the epochs that had any.{more}",
    )


def _over(lines: Sequence[Logged], name: str) -> tuple[Sequence[float], list[float | None]]:
    return [epoch_number(line["epoch"]) for line in lines], [line.get(name) for line in lines]
