"""What the noise's settings become for another budget and another baseline (METHOD, section 15).

A pure function of the settings, of what they assumed, and of the baseline here. Counts of epochs
keep their share of the budget, thresholds their quantile among the baseline's readings, magnitudes
what they are multiples of.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.epochs import epoch_number
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.noise.assumed import Assumed
from trainables.noise.controller import fork_epoch
from trainables.noise.decay import decay
from trainables.noise.readings import heard
from trainables.noise.signals import SIGNALS
from trainables.noise_config import NoiseConfig, possible_kinds
from trainables.settings import parse_config

_FEWEST_READINGS = 3

_COUNTS = {
    "warmup_epochs": None,
    "window": None,
    "overfit_epochs": "overfitting",
    "patience": "stuck",
    "trigger_epochs": None,
    "max_injection_epochs": None,
    "cooldown_min": None,
    "cooldown_extra": None,
}
"""Settings that are counts of epochs → the signal that alone reads them."""


@dataclass(frozen=True)
class Change:
    """A setting, before and after, and why. ``after`` may be what it was before."""

    setting: str
    before: float
    after: float
    why: str


@dataclass(frozen=True)
class Travelled:
    """Settings for another training, and what became of each."""

    noise: NoiseConfig
    assumed: Assumed
    epochs: int
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A table in words, a setting a line."""
        lines = [f"found in {self.assumed.words()}; here {self.epochs} epochs"]
        width = max((len(change.setting) for change in self.changes), default=0)
        for change in self.changes:
            before, after = (
                f"{value:.4g}" if isinstance(value, float) else str(value)
                for value in (change.before, change.after)
            )
            arrow = before if change.before == change.after else f"{before} -> {after}"
            lines.append(f"  {change.setting:<{width}}  {arrow}: {change.why}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


@dataclass(frozen=True)
class Scales:
    """What the training here has: the perturbed parameters' RMS at its start, the optimiser's rate.

    ``rate``: how far a constant gradient of 1 moves a weight in a step. None: not known.
    """

    weights_rms: float | None = None
    rate: float | None = None


def travel(
    noise: NoiseConfig,
    assumed: Assumed,
    baseline: Sequence[EpochMetrics],
    here: Scales = Scales(),
) -> Travelled:
    """The settings for a training whose baseline, of the whole budget, is ``baseline``."""
    if noise.policy == "planned":
        raise InputError(
            "noise.policy = 'planned': a plan names its epochs, so that it is for one training only"
        )
    epochs = len(baseline)
    changes: list[Change] = []
    notes: list[str] = []
    moved = noise
    if noise.policy == "on_stagnation":
        changes = list(_counts(noise, epochs / assumed.epochs))
        moved = _with(noise, changes)
        _check_begins(moved, epochs)
        changes += _thresholds(noise, assumed.history, moved, baseline)
        moved = _with(noise, changes)
    if noise.policy != "off":
        factors, notes = _magnitude_factors(noise, assumed, here)
        begins = _decay_factor(noise, moved, assumed, baseline)
        changes += _magnitudes(noise, factors, begins)
    return Travelled(_with(noise, changes), assumed, epochs, tuple(changes), tuple(notes))


def _with(noise: NoiseConfig, changes: Sequence[Change]) -> NoiseConfig:
    values: dict[str, Any] = noise.model_dump()
    values |= {c.setting: c.after for c in changes if c.after != c.before}
    return parse_config(NoiseConfig, values, where="travelled")


def _counts(noise: NoiseConfig, ratio: float) -> Iterator[Change]:
    for name, reader in _COUNTS.items():
        before = getattr(noise, name)
        if before is None or (reader is not None and reader not in noise.signals):
            continue
        bounds = NoiseConfig.model_fields[name].metadata
        least = max([min(1, before), *(b.ge for b in bounds if hasattr(b, "ge"))])
        after = max(least, math.floor(before * ratio + 0.5))
        share = before * ratio
        why = "epochs: the same share of the budget"
        if after != share:
            why += f", {share:.3g}, " + ("at least" if after > share + 0.5 else "rounded to")
            why += f" {after}"
        yield Change(name, before, after, why)


def _check_begins(noise: NoiseConfig, epochs: int) -> None:
    earliest = noise.earliest_injection()
    if earliest is None or earliest >= epochs:
        when = "never" if earliest is None else f"in epoch {epoch_number(earliest)} at the earliest"
        raise InputError(
            f"baseline_history: it has {epochs} epochs, in which noise could begin {when} "
            f"(warmup_epochs = {noise.warmup_epochs}, window = {noise.window}, trigger_epochs = "
            f"{noise.trigger_epochs}); train for longer"
        )


def _thresholds(
    before: NoiseConfig,
    there: Sequence[EpochMetrics],
    after: NoiseConfig,
    here: Sequence[EpochMetrics],
) -> Iterator[Change]:
    done: set[str] = set()
    for name in before.signals:
        signal = SIGNALS[name]
        if signal.reads_count or signal.setting in done:
            continue
        done.add(signal.setting)
        old = [v * signal.divisor for v in heard(before, there, name)]
        new = [v * signal.divisor for v in heard(after, here, name)]
        if len(new) < _FEWEST_READINGS:
            raise InputError(
                f"baseline_history: {len(here)} epochs have {len(new)} readings of signal {name} "
                f"past a warm-up of {after.warmup_epochs} epochs and a window of {after.window}; "
                f"at least {_FEWEST_READINGS} are needed: train for longer"
            )
        threshold = getattr(before, signal.setting)
        if len(old) < _FEWEST_READINGS:
            why = f"the baseline that it was found beside has {len(old)} readings of {name}"
            yield Change(signal.setting, threshold, threshold, why)
            continue
        moved, why = _at_same_quantile(threshold, old, new, is_share=signal.is_share)
        raised = [
            f"{sum(signal.sign * v < signal.sign * t for v in values) / len(values):.0%}"
            for t, values in ((threshold, old), (moved, new))
        ]
        why += (
            f"; {name} is raised in {raised[0]} of the baseline's readings there, {raised[1]} here"
        )
        yield Change(signal.setting, threshold, moved, why)


def _at_same_quantile(
    threshold: float, old: Sequence[float], new: Sequence[float], *, is_share: bool
) -> tuple[float, str]:
    """A threshold's place among the readings ``old``, taken among ``new``; both rise.

    Returns:
        The threshold, greater than 0, and the rule that gave it.
    """
    outermost = (old[0], new[0]) if threshold < old[0] else (old[-1], new[-1])
    if not old[0] <= threshold <= old[-1]:
        side = "below" if threshold < old[0] else "above"
        rule = f"it lies {side} all readings"
        beyond = threshold < new[0] if side == "below" else threshold > new[-1]
        if min(outermost) <= 0 or (is_share and beyond):
            if beyond:
                return threshold, f"{rule}, there and here"
            if side == "above":
                return threshold + new[-1] - old[-1], f"{rule}, by the same distance"
            return _least_positive(new, threshold), f"{rule} there; the least one here"
        moved = threshold * (outermost[1] / outermost[0])
        return _unless_close(moved, threshold), f"{rule}, by the same factor"
    low, high = bisect_left(old, threshold), bisect_right(old, threshold)
    # Among equal readings it is their middle; between two, its share of the way.
    place = (
        (low + high - 1) / 2
        if low < high
        else low - 1 + (threshold - old[low - 1]) / (old[low] - old[low - 1])
    )
    share = place / (len(old) - 1)
    at = share * (len(new) - 1)
    below = min(int(at), len(new) - 2)
    moved = new[below] + (at - below) * (new[below + 1] - new[below])
    if moved <= 0:
        rule = (
            f"the {share:.0%} quantile of the readings is {moved:.3g} here, thresholds are above 0"
        )
        return _least_positive(new, threshold), rule
    return _unless_close(moved, threshold), f"the {share:.0%} quantile of the readings"


def _unless_close(moved: float, threshold: float) -> float:
    """The threshold itself where the new one differs from it by rounding alone."""
    return threshold if math.isclose(moved, threshold, rel_tol=1e-9) else moved


def _least_positive(values: Sequence[float], threshold: float) -> float:
    """What lies above 0, below all readings that do; without any the threshold says as much."""
    positive = [value for value in values if value > 0]
    return min(positive[0] / 2, threshold) if positive else threshold


def _magnitude_factors(
    noise: NoiseConfig, assumed: Assumed, here: Scales
) -> tuple[dict[str, tuple[float, str]], list[str]]:
    """For each kind that may come: the factor on its magnitude, and why."""
    found: dict[str, tuple[float, str]] = {}
    notes = []
    for kind in sorted(possible_kinds(noise)):
        if kind == "label":
            found[kind] = 1.0, "a probability, which travels as it is"
        elif noise.scaling != "absolute":
            unit = (
                "optimiser's step"
                if (noise.scaling, kind) == ("step", "gradient")
                else "tensor's RMS"
            )
            found[kind] = 1.0, f"a multiple of the {unit}, which travels as it is"
        else:
            factor, why = _absolute(kind, assumed, here)
            found[kind] = factor, why
            if factor == 1.0 and "not known" in why:
                notes.append(f"{kind} noise: scaling 'absolute' does not travel, and {why}")
    return found, notes


def _absolute(kind: str, assumed: Assumed, here: Scales) -> tuple[float, str]:
    ratio = _ratio(here.weights_rms, assumed.weights_rms)
    if kind == "input" or ratio is None:
        of = "inputs" if kind == "input" else "weights"
        return 1.0, f"the RMS of the {of} is not known on both sides: check it"
    if kind == "weight":
        return ratio, f"absolute: by the ratio {ratio:.3g} of the weights' RMS"
    rates = _ratio(here.rate, assumed.rate)
    if rates is None:
        return 1.0, "the rate of SGD's steps is not known on both sides: check it"
    factor = ratio / rates
    return factor, f"absolute: by the ratio {factor:.3g} of (weights' RMS / rate of a step)"


def _ratio(here: float | None, there: float | None) -> float | None:
    return here / there if here and there else None


def _decay_factor(
    noise: NoiseConfig, moved: NoiseConfig, assumed: Assumed, baseline: Sequence[EpochMetrics]
) -> float:
    """What makes noise begin as strong as it began there, where the decay counts epochs."""
    if noise.schedule != "exponential":
        return 1.0
    there = _first(noise, assumed.history, assumed.epochs)
    # Where the baseline is not known there, the earliest epochs are compared with each other.
    here = _first(moved, baseline if assumed.history else (), len(baseline))
    faded = decay("exponential", abs(there - here), assumed.epochs)
    if there >= here:
        return faded
    return 1.0 / faded if faded > 0 else math.inf  # which no magnitude may be


def _first(noise: NoiseConfig, history: Sequence[EpochMetrics], epochs: int) -> int:
    begun = fork_epoch(history, noise, epochs)
    return begun if begun is not None else noise.earliest_injection() or 0


def _magnitudes(
    noise: NoiseConfig, factors: dict[str, tuple[float, str]], begins: float
) -> Iterator[Change]:
    names = ("magnitude",) if noise.policy == "always" else ("magnitude_min", "magnitude_extra")
    # Adaptive noise has one magnitude for both of its kinds, and a ratio between them.
    first = next((kind for kind in ("gradient", "weight") if kind in factors), None)
    kind = noise.kind if noise.policy == "always" else first
    if kind is None:
        return
    factor, why = factors[kind]
    if begins != 1.0:
        why += f"; times {begins:.3g}, so that it begins as strong: exponential decay counts epochs"
    elif noise.schedule == "exponential":
        why += "; exponential decay counts epochs, and is what it was in each"
    for name in names:
        before = getattr(noise, name)
        yield Change(name, before, before * factor * begins, why)
    if noise.policy == "on_stagnation" and {"gradient", "weight"} <= factors.keys():
        other, why = factors["weight"]
        yield Change("weight_ratio", noise.weight_ratio, noise.weight_ratio * other / factor, why)
