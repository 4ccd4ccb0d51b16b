"""The dose of a run's noise: how far it moves the weights, which a control has to match.

METHOD's section 11. Noise that is gone after its step acts through the gradient that it changes,
which the optimiser multiplies by the learning rate: in a step of rate η, noise of magnitude σ moves
the weights by η·σ, up to a factor that depends on the network, the momentum and the images alone.
Weight noise that stays (``permanent``) moves them by σ. Label noise of more than
``MAX_LABEL_PROBABILITY`` acts as if it were that. The dose is the sum of the squared moves. Kinds
have doses of their own: a unit of one is no unit of another.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from trainables.code_identity import is_own
from trainables.config import OptimizerConfig, TrainConfig
from trainables.lr_schedule import Schedule
from trainables.metrics import EpochMetrics
from trainables.noise.kinds import MAX_LABEL_PROBABILITY

DOSE_RATIOS = (0.8, 1.25)
"""Doses whose ratio lies between these count as equal."""

MOST_RESCALING = 2.0
"""No magnitude of a control is more than this many times its trial's, or less than a part in it."""

STEPS = 32
"""An epoch's learning rate is averaged over as many steps. How many it has is not recorded."""

_STRONGEST = {"label": MAX_LABEL_PROBABILITY}
"""Kind → the magnitude that larger ones act like."""


class PlannedInjection(NamedTuple):
    """One noisy epoch of a control: ``magnitude`` is its σ, decay included."""

    epoch: int
    kind: str
    magnitude: float


NoisePlan = tuple[PlannedInjection, ...]
"""The noisy epochs of a run, in order; empty: it is its baseline."""


@dataclass(frozen=True)
class Doses:
    """What the doses of a configuration's noise follow from.

    Attributes:
        rates: by epoch, the root mean square of the learning rate over its steps.
        permanent: weight noise stays in the weights.
    """

    rates: tuple[float, ...]
    permanent: bool = False

    @classmethod
    def of(cls, config: TrainConfig, history: Sequence[EpochMetrics] = ()) -> "Doses":
        """``history``: a run's whole one, which tells the rates of a task or an own schedule."""
        if config.task.name is not None or is_own(config.optimizer.lr_schedule):
            return cls(_told_rates(history, config.epochs), config.noise.permanent)
        return cls(_rates(config.optimizer, config.epochs), config.noise.permanent)

    def move(self, injection: PlannedInjection) -> float:
        """How far a step of this epoch moves the weights, in units of the kind's own."""
        strength = min(injection.magnitude, _STRONGEST.get(injection.kind, math.inf))
        if injection.kind == "weight" and self.permanent:
            return strength
        return self.rates[injection.epoch] * strength

    def moves(self, plan: Iterable[PlannedInjection]) -> dict[str, float]:
        """Kind → the root of the sum of the squared moves: the root of the dose."""
        by_kind = defaultdict(list)
        for injection in plan:
            by_kind[injection.kind].append(self.move(injection))
        # No square of a tiny or huge magnitude is lost.
        return {kind: math.hypot(*moves) for kind, moves in by_kind.items()}

    def rescaled(self, there: NoisePlan, own: NoisePlan) -> NoisePlan:
        """A burst at its new epochs, its magnitudes changed so that it keeps its dose.

        One factor for each kind, so that the burst keeps its shape; ``MOST_RESCALING`` and the
        strongest label noise may leave the dose unequal.

        Args:
            there: the burst moved, with the magnitudes of ``own``.
            own: the burst as its trial had it.
        """
        before, after = self.moves(own), self.moves(there)
        factors = {}
        for kind, move in before.items():
            wanted = move / after[kind] if move > 0 and after[kind] > 0 else 1.0
            factors[kind] = min(max(wanted, 1 / MOST_RESCALING), MOST_RESCALING)
        return tuple(
            PlannedInjection(
                item.epoch, item.kind, _scaled(item.kind, item.magnitude, factors[item.kind])
            )
            for item in there
        )

    def ratios(self, plan: NoisePlan, own: NoisePlan) -> dict[str, float]:
        """Kind → the dose of ``plan`` for each unit of that of ``own``, of the same kinds."""
        before = self.moves(own)
        return {kind: _ratio(move, before[kind]) for kind, move in self.moves(plan).items()}


