"""Verdicts: is a configuration better than what it is compared with, among several?

Only here is it known whether higher is better; differences and estimates keep their sign.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from study.statistics.estimate import (
    ALPHA,
    MAX_SEEDS,
    POWER,
    RESAMPLES,
    Estimate,
    Interval,
    estimate,
    holm,
    power,
    required_seeds,
)
from study.statistics.paired import Paired
from study.statistics.sequential import SequentialDesign, decide, or_one

EFFECT_SOUGHT = 1.0
"""The difference, in standard deviations of the paired differences, that "no difference shown"
promises to have been found with probability ``POWER``. A fixed effect and not the one seen: the
power for the effect seen says the same as the p-value (Hoenig and Heisey 2001)."""


class Verdict(StrEnum):
    """What the seeds say about a configuration, in the words that are printed."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"
    TOO_FEW = "too few seeds to tell"


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

    ``alpha`` is the two-sided error level of the family; a design brings its own. The samples are
    differences from the baseline, or from a control.
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
    adjusted = holm([or_one(p) for p in p_values.values()])
    pairs = zip(p_values.items(), adjusted, strict=True)
    return {name: None if p is None else corrected for (name, p), corrected in pairs}


def _fixed(
    estimates: Mapping[str, Estimate], p_t: Mapping[str, float | None], alpha: float
) -> dict[str, _Ruling]:
    """Holm's procedure once, on all the seeds."""
    order = sorted(estimates, key=lambda name: or_one(estimates[name].p_t))
    rejected = [name for name in order if or_one(p_t[name]) <= alpha]
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
        score: the winner's objective in the search, ``promised`` its paired difference there.
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

    ``score`` is on validation data; ``promised`` is of the same metric as ``confirmed``.
    """
    lost = None
    if confirmed.mean is not None:
        lost = (promised - confirmed.mean) * (1 if higher_is_better else -1)
    return WinnersCurse(score, promised, confirmed.mean, confirmed.t_interval, lost)
