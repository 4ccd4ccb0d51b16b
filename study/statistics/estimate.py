"""What paired differences say by themselves: estimates, tests, power."""

import math
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

ALPHA = 0.05
"""Two-sided error level of a whole family of comparisons."""

POWER = 0.80
"""Probability with which a number of seeds that is asked for would show the difference."""

RESAMPLES = 9999
"""Bootstrap resamples behind an interval."""

MAX_SEEDS = 10_000
"""A difference that would need more seeds than this is not worth a number."""

_BOOTSTRAP_SEED = 20240229

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval for the mean paired difference, in the metric's unit."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one set of paired differences says by itself, before any correction.

    Whatever the number of differences does not allow is None: all but ``n`` without a difference,
    all but ``n`` and ``mean`` with one.

    Attributes:
        n: paired differences.
        mean: mean paired difference, in the metric's unit.
        std: their standard deviation (n − 1).
        t_interval: Student's interval; None also if all differences are equal.
        bootstrap_interval: BCa bootstrap (Efron 1987); None also for n < 3 or if all are equal. It
            is too narrow for few seeds: at n = 5 it covers less than its name says.
        p_t: two-sided paired t test. Where all differences are equal, t is infinite or undefined:
            then 1 if they are 0, else the exact sign-flip probability 2^(1 − n), the smallest that
            any test of a symmetric null hypothesis can give.
        p_wilcoxon: two-sided signed-rank test; exact for few seeds, ties included.
        wilcoxon_can_reject: whether any n differences, zeros left out, could have given a
            ``p_wilcoxon`` below the error level: 2^(1 − n) at least, so six at 5 %.
        effect_size: Cohen's d_z = mean / std; None if all differences are equal and not 0.
        hedges_g: d_z without its small-sample bias (Hedges 1981): at n = 5, 0.80 of it.
    """

    n: int
    mean: float | None = None
    std: float | None = None
    t_interval: Interval | None = None
    bootstrap_interval: Interval | None = None
    p_t: float | None = None
    p_wilcoxon: float | None = None
    wilcoxon_can_reject: bool = False
    effect_size: float | None = None
    hedges_g: float | None = None


def estimate(
    differences: Sequence[float], *, alpha: float = ALPHA, resamples: int = RESAMPLES
) -> Estimate:
    """Estimate the mean of finite paired differences (n,) and test it against 0; see ``pair``.

    The intervals have confidence 1 − ``alpha``. The bootstrap has a fixed seed; below 2 resamples
    it is left out.
    """
    n = len(differences)
    if n == 0:
        return Estimate(0)
    values, unit = scaled(differences)
    if n == 1:
        return Estimate(1, float(differences[0]))
    rank_test = _wilcoxon(values)
    can_reject = 2.0 ** (1 - int(np.count_nonzero(values))) <= alpha
    if _all_equal(values):
        effect = 0.0 if values[0] == 0 else None
        return Estimate(
            n=n,
            mean=float(differences[0]),
            std=0.0,
            p_t=_equal_p(values),
            p_wilcoxon=rank_test,
            wilcoxon_can_reject=can_reject,
            effect_size=effect,
            hedges_g=effect,
        )
    mean, std = float(values.mean()), float(values.std(ddof=1))
    t_test = scipy.stats.ttest_1samp(values, 0.0)
    return Estimate(
        n=n,
        mean=mean * unit,
        std=std * unit,
        t_interval=_interval(t_test.confidence_interval(1 - alpha), unit),
        bootstrap_interval=_bootstrap_interval(values, unit, alpha, resamples),
        p_t=float(t_test.pvalue),
        p_wilcoxon=rank_test,
        wilcoxon_can_reject=can_reject,
        effect_size=mean / std,
        hedges_g=mean / std * _hedges_factor(n - 1),
    )


def scaled(differences: Sequence[float]) -> tuple[Values, float]:
    """The differences in units of the largest, so that no square overflows or vanishes."""
    values = np.asarray(differences, dtype=np.float64)
    assert np.isfinite(values).all(), "non-finite differences are left out by pair()"
    # A power of two: dividing by it changes no digit.
    unit = math.ldexp(1.0, math.frexp(float(np.abs(values).max()))[1] - 1)
    return values / unit, unit


def _all_equal(values: Values) -> bool:
    return bool((values == values[0]).all())


def t_test(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of the paired t test, as in ``Estimate.p_t``; None for n < 2."""
    if len(differences) < 2:
        return None
    values, _ = scaled(differences)
    if _all_equal(values):
        return _equal_p(values)
    # A tenth of the time of scipy's ttest_1samp, for the many looks of a simulation.
    return float(2 * scipy.special.stdtr(len(values) - 1, -abs(_t(values))))


