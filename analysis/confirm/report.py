"""Is the gain real? A confirmation's comparisons as a table, in words, and as files.

Five comparisons of each configuration, over the fresh seeds: with the baseline, and of each of its
controls, the placebo and the clock, with the baseline and with the configuration. The verdict rests
on the first, in the metric that decides; what is said of timing on those with the controls.
"""

import statistics as stats
from collections.abc import Sequence

from analysis.confirm.model import (
    BaselineFigures,
    ConfirmedTrial,
    ConfirmReport,
    MetricComparison,
    SearchScore,
)
from analysis.confirm.words import answer_sentences, footnotes, missing_runs_text
from study.campaigns.confirmation import Confirmation
from study.records.planned_run import Role
from study.records.values import by_objective
from study.statistics.comparison import Comparison, WinnersCurse, winners_curse
from study.statistics.estimate import ALPHA, Interval
from trainables.metrics import METRICS

_COMPARED: dict[str, tuple[Role, Role]] = {
    "against_baseline": ("confirm", "baseline"),
    "placebo": ("placebo", "baseline"),
    "against_placebo": ("confirm", "placebo"),
    "clock": ("clock", "baseline"),
    "against_clock": ("confirm", "clock"),
}
"""A field of ``ConfirmedTrial`` → what is compared there, and with what."""


def confirm_report(confirmation: Confirmation) -> ConfirmReport:
    metrics, decide_by = confirmation.metrics, confirmation.decide_by
    families = {
        field: {metric: confirmation.compared(metric, *roles) for metric in metrics}
        for field, roles in _COMPARED.items()
    }
    fresh = confirmation.config.fresh_seeds
    used = [s for s in fresh if confirmation.record("baseline", "", s) is not None]
    ranks = {trial: rank for rank, trial in enumerate(confirmation.promised, start=1)}

    def confirmed(trial: str) -> ConfirmedTrial:
        ways = {field: _of(trial, family) for field, family in families.items()}
        search, promised = _search_score(confirmation, trial, families["against_baseline"])
        return ConfirmedTrial(
            trial=trial,
            rank=ranks[trial],
            overrides=dict(confirmation.search.trials[trial].overrides),
            own_clock=confirmation.own_clock(trial),
            **{field: _rows(way, decide_by) for field, way in ways.items()},
            search=search,
            sentences=tuple(answer_sentences(trial, confirmation, ways, search, promised)),
        )

    design = confirmation.config.design
    return ConfirmReport(
        study=confirmation.study.name,
        decide_by=decide_by,
        deciding=decide_by,
        margin=confirmation.margin.value,
        alpha=ALPHA,
        seeds=tuple(used),
        looks=design.looks if design else None,
        finished=confirmation.finished,
        baseline={metric: _baseline(confirmation, metric, used) for metric in metrics},
        trials=tuple(confirmed(trial) for trial in confirmation.config.trials),
        missing=tuple(missing_runs_text(confirmation)),
        notes=tuple(footnotes(confirmation)),
    )


_Family = dict[str, dict[str, Comparison]]
"""Metric → trial → comparison."""


def _of(trial: str, family: _Family) -> dict[str, Comparison]:
    return {metric: trials[trial] for metric, trials in family.items() if trial in trials}


def _rows(comparisons: dict[str, Comparison], decide_by: str) -> dict[str, MetricComparison]:
    return {
        metric: _row(metric, comparison, decides=metric == decide_by)
        for metric, comparison in comparisons.items()
    }


def _row(metric: str, comparison: Comparison, *, decides: bool) -> MetricComparison:
    estimate, sample = comparison.estimate, comparison.sample
    by_seed = zip(sample.seeds, sample.differences, strict=True)
    return MetricComparison(
        metric=metric,
        better="higher" if METRICS[metric].mode == "max" else "lower",
        n=estimate.n,
        mean_difference=estimate.mean,
        std=estimate.std,
        t_interval=_bounds(estimate.t_interval),
        bca_interval=_bounds(estimate.bootstrap_interval),
        p_t=estimate.p_t,
        p_t_holm=comparison.p_t_holm,
        p_wilcoxon=estimate.p_wilcoxon,
        p_wilcoxon_holm=comparison.p_wilcoxon_holm,
        wilcoxon_can_reject=estimate.wilcoxon_can_reject,
        cohens_d=estimate.effect_size,
        hedges_g=estimate.hedges_g,
        level=comparison.level,
        verdict=str(comparison.verdict) if decides else None,
        seeds_needed=comparison.seeds_needed,
        more_seeds=comparison.more_seeds,
        decided_at=comparison.decided_at,
        differences={str(seed): value for seed, value in by_seed},
        sentence=comparison.sentence() if decides else None,
    )


def _bounds(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _baseline(confirmation: Confirmation, metric: str, seeds: Sequence[int]) -> BaselineFigures:
    values = {seed: confirmation.value("baseline", "", seed, metric) for seed in seeds}
    known = [value for value in values.values() if value is not None]
    return BaselineFigures(
        n=len(known),
        mean=stats.fmean(known) if known else None,
        std=stats.stdev(known) if len(known) > 1 else None,
        values={str(seed): value for seed, value in values.items()},
    )


def _search_score(
    confirmation: Confirmation, trial: str, against_baseline: _Family
) -> tuple[SearchScore, WinnersCurse | None]:
    metric, promised = confirmation.study.objective[0], confirmation.promised[trial]
    score = by_objective(promised.value)[0]
    difference = by_objective(promised.paired_difference)[0]
    confirmed = against_baseline[metric][trial].estimate
    curse = None
    if score is not None and difference is not None:
        higher = METRICS[metric].mode == "max"
        curse = winners_curse(score, difference, confirmed, higher_is_better=higher)
    row = SearchScore(
        metric=metric,
        score=score,
        promised=difference,
        confirmed=confirmed.mean,
        interval=_bounds(confirmed.t_interval),
        lost=curse.lost if curse else None,
    )
    return row, curse
