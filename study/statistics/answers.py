"""The answer on a configuration: better, worse, equivalent or undecided, with the reason.

Only here is it known whether higher is better; differences and estimates keep their sign.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from study.statistics.collapse import collapse_test, rate_bound
from study.statistics.design import ConfirmationDesign
from study.statistics.estimate import RESAMPLES, Estimate, estimate, holm
from study.statistics.looks import Course, Evidence, follow
from study.statistics.seeds_range import SeedsRange, seeds_range
from trainables.errors import InputError

COLLAPSE_ALPHA = 0.05
"""One-sided error level of the family for collapsing more often than the baseline."""


class Answer(StrEnum):
    """What the seeds say about a configuration, in the words that are printed."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"


class Ground(StrEnum):
    """What an answer rests on, or why there is none."""

    DIFFERENCE = "the t test shows a difference"
    MARGIN = "the difference lies within the margin"
    NO_NOISE = "the noise never began"
    ALL_ZERO = "every difference is exactly 0"
    COLLAPSES = "it collapses more often than the baseline"
    COLLAPSED = "it collapsed where the baseline did not"
    LOST = "runs were lost"
    VETO = "the sign-flip test does not agree"
    SEEDS_ADDED = "seeds were added after the planned end; the error level is not kept"
    FUTILE = "not worth going on"
    UNFINISHED = "not all planned seeds are in"
    NOT_SHOWN = "neither a difference nor equivalence is shown"


