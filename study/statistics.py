"""Paired statistics over seeds: is a configuration better than what it is compared with?

A trial and its baseline of the same seed share everything but the noise, so all that is looked at
here is their paired difference. Pure functions of numbers on numpy and scipy.

Differences keep their sign (configuration − reference); only the verdict and the winner's curse
know whether higher is better.
"""

import math
import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from trainables.errors import InputError

ALPHA = 0.05
"""Two-sided error level of a whole family of comparisons."""

POWER = 0.80
"""Probability with which a number of seeds that is asked for would show the difference."""

EFFECT_SOUGHT = 1.0
"""The difference, in standard deviations of the paired differences, that "no difference shown"
promises to have been found with probability ``POWER``. A fixed effect and not the one seen: the
power for the effect seen says the same as the p-value (Hoenig and Heisey 2001)."""

RESAMPLES = 9999
"""Bootstrap resamples behind an interval."""

MAX_SEEDS = 10_000
"""A difference that would need more seeds than this is not worth a number."""

LOOK_STEP = 3
"""Seeds added between two looks of a sequential design, unless told otherwise."""

_BOOTSTRAP_SEED = 20240229
_CELLS = 400
_NEGLIGIBLE = 1e-12
_DIGITS = 12

Values = NDArray[np.float64]


class Verdict(StrEnum):
    """What the seeds say about a configuration, in the words that are printed."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"
    TOO_FEW = "too few seeds to tell"


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval for the mean paired difference, in the metric's unit."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """Paired differences of a configuration and its reference, by seed.

    Attributes:
        seeds: every seed that either was trained on, ascending.
        differences: configuration − reference; None where either is missing or not finite.
    """

    seeds: tuple[int, ...]
    differences: tuple[float | None, ...]

    @property
    def complete(self) -> tuple[float, ...]:
        """The differences that exist."""
        return tuple(value for value in self.differences if value is not None)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Seeds without a difference: a run failed, diverged or is missing."""
        pairs = zip(self.seeds, self.differences, strict=True)
        return tuple(seed for seed, value in pairs if value is None)


def pair(values: Mapping[int, float | None], reference: Mapping[int, float | None]) -> Paired:
    """Pair a metric of a configuration with that of its reference, by seed.

    Args:
        values: seed → the configuration's value; None or a non-finite number for a failed run.
        reference: seed → the value of the baseline, or of the placebo.
    """
    seeds = tuple(sorted(values.keys() | reference.keys()))
    pairs = [_finite_pair(values.get(seed), reference.get(seed)) for seed in seeds]
    present = [both for both in pairs if both is not None]
    size = float(np.median([max(map(abs, both)) for both in present])) if present else 0.0
    differences = (None if both is None else _difference(*both, size) for both in pairs)
    return Paired(seeds, tuple(differences))


def _finite_pair(value: float | None, other: float | None) -> tuple[float, float] | None:
    if value is None or other is None:
        return None
    return (value, other) if all(map(math.isfinite, (value, other, value - other))) else None


def _difference(value: float, other: float, size: float) -> float:
    """``value`` − ``other`` without the noise of subtracting nearly equal doubles.

    It is rounded at about 1e-12 of the values' ``size``, lest 0.9 − 0.8 and 0.8 − 0.7 be
    taken for different, which would break a Wilcoxon test's ties and give equal ones a spread.
    """
    if size == 0:
        return value - other
    return round(value - other, _DIGITS - math.ceil(math.log10(size)))


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
    """Estimate the mean paired difference and test it against 0.

    Args:
        differences: finite paired differences, shape (n,); see ``pair``.
        alpha: the intervals have confidence 1 − ``alpha``.
        resamples: bootstrap resamples, drawn from a fixed seed; 0 leaves the bootstrap out.
    """
    n = len(differences)
    if n == 0:
        return Estimate(0)
    values, unit = _scaled(differences)
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
    t_test = stats.ttest_1samp(values, 0.0)
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