def _scaled(kind: str, magnitude: float, factor: float) -> float:
    if factor == 1.0:
        return magnitude
    strongest = _STRONGEST.get(kind, math.inf)
    return min(min(magnitude, strongest) * factor, strongest)


def _ratio(move: float, own: float) -> float:
    """The ratio of two doses from the roots of both; two doses of nothing are equal."""
    if own > 0:
        return (move / own) ** 2
    return 1.0 if move == 0 else math.inf


def alike(ratios: Mapping[str, float]) -> bool:
    """Whether doses count as equal, each kind's by itself."""
    low, high = DOSE_RATIOS
    return all(low <= ratio <= high for ratio in ratios.values())


def worst(ratios: Mapping[str, float]) -> float:
    """The ratio that is farthest from 1, which one number stands for."""
    return max(ratios.values(), key=lambda ratio: abs(math.log(ratio)) if ratio > 0 else math.inf)


def realised_ratio(
    control: Sequence[EpochMetrics], trial: Sequence[EpochMetrics], config: TrainConfig
) -> float | None:
    """The dose that a control had for each unit of its trial's, once both have ended.

    Relative gradient noise under SGD is in units of the gradient, whose recorded norm (where it is
    clipped, at most that) multiplies its moves here. No plan can know it: it depends on what the
    noise does.

    Returns:
        The kind's that is farthest from 1; None if a dose is 0 or not finite.
    """
    own, there = _realised_moves(trial, config), _realised_moves(control, config)
    if not own or own.keys() != there.keys():
        return None
    moves = (*own.values(), *there.values())
    if not all(math.isfinite(move) and move > 0 for move in moves):
        return None
    ratio = worst({kind: _ratio(there[kind], own[kind]) for kind in own})
    return ratio if math.isfinite(ratio) and ratio > 0 else None


def _realised_moves(history: Sequence[EpochMetrics], config: TrainConfig) -> dict[str, float]:
    doses = Doses.of(config, history)
    clip = math.inf if config.optimizer.clip_norm is None else config.optimizer.clip_norm
    in_gradients = config.noise.scaling == "relative" and config.optimizer.optimizer == "SGD"
    by_kind = defaultdict(list)
    for row in history:
        if row.injected:
            move = doses.move(PlannedInjection(row.epoch, row.noise_kind, row.noise_magnitude))
            unit = (
                min(row.grad_norm, clip) if in_gradients and row.noise_kind == "gradient" else 1.0
            )
            by_kind[row.noise_kind].append(move * unit)
    return {kind: math.hypot(*moves) for kind, moves in by_kind.items()}


def overlap(plan: NoisePlan, own: NoisePlan) -> float:
    """The share of a trial's noisy epochs that are noisy in its control, too."""
    noisy = {injection.epoch for injection in own}
    return len(noisy & {injection.epoch for injection in plan}) / len(noisy)


def _told_rates(history: Sequence[EpochMetrics], epochs: int) -> tuple[float, ...]:
    """The learning rates that were recorded; a constant one, if a task of one's own told none.

    An epoch may have a rate of 0, as the last one of a schedule that ends there; all can't.
    """
    told = tuple(row.lr for row in history)
    whole = len(told) == epochs and all(math.isfinite(rate) and rate >= 0 for rate in told)
    whole = whole and any(told)
    return told if whole else (1.0,) * epochs


@lru_cache(maxsize=256)
def _rates(optimizer: OptimizerConfig, epochs: int) -> tuple[float, ...]:
    """The root mean square of each epoch's learning rate."""
    rate = Schedule(optimizer, steps_per_epoch=STEPS, epochs=epochs)

    return tuple(
        math.hypot(*(rate(epoch * STEPS + step) for step in range(STEPS))) / math.sqrt(STEPS)
        for epoch in range(epochs)
    )
