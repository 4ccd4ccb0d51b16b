"""Many made-up confirmations at once: the rules of ``study.statistics.looks`` as array code.

Only the levels, bounds and the sign-flip test are the project's own; the tests and procedures are
written anew. Shapes: R repetitions, m configurations, N seeds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from study.statistics.answers import COLLAPSE_ALPHA
from study.statistics.anytime import PRIOR_VARIANCE
from study.statistics.design import ConfirmationDesign
from study.statistics.futility import futility_bounds
from study.statistics.looks import VETO_LEVEL
from study.statistics.sign_flip import FEWEST_SEEDS, sign_flip_test

UNDECIDED, BETTER, WORSE, EQUIVALENT, NO_NOISE = range(5)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """Differences (R, m, N), and by seed: whether there is one, is noise, and who collapsed."""

    values: Floats
    there: Flags
    noisy: Flags
    collapsed: Flags
    baseline_collapsed: Flags


@dataclass
class Moments:
    """n, mean, spread of the first seeds (R, m), and whether all of them are equal."""

    n: Codes
    mean: Floats
    std: Floats
    equal: Flags

    def t(self, bound: float = 0.0) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.mean - bound) * np.sqrt(self.n) / self.std

    def two_sided(self) -> Floats:
        p_values = 2 * special.stdtr(np.maximum(self.n - 1, 1), -np.abs(self.t()))
        equal = np.where(self.mean == 0, 1.0, 2.0 ** (1 - self.n))
        return np.where(self.n < 2, 1.0, np.where(self.equal, equal, p_values))

    def above(self, bound: float, sign: int = 1) -> Floats:
        """One-sided, that sign · mean lies above ``bound``."""
        shifted = sign * self.mean - bound
        t = sign * self.t(sign * bound)
        p_values = special.stdtr(np.maximum(self.n - 1, 1), -t)
        half = np.where(shifted == 0, 0.5, 2.0**-self.n)
        equal = np.where(shifted > 0, half, 1 - half)
        return np.where(self.n < 2, 1.0, np.where(self.equal, equal, p_values))

    def within(self, margin: float) -> Floats:
        return np.maximum(self.above(-margin), self.above(-margin, sign=-1))


class Running:
    """Sums and extremes over the first seeds, for every number of them."""

    def __init__(self, values: Floats, used: Flags) -> None:
        kept = np.where(used, values, 0.0)
        self.n = used.cumsum(axis=2)
        self.sums, self.squares = kept.cumsum(axis=2), np.square(kept).cumsum(axis=2)
        self.low = np.minimum.accumulate(np.where(used, values, np.inf), axis=2)
        self.high = np.maximum.accumulate(np.where(used, values, -np.inf), axis=2)

    def first(self, count: int) -> Moments:
        n, total, squares, low, high = (
            every[..., count - 1]
            for every in (self.n, self.sums, self.squares, self.low, self.high)
        )
        mean = total / np.maximum(n, 1)
        variance = np.maximum(squares - n * np.square(mean), 0) / np.maximum(n - 1, 1)
        return Moments(n, mean, np.sqrt(variance), low == high)


@dataclass
class Levels:
    """Nominal levels by configurations left (1 … m) and look."""

    difference: Floats
    equivalence: Floats

    @classmethod
    def of(cls, design: ConfirmationDesign, m: int) -> "Levels":
        shares, looks = range(1, m + 1), design.looks
        return cls(
            np.array([[design.level(look, left) for look in looks] for left in shares]),
            np.array([[design.equivalence_level(look, left) for look in looks] for left in shares]),
        )


class Confirmations:
    """R confirmations of m configurations; ``run`` fills ``answer`` and ``seeds`` (R, m)."""

    def __init__(self, draws: Draws, design: ConfirmationDesign, margin: float) -> None:
        self.draws, self.design, self.margin = draws, design, margin
        shape = draws.values.shape[:2]
        self.every = Running(draws.values, draws.there)
        self.noisy = Running(draws.values, draws.there & draws.noisy)
        alone = draws.collapsed & ~draws.baseline_collapsed
        lost = ~draws.there & ~draws.collapsed & ~draws.baseline_collapsed
        self.tainted = np.logical_or.accumulate(alone | lost, axis=2)
        self.levels = Levels.of(design, shape[1])
        self.answer = np.zeros(shape, dtype=np.int64)
        self.seeds = np.zeros(shape, dtype=np.int64)
        self.pending = np.ones(shape, dtype=bool)
        self.left_different = np.full(shape[0], shape[1])
        self.left_equivalent = np.full(shape[0], shape[1])

    def run(self) -> "Confirmations":
        for index, look in enumerate(self.design.looks):
            self._look(index, look)
        self._collapses()
        if self.design.extendable:
            for count in range(self.design.planned + 1, self.design.extended_to + 1):
                self._late(count)
        return self

    def _first(self, count: int) -> tuple[Moments, Moments, Flags]:
        """Moments of all seeds and of those with noise, and what is tainted."""
        return self.every.first(count), self.noisy.first(count), self.tainted[..., count - 1]

    def _look(self, index: int, look: int) -> None:
        every, noisy, tainted = self._first(look)
        pending = self.pending.copy()
        self.seeds[pending] = look
        p_values = np.where(tainted & (every.mean > 0), 1.0, every.two_sided())
        different = self._step_down(p_values, pending, index, look)
        equivalent = self._equivalences(every, noisy, tainted, pending, index)
        nothing = (every.n >= 2) & every.equal & (every.mean == 0) & ~tainted & pending
        sign = np.where(every.mean > 0, BETTER, WORSE)
        self.answer = np.where(different, sign, self.answer)
        self.answer = np.where(equivalent, EQUIVALENT, self.answer)
        self.answer = np.where(nothing, NO_NOISE, self.answer)
        self.pending &= ~(different | equivalent | nothing)
        if self.design.futility and look < self.design.planned:
            self.pending &= ~self._futile(look, every, noisy, tainted)

    def _step_down(self, p_values: Floats, pending: Flags, index: int, look: int) -> Flags:
        """Holm's procedure; what the t test shows must pass the sign-flip test, too."""
        rows = np.arange(len(p_values))
        rejected = np.zeros_like(pending)
        order = np.argsort(np.where(pending, p_values, 2.0), axis=1, kind="stable")
        for column in order.T:
            level = self.levels.difference[self.left_different - 1, index]
            hit = pending[rows, column] & (p_values[rows, column] <= level)
            hit[hit] = [
                not self._vetoed(row, which, look)
                for row, which in zip(rows[hit], column[hit], strict=True)
            ]
            rejected[rows[hit], column[hit]] = True
            self.left_different[hit] -= 1
        return rejected

    def _vetoed(self, row: int, which: int, count: int) -> bool:
        there = self.draws.there[row, which, :count]
        values = self.draws.values[row, which, :count][there]
        if len(values) < FEWEST_SEEDS or (values > 0).all() or (values < 0).all():
            return False
        # Hoeffding's bound of the p-value: most need no exact one.
        bound = 2 * np.exp(-(values.sum() ** 2) / (2 * np.square(values).sum()))
        return bool(bound > VETO_LEVEL) and sign_flip_test(values.tolist()) > VETO_LEVEL

    def _equivalences(
        self, every: Moments, noisy: Moments, tainted: Flags, pending: Flags, index: int
    ) -> Flags:
        within = np.maximum(every.within(self.margin), noisy.within(self.margin))
        nothing = (every.n >= 2) & every.equal & (every.mean == 0)
        p_values = np.where(tainted | nothing | ~pending, 2.0, within)
        rows = np.arange(len(p_values))
        rejected = np.zeros_like(pending)
        for column in np.argsort(p_values, axis=1, kind="stable").T:
            level = self.levels.equivalence[self.left_equivalent - 1, index]
            hit = p_values[rows, column] <= level
            rejected[rows[hit], column[hit]] = True
            self.left_equivalent[hit] -= 1
        return rejected

    def _futile(self, look: int, every: Moments, noisy: Moments, tainted: Flags) -> Flags:
        later = next(other for other in self.design.looks if other > look)
        below = np.where(
            every.equal, every.mean <= 0, every.t() <= futility_bounds(self.design.looks)[look]
        )
        level = self.levels.equivalence[-1, self.design.looks.index(later)]
        half_width = stats.t.isf(level, later - 1) * noisy.std / np.sqrt(later)
        reach = np.abs(noisy.mean) + half_width < self.margin
        hold = reach & (noisy.n >= 2) & ~every.equal
        futile: Flags = tainted | (below & ~hold)
        return futile

    def _late(self, count: int) -> None:
        every, noisy, tainted = self._first(count)
        self.seeds[self.pending] = count
        needed = every.mean.shape[1] / self.design.set_aside
        shown = self.pending & (_evidence(every) >= needed) & ~(tainted & (every.mean > 0))
        for row, which in np.argwhere(shown):
            shown[row, which] = not self._vetoed(row, which, count)
        inside = self.pending & ~tainted
        for moments in (every, noisy):
            inside &= (moments.n > 0) & (np.abs(moments.mean) < self.margin)
            for bound in (-self.margin, self.margin):
                inside &= _evidence(moments, bound) >= needed
        self.answer = np.where(shown, np.where(every.mean > 0, BETTER, WORSE), self.answer)
        self.answer = np.where(inside, EQUIVALENT, self.answer)
        self.pending &= ~(shown | inside)

    def _collapses(self) -> None:
        """At the planned end: what is worse by its collapses gets no further seed."""
        draws = self.draws
        used = np.arange(draws.values.shape[2]) < self.seeds[..., None]
        alone = (draws.collapsed & ~draws.baseline_collapsed & used).sum(axis=2)
        other = (draws.baseline_collapsed & ~draws.collapsed & used).sum(axis=2)
        p_values = stats.binom.sf(alone - 1, alone + other, 0.5)
        m = p_values.shape[1]
        order = np.argsort(p_values, axis=1, kind="stable")
        ranked = np.take_along_axis(p_values, order, axis=1) * (m - np.arange(m))
        adjusted = np.empty_like(p_values)
        np.put_along_axis(adjusted, order, np.maximum.accumulate(ranked, axis=1), axis=1)
        worse = (self.answer == UNDECIDED) & (alone > 0) & (adjusted <= COLLAPSE_ALPHA)
        self.answer = np.where(worse, WORSE, self.answer)
        self.pending &= ~worse


def _evidence(moments: Moments, bound: float = 0.0) -> Floats:
    """The Bayes factor as published; equal differences as in ``anytime_evidence``."""
    n, spread = moments.n, 1 + moments.n * PRIOR_VARIANCE
    freedom = np.maximum(n - 1, 1)
    squared = np.nan_to_num(moments.t(bound) ** 2, nan=0.0, posinf=0.0)
    bracket = (1 + squared / freedom) / (1 + squared / (freedom * spread))
    evidence = spread**-0.5 * bracket ** (n / 2)
    equal = np.where(
        moments.mean == bound, 1.0, np.minimum(2.0 ** (n - 1), spread ** ((n - 1) / 2))
    )
    return np.where(n < 2, 1.0, np.where(moments.equal, equal, evidence))