def _scaled(differences: Sequence[float]) -> tuple[Values, float]:
    """The differences in units of the largest, so that no square overflows or vanishes."""
    values = np.asarray(differences, dtype=np.float64)
    assert np.isfinite(values).all(), "non-finite differences are left out by pair()"
    # A power of two: dividing by it changes no digit.
    unit = math.ldexp(1.0, math.frexp(float(np.abs(values).max()))[1] - 1)
    return (values / unit, unit) if unit > 0 else (values, 1.0)


def _all_equal(values: Values) -> bool:
    return bool((values == values[0]).all())


def t_test(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of the paired t test, as in ``Estimate.p_t``; None for n < 2."""
    if len(differences) < 2:
        return None
    values, _ = _scaled(differences)
    return _equal_p(values) if _all_equal(values) else float(stats.ttest_1samp(values, 0.0).pvalue)


def _equal_p(values: Values) -> float:
    return 1.0 if values[0] == 0 else 2.0 ** (1 - len(values))


def _interval(interval: Any, unit: float) -> Interval | None:
    """scipy's interval in the metric's unit; None where it has none."""
    low, high = float(interval.low) * unit, float(interval.high) * unit
    return Interval(low, high) if math.isfinite(low) and math.isfinite(high) else None


def _bootstrap_interval(
    values: Values, unit: float, alpha: float, resamples: int
) -> Interval | None:
    if resamples < 1 or len(values) < 3:
        return None
    with warnings.catch_warnings():
        # Said by the missing interval.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
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
    return float(stats.wilcoxon(signed).pvalue)


def _hedges_factor(df: int) -> float:
    """J(df) = Γ(df/2) / (√(df/2) Γ((df − 1)/2)) (Hedges 1981); 0 at df = 1."""
    logs = special.gammaln(df / 2) - special.gammaln((df - 1) / 2)
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
    noncentrality √n · effect (Cohen 1988).

    Args:
        n: paired differences; below 2 nothing is ever rejected.
        effect: true mean of the differences in units of their true standard deviation.
        alpha: error level of the test.
    """
    if n < 2:
        return 0.0
    df = n - 1
    critical = stats.t.isf(alpha / 2, df)
    shift = math.sqrt(n) * abs(effect)
    # The far tail by its mirror image: scipy's nct.cdf is NaN there.
    return float(stats.nct.sf(critical, df, shift) + stats.nct.sf(critical, df, -shift))


def required_seeds(effect: float, alpha: float = ALPHA, target: float = POWER) -> int | None:
    """The fewest seeds with which ``power`` reaches ``target``.

    Returns:
        A number ≥ 2, or None if not even ``MAX_SEEDS`` would do (so always for an effect of 0).
    """
    candidates = range(2, MAX_SEEDS + 1)
    index = bisect_left(candidates, target, key=lambda n: power(n, effect, alpha))
    return candidates[index] if index < len(candidates) else None


def look_schedule(first: int, last: int, step: int = LOOK_STEP) -> tuple[int, ...]:
    """Numbers of seeds after which a sequential design looks at the data.

    Args:
        first: seeds at the first look.
        last: the most seeds; always the last look.
        step: seeds added from one look to the next.

    Raises:
        InputError: unless 2 ≤ ``first`` ≤ ``last`` and ``step`` ≥ 1.
    """
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
    return float(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / math.sqrt(fraction)))


