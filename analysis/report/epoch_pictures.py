"""Pictures over the epochs, of trials and of single runs: curves, shading, noise and signals."""

import math
from collections.abc import Sequence
from statistics import fmean

from analysis.charts.chart import Band, Blocks, Chart, Line, Mark, Panel, spans
from analysis.charts.looks import GREY, ORANGE, RED, SIGNAL_COLOURS, SKY
from study.units import Unit
from trainables.epochs import epoch_numbers
from trainables.metrics import EpochMetrics


def curve(
    rows: Sequence[EpochMetrics], name: str, unit: Unit
) -> tuple[Sequence[float], list[float | None]]:
    """Epochs and values; None, a gap, for what is not finite."""
    return epoch_numbers(row.epoch for row in rows), unit.scaled(
        row.statistics().get(name, math.nan) for row in rows
    )


def mean_curve(
    histories: Sequence[Sequence[EpochMetrics]], name: str, unit: Unit
) -> tuple[Sequence[float], list[float | None]]:
    """Epochs and the mean over runs, as far as all of them reach."""
    ys = [curve(rows, name, unit)[1] for rows in histories]
    means: list[float | None] = []
    for values in zip(*ys, strict=False):
        known = [value for value in values if value is not None]
        means.append(fmean(known) if len(known) == len(values) else None)
    return curve(histories[0], name, unit)[0][: len(means)], means


def is_steep(values: Sequence[float]) -> bool:
    """Whether a linear axis would hide the differences near the lowest values."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 5 * min(finite)


def shading(history: Sequence[EpochMetrics]) -> list[Mark]:
    """The epochs with noise, and the cooldowns."""
    noisy = spans(epoch_numbers(row.epoch for row in history if row.injected))
    cooling = spans(epoch_numbers(row.epoch for row in history if row.noise_phase == "cooldown"))
    marks: list[Mark] = [Band(a - 0.5, b + 0.5, "noise", ORANGE, 0.25) for a, b in noisy]
    return marks + [Band(a - 0.5, b + 0.5, "cooldown", SKY, 0.22) for a, b in cooling]


def signals_chart(history: Sequence[EpochMetrics], title: str) -> Chart:
    """The magnitude, and below it the signals, the noise and the cooldowns of each epoch."""
    epochs = epoch_numbers(row.epoch for row in history)
    magnitude = Line(epochs, [row.noise_magnitude for row in history], "magnitude", RED)
    kinds = sorted({row.noise_kind for row in history if row.injected})
    names = [name for name in SIGNAL_COLOURS if any(name in r.signals for r in history)]
    rows = [*names, *(f"{kind} noise" for kind in kinds), "cooldown"]
    marks: list[Mark] = []
    for row in rows:
        if row in names:
            at = [r.epoch for r in history if row in r.signals]
        elif row == "cooldown":
            at = [r.epoch for r in history if r.noise_phase == "cooldown"]
        else:
            at = [r.epoch for r in history if f"{r.noise_kind} noise" == row]
        colour = SIGNAL_COLOURS.get(row, GREY if row == "cooldown" else RED)
        blocks = [(row, a - 0.5, b + 0.5) for a, b in spans(epoch_numbers(at))]
        marks.append(Blocks(rows, blocks, row, colour))
    reach = (0.5, epochs[-1] + 0.5)
    return Chart(
        "noise",
        title,
        (
            Panel((magnitude,), y="magnitude", x_range=reach, height=0.7),
            Panel(tuple(marks), y="raised before", x_range=reach, height=0.3 + 0.11 * len(rows)),
        ),
        caption="Above: the noise's standard deviation. Below: the signals raised before each "
        "epoch, the noise that followed, and the cooldowns.",
    )
