"""The controls of a trial, its placebo and its clock: its injections at other epochs.

The placebo has them at random epochs, the clock from the end of the warm-up on. If either helps as
much as noise when training is stuck, it was the noise that helped and not its timing. The placebo
here is the one that earlier versions began confirmations with, whose dose nothing holds;
``matched_placebo.py`` has today's.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from study.campaigns.dose import Doses, NoisePlan, PlannedInjection
from trainables.metrics import EpochMetrics
from trainables.noise_config import NoiseConfig

_STREAM = "noise-study/placebo/1"


@dataclass(frozen=True, slots=True)
class Burst:
    """Consecutive noisy epochs: where they began, and each one's kind and magnitude."""

    start: int
    injections: tuple[tuple[str, float], ...]

    def __len__(self) -> int:
        return len(self.injections)


def bursts_of(history: Sequence[EpochMetrics]) -> tuple[Burst, ...]:
    """The bursts in a history, in order; at least one clean epoch parts them."""
    bursts = []
    for injected, rows in groupby(history, key=lambda row: row.injected):
        if injected:
            noisy = list(rows)
            drawn = tuple((row.noise_kind, row.noise_magnitude) for row in noisy)
            bursts.append(Burst(noisy[0].epoch, drawn))
    return tuple(bursts)


def own_plan(history: Sequence[EpochMetrics]) -> NoisePlan:
    """A trial's own noisy epochs: planned, they give the identical run."""
    bursts = bursts_of(history)
    return planned(bursts, [burst.start for burst in bursts])


def placebo_plan(
    history: Sequence[EpochMetrics], noise: NoiseConfig, epochs: int, seed: int
) -> NoisePlan | None:
    """Move a trial's injections to random epochs after its warm-up, whatever dose that is.

    Bursts stay whole and keep their kinds and magnitudes. They keep their order, too: magnitudes
    decay over the epoch budget, and a strong early burst put late would change more than the
    timing. At least one epoch stays clean between two bursts, or they would become one. All such
    placements but the trial's own are equally likely; cooldowns play no part in them.

    Args:
        history: the trial's epochs on this seed.
        noise: the trial's settings; the placebo begins where its signals could first be heard, at
            the later of ``warmup_epochs`` and ``window``.
        epochs: the epoch budget.
        seed: the run's seed; the draw depends on it and on a constant.

    Returns:
        The noisy epochs in order: empty for a trial that never injected (its placebo is the
        baseline). None if there is no placebo, because the injections can't lie anywhere else:
        noise in every epoch (policy ``always``), or in every one after the warm-up.

    Raises:
        ValueError: if the history holds noise before the warm-up's end or past the budget.
    """
    bursts = bursts_of(history)
    free = spare_epochs(bursts, noise, epochs)
    if not bursts or free == 0:
        return None if bursts else ()
    own = [burst.start for burst in bursts]
    draws = random.Random(f"{_STREAM}/{seed}")
    lengths, first = [len(burst) for burst in bursts], first_heard(noise)
    # At least half of the placements are not the trial's own, so this ends soon.
    while (starts := _place(lengths, first, free, draws)) == own:
        pass
    return planned(bursts, starts)


def clock_plan(
    history: Sequence[EpochMetrics],
    noise: NoiseConfig,
    epochs: int,
    doses: Doses | None = None,
) -> NoisePlan | None:
    """Begin a trial's injections where its signals could first be heard, without hearing them.

    All bursts move by as many epochs; kinds and the clean epochs between bursts stay. Each burst
    keeps its dose as far as ``Doses.rescaled`` can, or without ``doses``, as in confirmations of
    earlier versions, its magnitudes.

    In a training that is stuck from the start, adaptive noise begins about there, and every
    placebo later: beside the placebo alone, beginning early looks like good timing.

    Other arguments and errors are those of ``placebo_plan``, and what can't be moved has no clock.

    Returns:
        The noisy epochs in order. ``own_plan(history)`` if the trial itself began there, or never.
    """
    bursts = bursts_of(history)
    if not bursts or spare_epochs(bursts, noise, epochs) == 0:
        return None if bursts else ()
    early = bursts[0].start - first_heard(noise)
    if doses is None or early == 0:
        return planned(bursts, [burst.start - early for burst in bursts])
    plan: list[PlannedInjection] = []
    for burst in bursts:
        there, own = planned([burst], [burst.start - early]), planned([burst], [burst.start])
        plan.extend(doses.rescaled(there, own))
    return tuple(plan)


def first_heard(noise: NoiseConfig) -> int:
    """The first epoch before which signals are evaluated."""
    return max(noise.warmup_epochs, noise.window)


def spare_epochs(bursts: Sequence[Burst], noise: NoiseConfig, epochs: int) -> int:
    """Clean epochs after the warm-up besides those that part bursts; 0: nothing can be moved."""
    if not bursts or noise.policy == "always":
        return 0
    warm_up = first_heard(noise)
    last = bursts[-1].start + len(bursts[-1]) - 1
    if bursts[0].start < warm_up or last >= epochs:
        raise ValueError(
            f"noise in epochs {bursts[0].start} to {last}: outside [{warm_up}, {epochs}), the "
            "epochs between the warm-up and the end"
        )
    return epochs - warm_up - sum(map(len, bursts)) - (len(bursts) - 1)


def planned(bursts: Sequence[Burst], starts: Sequence[int]) -> NoisePlan:
    """The bursts begun at these epochs instead."""
    return tuple(
        PlannedInjection(start + offset, kind, magnitude)
        for start, burst in zip(starts, bursts, strict=True)
        for offset, (kind, magnitude) in enumerate(burst.injections)
    )


def _place(lengths: list[int], first: int, free: int, draws: random.Random) -> list[int]:
    """Start epochs of bursts of ``lengths``, in order, with ``free`` clean epochs to spare.

    Choosing which of free + bursts slots are bursts makes every placement equally likely.
    """
    slots = sorted(draws.sample(range(free + len(lengths)), len(lengths)))
    # Slot s of the i-th burst has s − i spare epochs before it, besides bursts and partings.
    starts = [first + slots[0]]
    for (before, after), length in zip(pairwise(slots), lengths, strict=False):
        starts.append(starts[-1] + length + (after - before))
    return starts