_MORE_MAY_TELL = (Ground.VETO, Ground.FUTILE, Ground.UNFINISHED, Ground.NOT_SHOWN)


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer on one configuration within a family.

    Attributes:
        answer: the word.
        ground: what it rests on.
        evidence: all seeds that the configuration has.
        estimate: their differences by themselves; intervals of confidence 1 − ``alpha``.
        course: how the looks went, with levels and p-values.
        higher: whether the configuration's values are shown to be the higher ones; told of an
            equivalent one, too. None if no difference is shown.
        median, worst: of the differences; worst is the least gain, at ``worst_seed``.
        collapse_bound: 95 % upper bound of the configuration's rate of collapse; None without runs.
        collapse_p: one-sided, that it collapses more often than the baseline, within the planned
            seeds; Holm-adjusted.
        family: configurations in the family.
        more_seeds: how many would show a difference of the size seen; where more may tell.
        seeds_wanted: seeds that it is to have, in all, for the next look or as it is.
    """

    answer: Answer
    ground: Ground
    evidence: Evidence
    estimate: Estimate
    course: Course
    higher: bool | None
    median: float | None
    worst: float | None
    worst_seed: int | None
    collapse_bound: float | None
    collapse_p: float
    family: int
    margin: float
    higher_is_better: bool
    design: ConfirmationDesign
    more_seeds: SeedsRange | None
    seeds_wanted: int

    @property
    def finished(self) -> bool:
        """Whether no further seed is asked for."""
        return len(self.evidence.sample.seeds) >= self.seeds_wanted


def rule(
    family: Mapping[str, Evidence],
    design: ConfirmationDesign,
    *,
    margin: float,
    higher_is_better: bool,
    resamples: int = RESAMPLES,
) -> dict[str, Ruling]:
    """Answer for each configuration of a family, each with its reference, in one metric.

    ``margin``: differences up to it, in the metric's unit and either way, are not worth having. A
    pure function of the data: asked again after an interruption it repeats its answers.
    """
    reached = decisions(family, design, margin=margin, higher_is_better=higher_is_better)
    open_tests = max(1, sum(how.course.different is None for how in reached.values()))
    rulings = {}
    for name, evidence in family.items():
        how = reached[name]
        found = estimate(evidence.sample.complete, alpha=design.alpha, resamples=resamples)
        worst = worst_seed(evidence, higher_is_better)
        withheld = how.ground is Ground.SEEDS_ADDED
        more_seeds = None
        if how.ground in _MORE_MAY_TELL:
            more_seeds = seeds_range(found, design.share(open_tests), how.seeds_wanted)
        rulings[name] = Ruling(
            answer=how.answer,
            ground=how.ground,
            evidence=evidence,
            estimate=found,
            course=how.course,
            higher=None if withheld else how.course.different,
            median=statistics.median(evidence.sample.complete) if found.n else None,
            worst=None if worst is None else _by_seed(evidence)[worst],
            worst_seed=worst,
            collapse_bound=collapse_bound(evidence),
            collapse_p=how.collapse_p,
            family=len(family),
            margin=margin,
            higher_is_better=higher_is_better,
            design=design,
            more_seeds=more_seeds,
            seeds_wanted=how.seeds_wanted,
        )
    return rulings


@dataclass(frozen=True, slots=True)
class Decision:
    """A ruling without its figures; the fields are those of ``Ruling``."""

    answer: Answer
    ground: Ground
    course: Course
    collapse_p: float
    seeds_wanted: int


def decisions(
    family: Mapping[str, Evidence],
    design: ConfirmationDesign,
    *,
    margin: float,
    higher_is_better: bool,
) -> dict[str, Decision]:
    """What ``rule`` answers, without what is only shown beside: to know which seeds to train."""
    if not margin > 0:
        raise InputError(f"margin = {margin}: must be above 0")
    courses = follow(family, design, margin=margin, higher_is_better=higher_is_better)
    collapses = _collapse_p_values(family, design.planned)
    reached = {}
    for name, course in courses.items():
        p_value = collapses[name]
        answer, ground = _answer(family[name], course, design, p_value, higher_is_better)
        wanted = _seeds_wanted(course, design, ground)
        reached[name] = Decision(answer, ground, course, p_value, wanted)
    return reached


def _answer(
    evidence: Evidence,
    course: Course,
    design: ConfirmationDesign,
    collapse_p: float,
    higher_is_better: bool,
) -> tuple[Answer, Ground]:
    if course.equivalent:
        return Answer.EQUIVALENT, _why_equivalent(evidence)
    if course.different is not None:
        better = course.different == higher_is_better
        return (Answer.BETTER if better else Answer.WORSE), Ground.DIFFERENCE
    # Of the planned seeds alone, so that seeds added for others, or later, take nothing back.
    over = course.next_seeds is None
    if over and evidence.collapsed_alone and collapse_p <= COLLAPSE_ALPHA:
        return Answer.WORSE, Ground.COLLAPSES
    if len(evidence.sample.seeds) > design.planned and not design.extendable:
        return Answer.UNDECIDED, Ground.SEEDS_ADDED
    return Answer.UNDECIDED, _why_undecided(evidence, course)


def _why_undecided(evidence: Evidence, course: Course) -> Ground:
    reasons = {
        Ground.UNFINISHED: course.next_seeds is not None,
        Ground.COLLAPSED: bool(evidence.collapsed_alone),
        Ground.LOST: bool(evidence.lost),
        Ground.VETO: course.vetoed,
        Ground.FUTILE: course.futile,
    }
    return next((ground for ground, holds in reasons.items() if holds), Ground.NOT_SHOWN)


def _why_equivalent(evidence: Evidence) -> Ground:
    if not evidence.all_zero:
        return Ground.MARGIN
    began = evidence.without_noise is not None and evidence.with_noise
    return Ground.ALL_ZERO if began else Ground.NO_NOISE


def _collapse_p_values(family: Mapping[str, Evidence], planned: int) -> dict[str, float]:
    """Of the planned seeds alone: the test is made for one look."""
    p_values = []
    for evidence in family.values():
        seen = evidence.first(planned)
        other = seen.baseline_collapsed - seen.collapsed
        p_values.append(collapse_test(len(seen.collapsed_alone), len(other)))
    return dict(zip(family, holm(p_values), strict=True))


def collapse_bound(evidence: Evidence) -> float | None:
    """95 % upper bound of a configuration's rate of collapse; None without runs."""
    lost = {*evidence.lost, *evidence.without_baseline, *evidence.untrained}
    n = len(evidence.sample.seeds) - len(lost)
    return rate_bound(len(evidence.collapsed), n) if n else None


def _seeds_wanted(course: Course, design: ConfirmationDesign, ground: Ground) -> int:
    if course.next_seeds is not None:
        return course.next_seeds
    if ground is Ground.COLLAPSES:
        return min(course.seeds, design.planned)
    if course.decided or course.futile:
        return course.seeds
    return design.extended_to or design.planned


def _by_seed(evidence: Evidence) -> dict[int, float]:
    pairs = zip(evidence.sample.seeds, evidence.sample.differences, strict=True)
    return {seed: value for seed, value in pairs if value is not None}


def worst_seed(evidence: Evidence, higher_is_better: bool) -> int | None:
    """The seed of the least gain."""
    values = _by_seed(evidence)
    if not values:
        return None
    return (min if higher_is_better else max)(values, key=values.__getitem__)