@lru_cache(maxsize=256)
def nominal_levels(looks: tuple[int, ...], alpha: float = ALPHA) -> tuple[float, ...]:
    """The level that the p-value of a two-sided one-sample t test is held against at each look.

    Levels such that, without an effect, the first p-value at or below its level occurs at each
    look with the probability that ``alpha_spent`` adds there. They are calculated for t tests of
    normal differences, as by Jennison and Turnbull (1991, Biometrika 78, 133–141): the usual
    boundaries, which are for a known variance, turned into p-values would err in 5.3 % of cases
    with looks at 5, 8, … 20 seeds, and in 5.6 % with looks at 3, 4, … 12.

    The recursion follows r = |Σx| / √(n Σx²), of which |t| is an increasing function, one seed at
    a time. Without an effect x's direction is independent of its length, hence r is a Markov chain.
    Its law is kept as masses of ``_CELLS`` cells; doubling them changes the levels by less than
    1 %. It takes about 0.1 s for each seed after the first look.

    Args:
        looks: strictly ascending numbers of seeds, shape (K,).
        alpha: the level of the whole procedure.

    Returns:
        Levels, shape (K,): minute at first, nearer ``alpha`` at the last look.
    """
    n = looks[0]
    spent = alpha_spent(n / looks[-1], alpha)
    levels = [spent]
    edges, ratios = _cells(_ratio(spent, n))
    masses = -np.diff(_tail(edges, n))
    for look in looks[1:]:
        for before in range(n, look - 1):
            # Cells where the chain hardly ever is would be lost to where it is.
            masses, ratios = _one_more(masses, ratios, before, _ratio(_NEGLIGIBLE, before + 1))
        n = look
        may_spend = alpha_spent(n / looks[-1], alpha)
        levels.append(_level(masses, ratios, n, spent, may_spend))
        masses, ratios = _one_more(masses, ratios, n - 1, _ratio(levels[-1], n))
        spent = may_spend
    return tuple(levels)


def _tail(ratio: float | Values, n: int) -> Any:
    """P(r ≥ ``ratio``) for n seeds: r² is Beta(1/2, (n − 1)/2), the cosine of a random angle."""
    return special.betainc((n - 1) / 2, 0.5, 1 - np.square(ratio))


def _ratio(level: float, n: int) -> float:
    """The inverse of ``_tail``."""
    return math.sqrt(1 - float(special.betaincinv((n - 1) / 2, 0.5, level)))


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
    return math.exp(optimize.brentq(excess, low, high, xtol=1e-10))


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
        special.stdtr(n, math.sqrt(n) * (a + root) / (c * c - 1))
        - special.stdtr(n, math.sqrt(n) * (a - root) / (c * c - 1))
    )
    return np.where(c > 1, 1 - between, between)


