"""A trial's placebo, matched in dose: its noise at random other epochs of like learning rates.

The rules of a draw (METHOD, section 11):

1. Bursts stay whole, in their order, and keep the kinds of their epochs.
2. At least one epoch stays clean between two bursts, or they would become one.
3. No noise before the first epoch at which signals are heard, none past the budget.
4. It is not the trial's own placement.
5. Each burst keeps its dose, of each kind by itself: the ratio lies within ``DOSE_RATIOS``. Its
   magnitudes are multiplied for that by one factor a kind, by ``MOST_RESCALING`` at most either
   way; label noise is never above the strongest there is. So no burst moves to learning rates that
   are more than 2·√1.25 times as high or as low.
6. Of the candidates the one is taken that has the fewest of the trial's own noisy epochs; among
   equals the first drawn.
7. Seed and number of the draw decide it. The draws of a seed differ; where there is no further
   placement, there is no further draw.
"""

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from study.campaigns.dose import Doses, NoisePlan, alike
from study.campaigns.placebo import Burst, bursts_of, first_heard, planned, spare_epochs
from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics

_STREAM = "noise-study/placebo/2"

CANDIDATES = 200
"""As many placements are drawn, the best of which is taken; where there are no more, all are."""

_SHUN = 0.25
"""How much less likely a candidate is for each of the trial's own noisy epochs that it has."""

_TINY = 1e-200


def matched_placebos(
    history: Sequence[EpochMetrics], config: TrainConfig, *, seed: int, draws: int
) -> tuple[NoisePlan, ...]:
    """The placebos of a trial on a seed, at most ``draws``; the first are the same for any number.

    Args:
        history: the trial's epochs on this seed.
        config: its configuration.
        seed: the run's seed.
        draws: how many placebos.

    Returns:
        Plans that keep all rules; the empty plan alone for a trial that never injected, whose
        placebo is the baseline; none where no placement keeps the rules.

    Raises:
        ValueError: if the history holds noise before the warm-up's end or past the budget.
    """
    bursts = bursts_of(history)
    if not bursts:
        return ((),)
    if spare_epochs(bursts, config.noise, config.epochs) == 0:
        return ()
    within = (first_heard(config.noise), config.epochs)
    return _drawn(bursts, within, Doses.of(config, history), seed, draws)


class _Place(NamedTuple):
    """A place of one burst: its noise there, and how many of the trial's noisy epochs it has."""

    start: int
    plan: NoisePlan
    overlap: int


@lru_cache(maxsize=4096)
def _drawn(
    bursts: tuple[Burst, ...], within: tuple[int, int], doses: Doses, seed: int, draws: int
) -> tuple[NoisePlan, ...]:
    places = _places(bursts, *within, doses)
    own = tuple(burst.start for burst in bursts)
    few = list(islice(_all(places, 0, 0), CANDIDATES + 1))
    taken: dict[tuple[int, ...], NoisePlan] = {}
    for draw in range(1, draws + 1):
        stream = random.Random(f"{_STREAM}/{seed}/{draw}")
        if len(few) <= CANDIDATES:
            candidates = stream.sample(few, len(few))
        else:
            candidates = _sampled(places, stream)
        others = [one for one in candidates if _starts(one) != own and _starts(one) not in taken]
        if not others:
            break
        best = min(others, key=lambda placement: sum(place.overlap for place in placement))
        taken[_starts(best)] = tuple(item for place in best for item in place.plan)
    return tuple(taken.values())


def _starts(placement: Sequence[_Place]) -> tuple[int, ...]:
    return tuple(place.start for place in placement)


def _places(
    bursts: Sequence[Burst], first: int, epochs: int, doses: Doses
) -> tuple[tuple[_Place, ...], ...]:
    """Burst by burst, where it may lie by itself: its dose kept, and room for all the others."""
    noisy = {item.epoch for item in planned(bursts, [burst.start for burst in bursts])}
    found = []
    before, after = 0, sum(len(burst) + 1 for burst in bursts)
    for burst in bursts:
        after -= len(burst) + 1
        own = planned([burst], [burst.start])
        starts = range(first + before, epochs - after - len(burst) + 1)
        before += len(burst) + 1
        mine = []
        for start in starts:
            plan = doses.rescaled(planned([burst], [start]), own)
            if alike(doses.ratios(plan, own)):
                shared = sum(item.epoch in noisy for item in plan)
                mine.append(_Place(start, plan, shared))
        found.append(tuple(mine))
    return _reachable(tuple(found))


def _reachable(places: tuple[tuple[_Place, ...], ...]) -> tuple[tuple[_Place, ...], ...]:
    """Those places only that leave each later burst one: no search ends in a blind alley."""
    kept: list[tuple[_Place, ...]] = []
    last = None
    for row in reversed(places):
        kept.append(tuple(p for p in row if last is None or p.start + len(p.plan) < last))
        last = max((place.start for place in kept[-1]), default=-1)
    return tuple(reversed(kept))


def _all(places: Sequence[Sequence[_Place]], index: int, free: int) -> Iterator[tuple[_Place, ...]]:
    """All placements of the bursts from ``index`` on, none before epoch ``free``."""
    if index == len(places):
        yield ()
        return
    for place in places[index]:
        if place.start >= free:
            # At least one epoch stays clean.
            for rest in _all(places, index + 1, place.start + len(place.plan) + 1):
                yield (place, *rest)


def _sampled(places: Sequence[Sequence[_Place]], stream: random.Random) -> list[tuple[_Place, ...]]:
    """Random placements; one is ``_SHUN`` times as likely for each epoch of the trial's in it."""
    weights = _weights(places)
    found = []
    for _ in range(CANDIDATES):
        placement: list[_Place] = []
        free = 0
        for row, row_weights in zip(places, weights, strict=True):
            allowed = [i for i, place in enumerate(row) if place.start >= free]
            (chosen,) = stream.choices(allowed, [row_weights[i] for i in allowed])
            placement.append(row[chosen])
            free = row[chosen].start + len(row[chosen].plan) + 1
        found.append(tuple(placement))
    return found


def _weights(places: Sequence[Sequence[_Place]]) -> list[list[float]]:
    """For each place of each burst: the weight of all that can follow it, its own included.

    Only the proportions within a burst mean something.
    """
    later: list[tuple[int, float]] | None = None
    weights: list[list[float]] = []
    for row in reversed(places):
        mine = []
        for place in row:
            end = place.start + len(place.plan)
            rest = 1.0 if later is None else sum(w for start, w in later if start > end)
            mine.append(_SHUN**place.overlap * rest)
        # In proportion to the largest, and never 0: no epoch is so shunned that none is left.
        top = max(mine)
        mine = [max(weight / top, _TINY) for weight in mine]
        later = [(place.start, weight) for place, weight in zip(row, mine, strict=True)]
        weights.append(mine)
    return weights[::-1]
