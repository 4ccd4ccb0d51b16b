"""The race: after a search its best configurations get more seeds, stage by stage, the rest none.

The best of many configurations on one seed is mostly the luckiest. Halving the field while seeds
are added spends the same trainings on those that may still win (successive halving: Karnin et al.
2013, ICML; Jamieson and Talwalkar 2016, AISTATS). What a configuration was selected by flatters it:
so each result is shown by the seeds *after* its last selection. Nothing here knows of records.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_RANKING_SEEDS = (1, 2, 4, 9)
"""Seeds of the race that a configuration has after each stage; then twice as many each time."""

_SIMULATIONS = 4000
_LEAST_FREEDOM = 5
_DIGITS = 12

Gain = tuple[float, ...]
"""What a run gained on its baseline, larger is better; further entries break ties."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A stage: after it each of the ``entrants`` has ``seeds`` of the race's seeds."""

    entrants: int
    seeds: int


def rungs(entrants: int, most_seeds: int) -> tuple[Rung, ...]:
    """The stages of a race of ``entrants``; the last one is the winner's alone.

    Its seeds are a third of all: what they show was not selected by. ``most_seeds`` counts the
    search's own seed, so that 1 is no race.
    """
    seeds = most_seeds - 1
    if entrants < 1 or seeds < 1:
        return ()
    ranking = seeds - min(seeds, max(2, (most_seeds + 1) // 3))
    stages = [] if entrants == 1 else _ranking_stages(entrants, ranking)
    return (*stages, Rung(1, seeds))


def _ranking_stages(entrants: int, ranking: int) -> list[Rung]:
    totals = list(_RANKING_SEEDS)
    while totals[-1] < ranking:
        totals.append(2 * totals[-1] + 1)
    totals = [total for total in totals if total < ranking] + [ranking] * (ranking > 0)
    return [
        Rung(min(entrants, max(2, math.ceil(entrants / 2**number))), total)
        for number, total in enumerate(totals, start=1)
    ]


def trainings(stages: Sequence[Rung]) -> int:
    """How many runs a race takes, its baselines not counted."""
    before = (0, *(stage.seeds for stage in stages))
    return sum(s.entrants * (s.seeds - b) for s, b in zip(stages, before, strict=False))


@dataclass(frozen=True)
class Results:
    """What is known of a race's runs, by configuration and number of the seed; 0 is the search's.

    Attributes:
        gains: of the runs that gave one; a run that was lost (it diverged, say) has None.
        void: seeds without a baseline, on which nothing can be compared.
    """

    gains: Mapping[str, Mapping[int, Gain | None]]
    void: frozenset[int] = frozenset()

    def settled(self, name: str, seed: int) -> bool:
        return seed in self.void or seed in self.gains[name]

    def over(self, name: str, seeds: Sequence[int]) -> list[Gain | None]:
        """The gains on those of the seeds that are known, None for a lost one."""
        known = self.gains[name]
        return [known[seed] for seed in seeds if seed in known and seed not in self.void]

    def mean(self, name: str, seeds: Sequence[int]) -> Gain:
        """The mean gain, minus infinity if a run was lost; empty without any."""
        values = self.over(name, seeds)
        whole = [value for value in values if value is not None]
        if len(whole) < len(values):
            return (-math.inf,)
        return tuple(math.fsum(column) / len(whole) for column in zip(*whole, strict=True))


Order = Callable[[Mapping[str, Gain]], list[str]]
"""Configurations from best to worst, by their mean gains; those alike stay in their order."""


def by_gain(means: Mapping[str, Gain]) -> list[str]:
    # Means of the same numbers in another order may differ in their last bit.
    rounded = {name: tuple(round(part, _DIGITS) for part in gain) for name, gain in means.items()}
    return sorted(means, key=lambda name: rounded[name], reverse=True)


@dataclass(frozen=True)
class Race:
    """How far a race is, as its results say.

    Attributes:
        field: the configurations that take part.
        stages: what is run of them.
        reached: configuration → how many stages it entered.
        missing: the runs (configuration, seed's number) that the present stage lacks.
        order: from best to worst: who got further, then by the mean that it was ranked by.
    """

    results: Results
    field: tuple[str, ...]
    stages: tuple[Rung, ...]
    reached: Mapping[str, int]
    missing: tuple[tuple[str, int], ...]
    order: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.missing

    @property
    def winner(self) -> str | None:
        """The winner, once its own seeds are run, too."""
        return self.order[0] if self.stages and self.complete else None

    def ranked_by(self, name: str) -> range:
        """The seeds' numbers that the last selection of a configuration looked at, from 0."""
        return self.ranked_by_in(self.reached[name])

    def fresh(self, name: str) -> range:
        """The seeds' numbers after its last selection; for one never selected, the search's own."""
        return self.fresh_in(self.reached[name])

    def ranked_by_in(self, stages: int) -> range:
        """The same for a configuration that entered so many stages."""
        ranking = min(stages, len(self.stages) - 1)
        return range(self.stages[ranking - 1].seeds + 1 if ranking else 1)

    def fresh_in(self, stages: int) -> range:
        """The same for a configuration that entered so many stages."""
        if not stages:
            return range(1)
        before = self.stages[stages - 2].seeds if stages > 1 else 0
        return range(before + 1, self.stages[stages - 1].seeds + 1)


def race(
    field: Sequence[str], stages: Sequence[Rung], results: Results, order: Order = by_gain
) -> Race:
    """Who is in which stage, and what is missing: a function of the results alone.

    A stage's entrants are selected by the seeds of the stages before, so that it begins when all of
    those are settled. Configurations that come later, in a study that is extended, are selected in
    the same way; nothing that was run is run again.

    Args:
        field: the configurations, of which ties keep the order.
    """
    reached = dict.fromkeys(field, 0)
    entrants, seeds, missing = list(field), 0, []
    standing = order(_means(results, entrants, range(1)))
    for number, stage in enumerate(stages, start=1):
        entrants = standing[: stage.entrants]
        reached |= dict.fromkeys(entrants, number)
        fresh = range(seeds + 1, stage.seeds + 1)
        missing = [(n, s) for n in entrants for s in fresh if not results.settled(n, s)]
        if missing:
            break
        seeds = stage.seeds
        if number < len(stages):
            ranked = order(_means(results, entrants, range(seeds + 1)))
            standing = [*ranked, *standing[len(entrants) :]]
    return Race(results, tuple(field), tuple(stages), reached, tuple(missing), tuple(standing))


def _means(results: Results, names: Sequence[str], seeds: range) -> dict[str, Gain]:
    return {name: results.mean(name, seeds) for name in names}


def paired_spread(samples: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation of paired differences over seeds, pooled over configurations.

    ``samples``: each configuration's differences; those with fewer than two say nothing. None from
    fewer than ``_LEAST_FREEDOM`` degrees of freedom: it would be taken for more than it is.
    """
    useful = [sample for sample in samples if len(sample) > 1]
    if sum(len(sample) - 1 for sample in useful) < _LEAST_FREEDOM:
        return None
    squares = 0.0
    for sample in useful:
        mean = math.fsum(sample) / len(sample)
        squares += math.fsum((value - mean) ** 2 for value in sample)
    return math.sqrt(squares / sum(len(sample) - 1 for sample in useful))


@dataclass(frozen=True)
class WithoutEffect:
    """What the winner of a race shows where nothing has an effect, in units of the paired spread.

    Attributes:
        winners: the mean that it is ranked by, of each simulated race, ascending.
    """

    winners: tuple[float, ...] = field(repr=False)

    @property
    def mean(self) -> float:
        return math.fsum(self.winners) / len(self.winners)

    def share_above(self, value: float) -> float:
        """The share of the simulated races whose winner shows at least ``value``."""
        return 1 - bisect_left(self.winners, value) / len(self.winners)


@lru_cache(maxsize=8)
def without_effect(entrants: int, stages: tuple[Rung, ...]) -> WithoutEffect:
    """Simulate the race where paired differences are standard normal.

    All trials of a seed stand beside the same baseline: without effects a trial's value varies as
    the baseline's, and the differences of a seed correlate with a half.
    """
    import numpy as np

    random = np.random.default_rng(20261126)

    def drawn(shape: tuple[int, ...], seeds: int) -> Any:
        trials, baseline = random.standard_normal(shape), random.standard_normal((shape[0], 1))
        return math.sqrt(seeds / 2) * (trials - baseline)

    sums = drawn((_SIMULATIONS, entrants), 1)
    seeds = 0
    for stage in stages[:-1]:
        best = np.argsort(-sums, axis=1)[:, : stage.entrants]
        sums = np.take_along_axis(sums, best, axis=1)
        sums = sums + drawn(sums.shape, stage.seeds - seeds)
        seeds = stage.seeds
    return WithoutEffect(tuple(np.sort(sums.max(axis=1) / (seeds + 1)).tolist()))
