"""A confirmation's answer as data: ``confirm.json`` holds one."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from study.campaigns.confirm_register import RegisterStanding
from study.campaigns.contrast import Contrast
from study.records.values import ResultPart
from trainables.frames import as_html, frame

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ("trial", "rank", "verdict", "reason", "n", "mean_difference", "interval", "worst")
"""Of each trial, in a notebook's table."""


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
        seeds_needed, more_seeds: in all, and besides these, to show a difference of the size seen;
            only in confirmations begun by versions that gave one number.
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
    level: float | None
    verdict: str | None
    seeds_needed: int | None
    more_seeds: int | None
    decided_at: int | None
    differences: dict[str, float | None]
    sentence: str | None


class SeedsNeeded(ResultPart):
    """Seeds, in all, that would show a difference of the size seen: a range.

    Attributes:
        fewest, most: None: more than are ever counted.
    """

    fewest: int | None
    most: int | None
    sentence: str


class PairingFigures(ResultPart):
    """What pairing a trial with its baseline by seed was worth, in the metric that decides.

    Attributes:
        gain: how many times the seeds an unpaired comparison would need; None: it can't be said.
        interval: of 95 %.
        n: seeds that it rests on.
    """

    trial: str
    gain: float | None
    interval: tuple[float, float] | None
    n: int
    sentence: str


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


class ControlDraws(Contrast):
    """A trial's controls of one role, placebos or clocks, beside its own noise.

    Attributes:
        sentence: that its timing matters, said of a trial that beats both controls; None
            where it is not shown, or can't be.
    """

    sentence: str | None


class ConfirmedTrial(ResultPart):
    """A configuration, compared with its baseline and its controls.

    Attributes:
        rank: its place in the search, from 1.
        overrides: what it changes in the base configuration.
        verdict: ``better``, ``worse``, ``equivalent`` or ``undecided``; of confirmations begun by
            earlier versions in their words.
        reason: what it rests on, or why there is none.
        n, mean_difference, interval: of the metric that decides, beside the baseline; ``interval``
            of 95 %.
        median, worst, worst_seed: of the same differences; the least gain, and its seed.
        collapsed: seeds on which it diverged, or was above chance once and at chance in the end.
        baseline_collapsed: likewise the baseline.
        collapse_bound: upper bound of its rate of collapse, of 95 %.
        seeds_without_noise: seeds on which its noise never began.
        more_seeds: how many it would take; None where it is decided, or nothing can be said.
        against_baseline: configuration − baseline, by metric.
        placebo_effect: placebo − baseline; empty if it can have no placebo.
        against_placebo: configuration − placebo; likewise.
        clock_effect, against_clock: likewise; empty in confirmations begun before there were
            clocks, too.
        placebo, clock: what these controls have of its noise; None if it has none, or no noise.
        own_clock: seeds on which the configuration is its own clock, which was not trained again.
        sentences: the verdict, the controls', the timing's and the winner's curse, in words.
    """

    trial: str
    rank: int
    overrides: dict[str, Any]
    verdict: str
    reason: str
    n: int
    mean_difference: float | None
    interval: tuple[float, float] | None
    median: float | None
    worst: float | None
    worst_seed: int | None
    collapsed: tuple[int, ...]
    baseline_collapsed: tuple[int, ...]
    collapse_bound: float | None
    seeds_without_noise: tuple[int, ...]
    more_seeds: SeedsNeeded | None
    pairing_gain: PairingFigures
    against_baseline: dict[str, MetricComparison]
    placebo_effect: dict[str, MetricComparison]
    against_placebo: dict[str, MetricComparison]
    clock_effect: dict[str, MetricComparison]
    against_clock: dict[str, MetricComparison]
    placebo: ControlDraws | None
    clock: ControlDraws | None
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
        decide_by: the metric that the verdicts rest on; ``deciding``: its name in earlier versions.
        margin: the largest difference in it that is not worth having.
        pairing_gain: of the trial whose verdict is best.
        planned: seeds at the planned end; ``extendable``: whether more may be added.
        judged: ``by_answers``, or ``as_before``, as the earlier version did that began it.
        alpha: error level of each family of comparisons.
        seeds: the fresh seeds used so far.
        looks: numbers of seeds at which a sequential design looks; None: all seeds at once.
        finished: whether nothing is left to train.
        baseline: by metric.
        trials: in the order in which they were chosen.
        missing: what an unfinished confirmation lacks, in sentences.
        notes: what the reader has to know.
        registered: its place among all confirmations on its test images; None: not registered. In
            JSON it is ``register``, a name that pydantic allows no field.
    """

    study: str
    decide_by: str
    deciding: str
    margin: float
    pairing_gain: PairingFigures
    planned: int
    extendable: bool
    judged: str
    alpha: float
    seeds: tuple[int, ...]
    looks: tuple[int, ...] | None
    finished: bool
    baseline: dict[str, BaselineFigures]
    trials: tuple[ConfirmedTrial, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    registered: RegisterStanding | None = Field(serialization_alias="register")

    def to_frame(self) -> "pd.DataFrame":
        """A row a trial: its verdict and what it rests on; of ``trials`` all is there."""
        return frame([{name: getattr(trial, name) for name in _SHOWN} for trial in self.trials])

    def _repr_html_(self) -> str:
        said = [sentence for trial in self.trials for sentence in trial.sentences]
        title = f"{self.study}: {len(self.seeds)} fresh seeds, decided by {self.decide_by}"
        return as_html(title, self.to_frame(), [*said, *self.missing, *self.notes])