@dataclass(frozen=True, slots=True)
class SequentialDesign:
    """Looks at the data after given numbers of seeds, the error level kept.

    Attributes:
        looks: numbers of seeds, strictly ascending; see ``look_schedule``.
        alpha: two-sided error level over all looks and all configurations.
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

    Args:
        samples: configuration → its differences so far. A look takes the first seeds of each in
            ascending order, so ask only when these have finished: a seed without a difference
            counts as a failed one.
        design: when to look.
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
        p_values = {name: _or_one(t_test(values)) for name, values in seen.items()}
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


def _or_one(p_value: float | None) -> float:
    """An untestable configuration rejects nothing, but stays in the family."""
    return 1.0 if p_value is None else p_value


@dataclass(frozen=True, slots=True)
class Comparison:
    """A configuration against its reference, within a family of configurations.

    Attributes:
        sample: the paired differences.
        estimate: what they say by themselves.
        p_t_holm: ``estimate.p_t`` after Holm's correction over the family.
        p_wilcoxon_holm: likewise.
        family: configurations in the family.
        alpha: error level of the family; the intervals' confidence is 1 − ``alpha``.
        level: what ``estimate.p_t`` was held against: α / (m − r) with r of the m configurations
            rejected before this one; in a sequential design the nominal level of that at the look.
        verdict: in words.
        seeds_needed: seeds that would show a difference of the size seen (the standardised one,
            d_z, taken as true) with 80 % power at α / (m − r). None where a difference is shown,
            none is seen, nothing can be said, or more than ``MAX_SEEDS`` are needed. An unfinished
            sequential design needs at least those of its next look.
        decided_at: seeds at the look that decided, in a sequential design.
    """

    sample: Paired
    estimate: Estimate
    p_t_holm: float | None
    p_wilcoxon_holm: float | None
    family: int
    alpha: float
    level: float
    verdict: Verdict
    seeds_needed: int | None
    decided_at: int | None = None

    @property
    def more_seeds(self) -> int | None:
        """Seeds to be added to those compared, for ``seeds_needed``."""
        return None if self.seeds_needed is None else max(1, self.seeds_needed - self.estimate.n)

    def sentence(self) -> str:
        """The verdict with its reasons, in one line of plain words."""
        parts = [_numbers(self), _how_many_more(self), _what_is_missing(self)]
        return f"{self.verdict}: " + "; ".join(part for part in parts if part)


def compare(
    samples: Mapping[str, Paired],
    *,
    higher_is_better: bool,
    alpha: float = ALPHA,
    design: SequentialDesign | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Comparison]:
    """Compare a family of configurations, each with its reference, on one metric.

    The verdict rests on the paired t test after Holm's correction over the family, which holds all
    configurations chosen, those without a testable number of seeds too; or, with a ``design``, on
    the looks of ``decide``. Where no difference is shown, it is "no difference shown" if the seeds
    would have shown one of ``EFFECT_SOUGHT`` with 80 % power at the level used (or if every
    difference is exactly 0), else "too few seeds to tell".

    Args:
        samples: configuration → its differences from the baseline (or from its placebo).
        higher_is_better: the metric's direction.
        alpha: two-sided error level of the family; a design brings its own.
        design: the sequential design, if the number of seeds was decided by looking.
        resamples: as in ``estimate``.
    """
    alpha = design.alpha if design else alpha
    estimates = {
        name: estimate(sample.complete, alpha=alpha, resamples=resamples)
        for name, sample in samples.items()
    }
    p_t = _holm_by_name({name: found.p_t for name, found in estimates.items()})
    p_wilcoxon = _holm_by_name({name: found.p_wilcoxon for name, found in estimates.items()})
    ruling = _sequential(samples, design) if design else _fixed(estimates, p_t, alpha)
    undecided = sum(1 for rule in ruling.values() if rule.higher is None)
    share = alpha / max(1, undecided)
    result = {}
    for name, found in estimates.items():
        rule = ruling[name]
        result[name] = Comparison(
            sample=samples[name],
            estimate=found,
            p_t_holm=p_t[name],
            p_wilcoxon_holm=p_wilcoxon[name],
            family=len(samples),
            alpha=alpha,
            level=rule.level,
            verdict=_verdict(found, rule, higher_is_better),
            seeds_needed=_seeds_needed(found, rule, share),
            decided_at=rule.decided_at,
        )
    return result


@dataclass(frozen=True, slots=True)
class _Ruling:
    """What the tests say of one configuration; ``higher`` is None if no difference is shown."""

    level: float
    higher: bool | None
    decided_at: int | None = None
    next_look: int | None = None


def _holm_by_name(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    adjusted = holm([_or_one(p) for p in p_values.values()])
    pairs = zip(p_values.items(), adjusted, strict=True)
    return {name: None if p is None else corrected for (name, p), corrected in pairs}


def _fixed(
    estimates: Mapping[str, Estimate], p_t: Mapping[str, float | None], alpha: float
) -> dict[str, _Ruling]:
    """Holm's procedure once, on all the seeds."""
    order = sorted(estimates, key=lambda name: _or_one(estimates[name].p_t))
    rejected = [name for name in order if _or_one(p_t[name]) <= alpha]
    left = len(order) - len(rejected)
    ruling = {name: _Ruling(alpha / max(1, left), None) for name in order}
    for rank, name in enumerate(rejected):
        mean = estimates[name].mean
        assert mean is not None
        ruling[name] = _Ruling(alpha / (len(order) - rank), mean > 0)
    return ruling


def _sequential(samples: Mapping[str, Paired], design: SequentialDesign) -> dict[str, _Ruling]:
    state = decide(samples, design)
    undecided = _Ruling(state.level, None, next_look=state.next_seeds)
    ruling = dict.fromkeys(state.pending, undecided)
    for name, how in state.decided.items():
        ruling[name] = _Ruling(how.level, how.higher, how.seeds)
    return ruling


