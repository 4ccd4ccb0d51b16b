"""Sequential designs: when a confirmation may look, and when it may stop."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy

from study.statistics.estimate import ALPHA, Values, t_test
from study.statistics.paired import Paired
from trainables.errors import InputError

LOOK_STEP = 3
"""Seeds added between two looks of a sequential design, unless told otherwise."""
_CELLS = 400
_NEGLIGIBLE = 1e-12


def look_schedule(first: int, last: int, step: int = LOOK_STEP) -> tuple[int, ...]:
    """Numbers of seeds at the looks of a sequential design; ``last``, the most, is always one."""
    if not 2 <= first <= last:
        raise InputError(f"seeds = {first}..{last}: must be FIRST..LAST with 2 <= FIRST <= LAST")
    if step < 1:
        raise InputError(f"step = {step}: at least one seed must be added between two looks")
    return (*range(first, last, step), last)


def alpha_spent(fraction: float, alpha: float = ALPHA) -> float:
    """Error level used up when ``fraction`` of the seeds are in, of ``alpha`` in the end.

    The O'Brien–Fleming-type spending function of Lan and DeMets (1983, Biometrika 70, 659–663),
    α/2 on each side: 4 − 4 Φ(z_{1 − α/4} / √fraction).
    """
    return float(4 * scipy.stats.norm.sf(scipy.stats.norm.isf(alpha / 4) / math.sqrt(fraction)))


def alpha_spent_early(fraction: float, alpha: float = ALPHA) -> float:
    """Likewise, about evenly: the Pocock-type function of the same source, α ln(1 + (e − 1) f)."""
    return alpha * math.log1p((math.e - 1) * fraction)


@lru_cache(maxsize=256)
def nominal_levels(
    looks: tuple[int, ...],
    alpha: float = ALPHA,
    spent_at: Callable[[float, float], float] = alpha_spent,
) -> tuple[float, ...]:
    """The level that the p-value of a two-sided one-sample t test is held against at each look.

    Levels such that, without an effect, the first p-value at or below its level occurs at each
    look with the probability that ``spent_at`` adds there. They are calculated for t tests of
    normal differences, as by Jennison and Turnbull (1991, Biometrika 78, 133–141): the usual
    boundaries, which are for a known variance, turned into p-values would err in 5.3 % of cases
    with looks at 5, 8, … 20 seeds, and in 5.6 % with looks at 3, 4, … 12.

    The recursion follows r = |Σx| / √(n Σx²), of which |t| is an increasing function, one seed at
    a time. Without an effect x's direction is independent of its length, hence r is a Markov chain.
    Its law is kept as masses of ``_CELLS`` cells; doubling them changes the levels by less than
    1 %. It takes about 0.1 s for each seed after the first look.

    ``looks`` ascend strictly, shape (K,), as the levels: minute at first, nearer ``alpha`` at last.
    """
    n = looks[0]
    spent = spent_at(n / looks[-1], alpha)
    levels = [spent]
    edges, ratios = _cells(_ratio(spent, n))
    masses = -np.diff(_tail(edges, n))
    for look in looks[1:]:
        for before in range(n, look - 1):
            # Cells where the chain hardly ever is would be lost to where it is.
            masses, ratios = _one_more(masses, ratios, before, _ratio(_NEGLIGIBLE, before + 1))
        n = look
        may_spend = spent_at(n / looks[-1], alpha)
        levels.append(_level(masses, ratios, n, spent, may_spend))
        masses, ratios = _one_more(masses, ratios, n - 1, _ratio(levels[-1], n))
        spent = may_spend
    return tuple(levels)


def _tail(ratio: float | Values, n: int) -> Any:
    """P(r ≥ ``ratio``) for n seeds: r² is Beta(1/2, (n − 1)/2), the cosine of a random angle."""
    return scipy.special.betainc((n - 1) / 2, 0.5, 1 - np.square(ratio))


def _ratio(level: float, n: int) -> float:
    """The inverse of ``_tail``."""
    return math.sqrt(1 - float(scipy.special.betaincinv((n - 1) / 2, 0.5, level)))


def _cells(farthest: float) -> tuple[Values, Values]:
    """Edges, shape (cells + 1,), and middles of cells of [0, ``farthest``], equal as angles."""
    angles = np.linspace(0.0, math.asin(farthest), _CELLS + 1)
    return np.sin(angles), np.sin((angles[:-1] + angles[1:]) / 2)


def _one_more(masses: Values, ratios: Values, n: int, farthest: float) -> tuple[Values, Values]:
    """The law after seed n + 1, of what lies below ``farthest``."""
    edges, middles = _cells(farthest)
    return masses @ np.diff(_below(edges[None, :], ratios[:, None], n), axis=1), middles


def _level(masses: Values, ratios: Values, n: int, spent: float, may_spend: float) -> float:
    """The level at look ``n`` that spends ``may_spend`` − ``spent``, from seed n − 1's law.

    It lies between that and ``may_spend``, since at most ``spent`` was decided before.
    """
    exit_probability = may_spend - spent
    if exit_probability <= 0:  # less than the smallest float: no p-value is small enough
        return 0.0

    def excess(log_level: float) -> float:
        ratio = np.array(_ratio(math.exp(log_level), n))
        return float(masses @ (1 - _below(ratio, ratios, n - 1))) - exit_probability

    low, high = math.log(exit_probability), math.log(may_spend)
    # The cells can't resolve a minute first step; the bounds hold whatever they say.
    if excess(low) >= 0:
        return exit_probability
    if excess(high) <= 0:
        return may_spend
    return math.exp(scipy.optimize.brentq(excess, low, high, xtol=1e-10))


def _below(ratio: Values, before: Values, n: int) -> Values:
    """P(r after n + 1 seeds < ``ratio`` | r after n seeds = ``before``), without an effect.

    In units of √Σx² over the first n, Σx is a = √n · before and the next x is t_n / √n. Hence
    |a + x| < c √(1 + x²) with c = √(n + 1) · ratio: a quadratic inequality in x.
    """
    a = math.sqrt(n) * before
    c = math.sqrt(n + 1) * ratio
    c = np.where(np.abs(c - 1) < 1e-9, 1 + 1e-9, c)  # there the quadratic loses a root
    root = c * np.sqrt(np.maximum(a * a + 1 - c * c, 0))
    between = np.abs(
        scipy.special.stdtr(n, math.sqrt(n) * (a + root) / (c * c - 1))
        - scipy.special.stdtr(n, math.sqrt(n) * (a - root) / (c * c - 1))
    )
    return np.where(c > 1, 1 - between, between)


@dataclass(frozen=True, slots=True)
class SequentialDesign:
    """Looks at the data after given numbers of seeds, strictly ascending (``look_schedule``).

    ``alpha`` is the two-sided error level over all looks and all configurations.
    """

    looks: tuple[int, ...]
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.looks, self.looks[1:], strict=False))
        if not self.looks or self.looks[0] < 2 or not ascending:
            raise InputError(f"looks = {self.looks}: must ascend strictly, from at least 2 seeds")

    def levels(self, alpha: float) -> dict[int, float]:
        """Number of seeds → nominal level there of one test that may err with ``alpha``."""
        return dict(zip(self.looks, nominal_levels(self.looks, alpha), strict=True))


@dataclass(frozen=True, slots=True)
class Decided:
    """How one configuration was decided: after ``seeds`` seeds, at nominal level ``level``."""

    seeds: int
    level: float
    higher: bool
    """Whether the configuration's value was the higher one."""


