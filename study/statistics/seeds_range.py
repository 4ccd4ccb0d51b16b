"""How many seeds would show a difference: a range or a bound, with its confidence."""

import math
from dataclasses import dataclass

import scipy

from study.statistics.estimate import MAX_SEEDS, POWER, Estimate, Interval, required_seeds

CONFIDENCE = 0.80
FEWEST_SEEDS = 5
"""Below so many differences even a range says nothing."""


@dataclass(frozen=True, slots=True)
class SeedsRange:
    """Seeds, in all, with which a test would show a difference of the size seen with 80 % power.

    Attributes:
        fewest: for the largest standardised difference within its 80 % interval; None: more than
            ``MAX_SEEDS``.
        most: for the smallest; None: more than ``MAX_SEEDS``, as always where 0 is within it.
        seeds: those there are.
    """

    fewest: int | None
    most: int | None
    seeds: int

    def sentence(self) -> str:
        limit = f"more than {MAX_SEEDS:,}"
        fewest = limit if self.fewest is None else f"{self.fewest:,}"
        most = limit if self.most is None else f"{self.most:,}"
        seeds = f"{fewest} to {most} seeds in all"
        if self.most is not None and self.fewest == self.most:
            # Both ends lie below what can be added at all: a bound, no estimate.
            seeds = f"at most {most} seeds in all, the fewest that can be added,"
        elif self.fewest is None:
            seeds = f"{limit} seeds in all"
        return (
            f"{seeds} would show a difference of the size seen "
            f"with {100 * POWER:.0f} % power ({100 * CONFIDENCE:.0f} % confidence)"
        )


def effect_interval(effect: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of the true d_z of ``n`` normal differences that show ``effect``.

    The noncentralities of which t is the upper and the lower quantile (Steiger and Fouladi 1997).
    """
    t, root = effect * math.sqrt(n), math.sqrt(n)
    tail = (1 - confidence) / 2

    def noncentrality(share: float) -> float:
        def excess(shift: float) -> float:
            # A negative t by its mirror image; in far tails scipy's nct.cdf is NaN.
            cdf = (
                scipy.stats.nct.cdf(t, n - 1, shift)
                if t >= 0
                else scipy.stats.nct.sf(-t, n - 1, -shift)
            )
            return (float(shift < t) if math.isnan(cdf) else float(cdf)) - share

        reach = 10 + abs(t) * 2
        return float(scipy.optimize.brentq(excess, t - reach, t + reach, xtol=1e-8))

    return Interval(noncentrality(1 - tail) / root, noncentrality(tail) / root)


def seeds_range(found: Estimate, level: float, at_least: int = 0) -> SeedsRange | None:
    """The range for a two-sided test at ``level``; None where nothing can be said.

    ``at_least``: seeds that are needed whatever the difference, for the next look. Nothing is said
    below ``FEWEST_SEEDS`` differences, and where all are equal.
    """
    if found.n < FEWEST_SEEDS or not found.std or found.effect_size is None:
        return None
    interval = effect_interval(found.effect_size, found.n)
    sizes = sorted((abs(interval.low), abs(interval.high)))
    straddles = interval.low <= 0 <= interval.high
    fewest = required_seeds(sizes[1], level)
    most = None if straddles else required_seeds(sizes[0], level)
    least = max(at_least, found.n + 1)
    return SeedsRange(
        None if fewest is None else max(fewest, least),
        None if most is None else max(most, least),
        found.n,
    )
