"""The placebo of a trial: exactly its injections, at random epochs instead of when it was stuck.

If noise at random epochs helps as much as noise when training is stuck, it was the noise that
helped and not its timing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

from trainables.metrics import EpochMetrics
from trainables.noise_config import NoiseConfig

_STREAM = "noise-study/placebo/1"


class PlannedInjection(NamedTuple):
    """One noisy epoch of a placebo: ``magnitude`` is σ as it was recorded, decay included."""

    epoch: int
    kind: str
    magnitude: float


PlaceboPlan = tuple[PlannedInjection, ...]


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


def placebo_plan(
    history: Sequence[EpochMetrics], noise: NoiseConfig, epochs: int, seed: int
) -> PlaceboPlan | None:
    """Move a trial's injections to random epochs after its warm-up.

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
    if not bursts:
        return ()
    if noise.policy == "always":
        return None
    warm_up = max(noise.warmup_epochs, noise.window)
    last = bursts[-1].start + len(bursts[-1]) - 1
    if bursts[0].start < warm_up or last >= epochs:
        raise ValueError(
            f"noise in epochs {bursts[0].start} to {last}: outside [{warm_up}, {epochs}), the "
            "epochs between the warm-up and the end"
        )
    free = epochs - warm_up - sum(map(len, bursts)) - (len(bursts) - 1)
    if free == 0:
        return None
    own = [burst.start for burst in bursts]
    draws = random.Random(f"{_STREAM}/{seed}")
    # At least half of the placements are not the trial's own, so this ends soon.
    while (starts := _place([len(burst) for burst in bursts], warm_up, free, draws)) == own:
        pass
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