@dataclass(frozen=True, slots=True)
class SequentialState:
    """Where a sequential design stands.

    Attributes:
        decided: the configurations whose difference is shown.
        pending: the others; if ``next_seeds`` is None they are given up as not shown.
        next_seeds: seeds that each pending configuration needs for the next look, in all; None
            when the question is decided, by the data or by the last look.
        level: nominal level that the pending ones were held against at their last look; 0 before
            the first.
    """

    decided: dict[str, Decided]
    pending: tuple[str, ...]
    next_seeds: int | None
    level: float

    @property
    def finished(self) -> bool:
        """Whether no further seed is asked for."""
        return self.next_seeds is None


def decide(samples: Mapping[str, Paired], design: SequentialDesign) -> SequentialState:
    """Look at the data as often as they allow, and say whether seeds must be added.

    A pure function of the data: asked again after an interruption, it repeats its decisions. At
    each look the pending configurations go through Holm's procedure, each at the nominal level of
    its share α / (m − decided) of the error level; a decided one stays decided and needs no
    further seed (group-sequential Holm: Ye et al. 2013, Stat. Med. 32, 1112–1124; Maurer and Bretz
    2013, Stat. Biopharm. Res. 5, 311–320).

    A look takes the first seeds of each sample in ascending order, so ask only when these have
    finished: a seed without a difference counts as a failed one.
    """
    decided: dict[str, Decided] = {}
    pending = list(samples)
    level = 0.0
    for look in design.looks:
        if not pending:
            return SequentialState(decided, (), None, level)
        if any(len(samples[name].seeds) < look for name in pending):
            return SequentialState(decided, tuple(pending), look, level)
        seen = {name: _first(samples[name], look) for name in pending}
        p_values = {name: or_one(t_test(values)) for name, values in seen.items()}
        while pending:
            level = design.levels(design.alpha / len(pending))[look]
            name = min(pending, key=p_values.__getitem__)
            if p_values[name] > level:
                break
            decided[name] = Decided(look, level, math.fsum(seen[name]) > 0)
            pending.remove(name)
    return SequentialState(decided, tuple(pending), None, level)


def _first(sample: Paired, seeds: int) -> list[float]:
    return [value for value in sample.differences[:seeds] if value is not None]


def or_one(p_value: float | None) -> float:
    """An untestable configuration rejects nothing, but stays in the family."""
    return 1.0 if p_value is None else p_value