def _t(values: Values) -> float:
    return float(values.mean() / (values.std(ddof=1) / math.sqrt(len(values))))


def mean_and_std(differences: Sequence[float]) -> tuple[float, float] | None:
    """``Estimate.mean`` and ``Estimate.std`` alone; None for n < 2."""
    if len(differences) < 2:
        return None
    values, unit = scaled(differences)
    std = 0.0 if _all_equal(values) else float(values.std(ddof=1)) * unit
    return float(values.mean()) * unit, std


def _equal_p(values: Values) -> float:
    return 1.0 if values[0] == 0 else 2.0 ** (1 - len(values))


def _interval(interval: Any, unit: float) -> Interval | None:
    """scipy's interval in the metric's unit; None where it has none."""
    low, high = float(interval.low) * unit, float(interval.high) * unit
    return Interval(low, high) if math.isfinite(low) and math.isfinite(high) else None


def _bootstrap_interval(
    values: Values, unit: float, alpha: float, resamples: int
) -> Interval | None:
    if resamples < 2 or len(values) < 3:
        return None
    with warnings.catch_warnings():
        # Said by the missing interval.
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        interval = scipy.stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=1 - alpha,
            n_resamples=resamples,
            method="BCa",
            rng=np.random.default_rng(_BOOTSTRAP_SEED),
        ).confidence_interval
    return _interval(interval, unit)


def _wilcoxon(values: Values) -> float:
    signed = values[values != 0]
    if len(signed) == 0:
        return 1.0
    return float(scipy.stats.wilcoxon(signed).pvalue)


def _hedges_factor(df: int) -> float:
    """J(df) = Γ(df/2) / (√(df/2) Γ((df − 1)/2)) (Hedges 1981); 0 at df = 1."""
    logs = scipy.special.gammaln(df / 2) - scipy.special.gammaln((df - 1) / 2)
    return float(np.exp(logs) / math.sqrt(df / 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being looked at together (Holm 1979): compare them with the level.

    The j-th smallest of m is multiplied by m − j + 1, and none may fall below a smaller one's. The
    probability of any false rejection stays at the level whatever the dependence, which matters
    since all configurations share their baseline.
    """
    m = len(p_values)
    adjusted = [1.0] * m
    highest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def power(n: int, effect: float, alpha: float = ALPHA) -> float:
    """Probability that a two-sided t test of ``n`` paired differences rejects.

    The t statistic follows the noncentral t distribution with n − 1 degrees of freedom and
    noncentrality √n · effect (Cohen 1988). ``effect``: true mean of the differences in units of
    their true standard deviation. Below 2 differences nothing is ever rejected.
    """
    if n < 2:
        return 0.0
    df = n - 1
    critical = scipy.stats.t.isf(alpha / 2, df)
    shift = math.sqrt(n) * abs(effect)
    # The far tail by its mirror image: scipy's nct.cdf is NaN there.
    return float(scipy.stats.nct.sf(critical, df, shift) + scipy.stats.nct.sf(critical, df, -shift))


def required_seeds(effect: float, alpha: float = ALPHA, target: float = POWER) -> int | None:
    """The fewest seeds (≥ 2) with which ``power`` reaches ``target``; None beyond ``MAX_SEEDS``."""
    candidates = range(2, MAX_SEEDS + 1)
    index = bisect_left(candidates, target, key=lambda n: power(n, effect, alpha))
    return candidates[index] if index < len(candidates) else None
