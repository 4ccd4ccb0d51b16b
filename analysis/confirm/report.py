"""Is the gain real? A confirmation's comparisons as a table, in words, and as files.

Five comparisons of each configuration, over the fresh seeds: with the baseline, and of each of its
controls, the placebo and the clock, with the baseline and with the configuration. The verdict rests
on the first, in the metric that decides; what is said of timing on those with the controls.
"""

import statistics as stats
from collections.abc import Sequence
from typing import Any

from analysis.confirm.model import (
    BaselineFigures,
    ConfirmedTrial,
    ConfirmReport,
    ControlDraws,
    MetricComparison,
    PairingFigures,
    SearchScore,
    SeedsNeeded,
)
from analysis.confirm.words import answer_sentences, footnotes, missing_runs_text, timing_claim
from study.campaigns.confirm_register import standing
from study.campaigns.confirmation import Confirmation, by_verdict
from study.campaigns.contrast import contrast_of, timing_shown
from study.campaigns.verdicts import Judgement
from study.records.planned_run import Role
from study.records.values import by_objective
from study.statistics.answers import collapse_bound, worst_seed
from study.statistics.comparison import Comparison, WinnersCurse, winners_curse
from study.statistics.estimate import ALPHA, Interval, estimate

_COMPARED: dict[str, tuple[Role, Role]] = {
    "against_baseline": ("confirm", "baseline"),
    "placebo_effect": ("placebo", "baseline"),
    "against_placebo": ("confirm", "placebo"),
    "clock_effect": ("clock", "baseline"),
    "against_clock": ("confirm", "clock"),
}
"""A field of ``ConfirmedTrial`` → what is compared there, and with what."""


def confirm_report(confirmation: Confirmation) -> ConfirmReport:
    metrics, decide_by = confirmation.metrics, confirmation.decide_by
    families = {
        field: {metric: confirmation.compared(metric, *roles) for metric in metrics}
        for field, roles in _COMPARED.items()
    }
    used = confirmation.used_seeds()
    ranks = {trial: rank for rank, trial in enumerate(confirmation.promised, start=1)}

    judged = {field: confirmation.judged(*roles) for field, roles in _COMPARED.items()}

    def confirmed(trial: str) -> ConfirmedTrial:
        ways = {field: _of(trial, family) for field, family in families.items()}
        said = {field: found[trial] for field, found in judged.items() if trial in found}
        search, promised = _search_score(confirmation, trial, families["against_baseline"])
        return ConfirmedTrial(
            trial=trial,
            rank=ranks[trial],
            overrides=dict(confirmation.search.trials[trial].overrides),
            own_clock=confirmation.own_clock(trial),
            **_answer(confirmation, trial, said["against_baseline"]),
            pairing_gain=_pairing(confirmation, trial),
            **{field: _rows(confirmation, way, said.get(field)) for field, way in ways.items()},
            placebo=_draws(confirmation, "placebo", trial),
            clock=_draws(confirmation, "clock", trial),
            search=search,
            sentences=tuple(answer_sentences(trial, confirmation, said, search, promised)),
        )

    config = confirmation.config
    place, in_register = standing(confirmation)
    return ConfirmReport(
        study=confirmation.study.name,
        decide_by=decide_by,
        deciding=decide_by,
        margin=confirmation.margin.value,
        pairing_gain=_pairing(confirmation, next(iter(by_verdict(confirmation)))),
        planned=config.planned_seeds,
        extendable=config.extendable,
        judged=config.judged,
        alpha=ALPHA,
        seeds=used,
        looks=config.looks,
        finished=confirmation.finished,
        baseline={metric: _baseline(confirmation, metric, used) for metric in metrics},
        trials=tuple(confirmed(trial) for trial in confirmation.config.trials),
        missing=tuple(missing_runs_text(confirmation)),
        notes=(in_register, *footnotes(confirmation)),
        registered=place,
    )


def _draws(confirmation: Confirmation, role: Role, trial: str) -> ControlDraws | None:
    contrast = contrast_of(confirmation, role, trial)
    if contrast is None:
        return None
    claim = timing_claim(trial) if timing_shown(confirmation, trial) else None
    return ControlDraws(**contrast.model_dump(), sentence=claim)


_Family = dict[str, dict[str, Comparison]]
"""Metric → trial → comparison."""


def _of(trial: str, family: _Family) -> dict[str, Comparison]:
    return {metric: trials[trial] for metric, trials in family.items() if trial in trials}


def _answer(confirmation: Confirmation, trial: str, said: Judgement) -> dict[str, Any]:
    """The fields of ``ConfirmedTrial`` that say how it stands beside its baseline."""
    evidence, ruling = confirmation.evidence(trial), said.ruling
    found = estimate(evidence.sample.complete, resamples=0)
    higher = confirmation.deciding.mode == "max"
    worst = worst_seed(evidence, higher)
    by_seed = dict(zip(evidence.sample.seeds, evidence.sample.differences, strict=True))
    more = None if ruling is None else ruling.more_seeds
    return {
        "verdict": said.word,
        "reason": said.reason,
        "n": found.n,
        "mean_difference": found.mean,
        "interval": _bounds(found.t_interval),
        "median": stats.median(evidence.sample.complete) if found.n else None,
        "worst": None if worst is None else by_seed[worst],
        "worst_seed": worst,
        "collapsed": tuple(sorted(evidence.collapsed)),
        "baseline_collapsed": tuple(sorted(evidence.baseline_collapsed)),
        "collapse_bound": collapse_bound(evidence),
        "seeds_without_noise": tuple(sorted(evidence.without_noise or ())),
        "more_seeds": more
        and SeedsNeeded(fewest=more.fewest, most=more.most, sentence=more.sentence()),
    }


def _pairing(confirmation: Confirmation, trial: str) -> PairingFigures:
    found = confirmation.pairing_gain(trial)
    return PairingFigures(
        trial=trial,
        gain=found.gain,
        interval=_bounds(found.interval),
        n=found.seeds,
        sentence=found.sentence(),
    )


def _rows(
    confirmation: Confirmation, comparisons: dict[str, Comparison], said: Judgement | None
) -> dict[str, MetricComparison]:
    return {
        metric: _row(
            confirmation, metric, found, said if metric == confirmation.decide_by else None
        )
        for metric, found in comparisons.items()
    }


def _row(
    confirmation: Confirmation, metric: str, comparison: Comparison, said: Judgement | None
) -> MetricComparison:
    earlier = confirmation.config.judged == "as_before"
    estimate, sample = comparison.estimate, comparison.sample
    by_seed = zip(sample.seeds, sample.differences, strict=True)
    return MetricComparison(
        metric=metric,
        better="higher" if confirmation.study.train.metrics[metric].mode == "max" else "lower",
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
        level=said.level if said else comparison.level,
        verdict=said.word if said else None,
        seeds_needed=comparison.seeds_needed if earlier else None,
        more_seeds=comparison.more_seeds if earlier else None,
        decided_at=said.decided_at if said else None,
        differences={str(seed): value for seed, value in by_seed},
        sentence=said.sentence if said else None,
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
        higher = confirmation.study.train.metrics[metric].mode == "max"
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
