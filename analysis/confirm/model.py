"""A confirmation's answer as data: ``confirm.json`` holds one."""

from typing import Any

from study.records.values import ResultPart


class MetricComparison(ResultPart):
    """One metric of one comparison; differences keep their sign, whatever is better.

    Attributes:
        better: ``higher`` or ``lower``.
        n: seeds on which both runs are complete.
        mean_difference, std: of the paired differences.
        t_interval, bca_interval: 95 % confidence intervals of the mean difference.
        p_t, p_t_holm, p_wilcoxon, p_wilcoxon_holm: two-sided; Holm-corrected over the trials.
        wilcoxon_can_reject: whether so few seeds could have given a significant one at all.
        cohens_d, hedges_g: effect sizes of paired differences (d_z), the second without bias.
        level: what ``p_t`` was held against.
        verdict: in words; ``sentence`` gives its reasons. Both None but for the metric that
            decides: a word for each of ten metrics would often be a false one.
        seeds_needed, more_seeds: in all, and besides these, to show a difference of the size seen.
        decided_at: seeds at the look that decided, in a sequential design.
        differences: by seed; None where a run failed.
    """

    metric: str
    better: str
    n: int
    mean_difference: float | None
    std: float | None
    t_interval: tuple[float, float] | None
    bca_interval: tuple[float, float] | None
    p_t: float | None
    p_t_holm: float | None
    p_wilcoxon: float | None
    p_wilcoxon_holm: float | None
    wilcoxon_can_reject: bool
    cohens_d: float | None
    hedges_g: float | None
    level: float
    verdict: str | None
    seeds_needed: int | None
    more_seeds: int | None
    decided_at: int | None
    differences: dict[str, float | None]
    sentence: str | None


class SearchScore(ResultPart):
    """What the search promised beside what was confirmed: the winner's curse.

    Attributes:
        metric: the search's (first) objective.
        score: the trial's value in the search.
        promised: its paired difference there, on the search's seed.
        confirmed: its mean paired difference on the fresh seeds, in the same metric.
        interval: Student's 95 % interval of that.
        lost: how much of the promise, in the better direction, was not confirmed.
    """

    metric: str
    score: float | None
    promised: float | None
    confirmed: float | None
    interval: tuple[float, float] | None
    lost: float | None


class ConfirmedTrial(ResultPart):
    """A configuration, compared with its baseline and its controls.

    Attributes:
        rank: its place in the search, from 1.
        overrides: what it changes in the base configuration.
        against_baseline: configuration − baseline, by metric.
        placebo: placebo − baseline; empty if it can have no placebo.
        against_placebo: configuration − placebo; likewise.
        clock, against_clock: likewise; empty in confirmations begun before there were clocks, too.
        own_clock: seeds on which the configuration is its own clock, which was not trained again.
        sentences: the verdict, the controls', the timing's and the winner's curse, in words.
    """

    trial: str
    rank: int
    overrides: dict[str, Any]
    against_baseline: dict[str, MetricComparison]
    placebo: dict[str, MetricComparison]
    against_placebo: dict[str, MetricComparison]
    clock: dict[str, MetricComparison]
    against_clock: dict[str, MetricComparison]
    own_clock: tuple[int, ...]
    search: SearchScore
    sentences: tuple[str, ...]


class BaselineFigures(ResultPart):
    """A metric of the baseline over the fresh seeds."""

    n: int
    mean: float | None
    std: float | None
    values: dict[str, float | None]


class ConfirmReport(ResultPart):
    """``confirm.json``.

    Attributes:
        decide_by: the metric that the verdicts rest on; ``deciding``, its name in earlier versions.
        margin: the smallest difference worth having in it.
        alpha: error level of each family of comparisons.
        seeds: the fresh seeds used so far.
        looks: numbers of seeds at which a sequential design looks; None: all seeds at once.
        finished: whether nothing is left to train.
        baseline: by metric.
        trials: in the order in which they were chosen.
        missing: what an unfinished confirmation lacks, in sentences.
        notes: what the reader has to know.
    """

    study: str
    decide_by: str
    deciding: str
    margin: float
    alpha: float
    seeds: tuple[int, ...]
    looks: tuple[int, ...] | None
    finished: bool
    baseline: dict[str, BaselineFigures]
    trials: tuple[ConfirmedTrial, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