def _verdict(found: Estimate, rule: _Ruling, higher_is_better: bool) -> Verdict:
    if rule.higher is not None:
        return Verdict.BETTER if rule.higher == higher_is_better else Verdict.WORSE
    if found.n < 2 or rule.level <= 0:
        return Verdict.TOO_FEW
    nothing_seen = found.std == 0 and found.mean == 0
    if nothing_seen or power(found.n, EFFECT_SOUGHT, rule.level) >= POWER:
        return Verdict.NO_DIFFERENCE
    return Verdict.TOO_FEW


def _seeds_needed(found: Estimate, rule: _Ruling, level: float) -> int | None:
    if rule.higher is not None or found.n < 2 or found.mean == 0:
        return None
    if found.effect_size is None:  # equal differences: the sign-flip test, 2^(1 − n)
        needed: int | None = math.ceil(1 - math.log2(level))
    else:
        needed = required_seeds(found.effect_size, level)
    return needed if needed is None else max(needed, rule.next_look or 0)


def _numbers(comparison: Comparison) -> str:
    found = comparison.estimate
    seeds = f"{found.n} seed" + ("" if found.n == 1 else "s")
    if found.mean is None:
        return seeds
    text = f"mean paired difference {found.mean:+.4g} over {seeds}"
    if found.t_interval:
        low, high = found.t_interval.low, found.t_interval.high
        text += f", {_percent(1 - comparison.alpha)} interval {low:+.4g} to {high:+.4g}"
    if comparison.p_t_holm is not None:
        text += f", p = {comparison.p_t_holm:.2g}"
        if comparison.family > 1:
            text += f" (corrected for {comparison.family} configurations)"
    if comparison.decided_at is not None:
        text += (
            f", decided after {comparison.decided_at} seeds by a sequential design "
            "(stopping early overstates a mean somewhat)"
        )
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _how_many_more(comparison: Comparison) -> str:
    found = comparison.estimate
    if comparison.verdict in (Verdict.BETTER, Verdict.WORSE) or found.n < 2:
        return ""
    if found.mean == 0:
        return "no difference was seen at all"
    if comparison.more_seeds is None:
        return f"not even {MAX_SEEDS:,} seeds would show a difference of the size seen"
    more = comparison.more_seeds
    return (
        f"{more} more seed{'' if more == 1 else 's'} would show a difference of the size seen "
        f"with {_percent(POWER)} power"
    )


def _what_is_missing(comparison: Comparison) -> str:
    left_out = comparison.sample.left_out
    if not left_out:
        return ""
    seeds = ", ".join(map(str, left_out))
    return (
        f"without seed{'s' * (len(left_out) > 1)} {seeds}, where a run failed, diverged or is "
        "missing (this favours a configuration that fails where it would have lost)"
    )


@dataclass(frozen=True, slots=True)
class WinnersCurse:
    """What the best of a search promised beside what fresh seeds confirmed.

    The best of many is partly luck: its score in the search is biased upwards by the selection.

    Attributes:
        score: the winner's objective in the search.
        promised: its paired difference from the baseline in the search.
        confirmed: its mean paired difference over the fresh seeds; None before there is any.
        interval: Student's interval of ``confirmed``.
        lost: how much of the promise, in the metric's better direction, was not confirmed.
    """

    score: float
    promised: float
    confirmed: float | None
    interval: Interval | None
    lost: float | None


def winners_curse(
    score: float, promised: float, confirmed: Estimate, *, higher_is_better: bool
) -> WinnersCurse:
    """Put a selected winner's score in the search beside its confirmed mean difference.

    Args:
        score: its objective in the search, on validation data.
        promised: its paired difference there, of the same metric as ``confirmed``.
        confirmed: the paired differences over fresh seeds.
        higher_is_better: the metric's direction.
    """
    lost = None
    if confirmed.mean is not None:
        lost = (promised - confirmed.mean) * (1 if higher_is_better else -1)
    return WinnersCurse(score, promised, confirmed.mean, confirmed.t_interval, lost)
