"""Is the gain real? A confirmation's comparisons as a table, in words, and as files.

Three comparisons of each configuration, over the fresh seeds: with the baseline, of its placebo
with the baseline, and with its placebo. The verdict rests on the first, in test accuracy.
"""

import statistics as stats
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.confirm_plan import DECIDING, METRICS, ROLES, Confirmation, Role
from study.folder import write_json
from study.statistics import ALPHA, Comparison, Interval, Verdict, WinnersCurse, winners_curse
from study.summary import study_notes
from trainables.files import write_atomically
from trainables.metrics import OBJECTIVES

CANNOT_REJECT = "cannot reject"
"""Said of a Wilcoxon test that no differences could have made significant."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricComparison(_Row):
    """One metric of one comparison; differences keep their sign, whatever is better.

    Attributes:
        metric: its name.
        better: ``higher`` or ``lower``.
        n: seeds on which both runs are complete.
        mean_difference, std: of the paired differences.
        t_interval, bca_interval: 95 % confidence intervals of the mean difference.
        p_t, p_t_holm, p_wilcoxon, p_wilcoxon_holm: two-sided; Holm-corrected over the trials.
        wilcoxon_can_reject: whether so few seeds could have given a significant one at all.
        cohens_d, hedges_g: effect sizes of paired differences (d_z), the second without bias.
        level: what ``p_t`` was held against.
        verdict: in words; ``sentence`` gives its reasons.
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
    verdict: str
    seeds_needed: int | None
    more_seeds: int | None
    decided_at: int | None
    differences: dict[str, float | None]
    sentence: str


class SearchScore(_Row):
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


class ConfirmedTrial(_Row):
    """A configuration, compared three ways.

    Attributes:
        trial: its key.
        rank: its place in the search, from 1.
        overrides: what it changes in the base configuration.
        against_baseline: configuration − baseline, by metric.
        placebo: placebo − baseline; empty if it can have no placebo.
        against_placebo: configuration − placebo; likewise.
        search: what the search promised.
        sentences: the verdict, the placebo's and the winner's curse, in words.
    """

    trial: str
    rank: int
    overrides: dict[str, Any]
    against_baseline: dict[str, MetricComparison]
    placebo: dict[str, MetricComparison]
    against_placebo: dict[str, MetricComparison]
    search: SearchScore
    sentences: tuple[str, ...]


class BaselineFigures(_Row):
    """A metric of the baseline over the fresh seeds."""

    n: int
    mean: float | None
    std: float | None
    values: dict[str, float | None]


class ConfirmReport(_Row):
    """``confirm.json``.

    Attributes:
        study: the study's name.
        deciding: the metric that the verdicts rest on.
        alpha: error level of each family of comparisons.
        seeds: the fresh seeds used so far.
        looks: numbers of seeds at which a sequential design looks; None: all seeds at once.
        finished: whether nothing is left to train.
        baseline: its figures by metric.
        trials: the configurations, in the order in which they were chosen.
        missing: what an unfinished confirmation lacks, in sentences.
        notes: what the reader has to know.
    """

    study: str
    deciding: str
    alpha: float
    seeds: tuple[int, ...]
    looks: tuple[int, ...] | None
    finished: bool
    baseline: dict[str, BaselineFigures]
    trials: tuple[ConfirmedTrial, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def confirm_report(found: Confirmation) -> ConfirmReport:
    """Everything that a confirmation says so far."""
    against_baseline = _by_metric(found, "confirm", "baseline")
    placebo = _by_metric(found, "placebo", "baseline")
    against_placebo = _by_metric(found, "confirm", "placebo")
    used = [s for s in found.config.fresh_seeds if found.record("baseline", "", s) is not None]
    ranks = {trial: rank for rank, trial in enumerate(found.promised, start=1)}

    def confirmed(trial: str) -> ConfirmedTrial:
        three = [_of(trial, part) for part in (against_baseline, placebo, against_placebo)]
        search, promised = _search_score(found, trial, against_baseline)
        return ConfirmedTrial(
            trial=trial,
            rank=ranks[trial],
            overrides=dict(found.search.trials[trial].overrides),
            against_baseline=_rows(three[0]),
            placebo=_rows(three[1]),
            against_placebo=_rows(three[2]),
            search=search,
            sentences=tuple(_sentences(trial, found, three, search, promised)),
        )

    design = found.config.design
    return ConfirmReport(
        study=found.study.name,
        deciding=DECIDING,
        alpha=ALPHA,
        seeds=tuple(used),
        looks=design.looks if design else None,
        finished=found.finished,
        baseline={metric: _baseline(found, metric, used) for metric in METRICS},
        trials=tuple(confirmed(trial) for trial in found.config.trials),
        missing=tuple(_missing(found)),
        notes=tuple(_notes(found)),
    )


_Family = dict[str, dict[str, Comparison]]
"""Metric → trial → comparison."""


def _by_metric(found: Confirmation, of: Role, against: Role) -> _Family:
    return {metric: found.compared(metric, of, against) for metric in METRICS}


def _of(trial: str, family: _Family) -> dict[str, Comparison]:
    return {metric: trials[trial] for metric, trials in family.items() if trial in trials}


def _rows(comparisons: dict[str, Comparison]) -> dict[str, MetricComparison]:
    return {metric: _row(metric, comparison) for metric, comparison in comparisons.items()}


def _row(metric: str, comparison: Comparison) -> MetricComparison:
    found, sample = comparison.estimate, comparison.sample
    by_seed = zip(sample.seeds, sample.differences, strict=True)
    return MetricComparison(
        metric=metric,
        better="higher" if METRICS[metric] == "max" else "lower",
        n=found.n,
        mean_difference=found.mean,
        std=found.std,
        t_interval=_bounds(found.t_interval),
        bca_interval=_bounds(found.bootstrap_interval),
        p_t=found.p_t,
        p_t_holm=comparison.p_t_holm,
        p_wilcoxon=found.p_wilcoxon,
        p_wilcoxon_holm=comparison.p_wilcoxon_holm,
        wilcoxon_can_reject=found.wilcoxon_can_reject,
        cohens_d=found.effect_size,
        hedges_g=found.hedges_g,
        level=comparison.level,
        verdict=str(comparison.verdict),
        seeds_needed=comparison.seeds_needed,
        more_seeds=comparison.more_seeds,
        decided_at=comparison.decided_at,
        differences={str(seed): value for seed, value in by_seed},
        sentence=comparison.sentence(),
    )


def _bounds(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _baseline(found: Confirmation, metric: str, seeds: Sequence[int]) -> BaselineFigures:
    values = {seed: found.value("baseline", "", seed, metric) for seed in seeds}
    known = [value for value in values.values() if value is not None]
    return BaselineFigures(
        n=len(known),
        mean=stats.fmean(known) if known else None,
        std=stats.stdev(known) if len(known) > 1 else None,
        values={str(seed): value for seed, value in values.items()},
    )


def _search_score(
    found: Confirmation, trial: str, against_baseline: _Family
) -> tuple[SearchScore, WinnersCurse | None]:
    metric, promised = found.study.objective[0], found.promised[trial]
    score, difference = _first(promised.value), _first(promised.paired_difference)
    confirmed = against_baseline[metric][trial].estimate
    curse = None
    if score is not None and difference is not None:
        higher = OBJECTIVES[metric] == "max"
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


def _first(value: float | list[float] | None) -> float | None:
    return value[0] if isinstance(value, list) else value


# In words


def _sentences(
    trial: str,
    found: Confirmation,
    three: Sequence[dict[str, Comparison]],
    search: SearchScore,
    curse: WinnersCurse | None,
) -> Iterator[str]:
    against_baseline, placebo, against_placebo = three
    metric = DECIDING.replace("_", " ")
    yield f"{trial}, {metric} beside the baseline: {against_baseline[DECIDING].sentence()}."
    if found.has_no_placebo(trial):
        yield (
            f"{trial} can have no placebo: its noise fills the epochs after its warm-up. Whether "
            "its timing matters can't be told."
        )
    elif against_placebo and against_placebo[DECIDING].estimate.n:
        yield _placebo_sentence(
            trial, against_baseline[DECIDING], placebo[DECIDING], against_placebo[DECIDING]
        )
    if curse is not None:
        yield _curse_sentence(trial, search, curse)


def _placebo_sentence(
    trial: str, beside_baseline: Comparison, placebo: Comparison, beside_placebo: Comparison
) -> str:
    """Three ways: was it the noise, its timing, or neither?"""
    gained = beside_baseline.verdict is Verdict.BETTER
    if beside_placebo.verdict is Verdict.BETTER:
        meaning = "when its noise came mattered, not only that it came"
    elif beside_placebo.verdict is Verdict.WORSE:
        meaning = "the same noise at random epochs does better"
    elif gained and placebo.verdict is Verdict.BETTER:
        meaning = "the same noise at random epochs helps, too: its timing is not shown to matter"
    elif gained:
        meaning = "whether its timing matters, or just the noise, is not shown"
    else:
        meaning = "neither noise nor its timing is shown to help"
    return (
        f"{trial} beside its placebo, the same noise at random epochs: {meaning} "
        f"({beside_placebo.sentence()}; placebo beside the baseline: {placebo.sentence()})."
    )


def _curse_sentence(trial: str, search: SearchScore, curse: WinnersCurse) -> str:
    name = search.metric.replace("_", " ")
    text = (
        f"{trial} in the search: {name} {curse.score:.4f}, {curse.promised:+.4f} beside its "
        "baseline on one seed"
    )
    if curse.confirmed is None or curse.lost is None:
        return f"{text}; nothing is confirmed yet."
    text += f"; on fresh seeds {curse.confirmed:+.4f}"
    if curse.interval is not None:
        text += f" (95 % interval {curse.interval.low:+.4f} to {curse.interval.high:+.4f})"
    if curse.lost > 0:
        return f"{text}: {curse.lost:.4f} of what was promised is not confirmed (winner's curse)."
    return f"{text}: no less than was promised."


def _missing(found: Confirmation) -> Iterator[str]:
    if not found.finished:
        records = found.state.trials.values()
        ended = sum(record.finished for record in records)
        left = sum(len(found.missing(role)) for role in ROLES)
        yield (
            f"The confirmation is not finished: {ended} runs have ended, {left} can be trained "
            f"now. Go on with the same noise-study confirm {found.study.name}."
        )
    for record in found.failed():
        yield f"{record.key} failed: {record.reason}"


def _notes(found: Confirmation) -> Iterator[str]:
    yield from study_notes(found.state)
    if found.config.design is not None:
        yield (
            "The number of seeds was decided by the test accuracy beside the baseline (sequential "
            "design, alpha spending after Lan and DeMets 1983); the error level holds for that "
            "comparison, and only roughly for other metrics and for placebos."
        )


# Tables


_COMPARISONS = (
    ("against_baseline", "{trial} − baseline"),
    ("placebo", "placebo − baseline"),
    ("against_placebo", "{trial} − placebo"),
)

_NARROW = "trial"
"""What a table says for a configuration whose key stands in its title."""


def print_confirm(console: Console, report: ConfirmReport) -> None:
    """Print the verdicts, then the figures behind them."""
    for trial in report.trials:
        console.print(f"[bold]{trial.trial}[/] (rank {trial.rank} in the search)", highlight=False)
        for sentence in trial.sentences:
            console.print(f"  {escape(sentence)}", highlight=False, soft_wrap=True)
    for trial in report.trials:
        console.print(differences_table(trial))
        console.print(tests_table(trial))
        if trial.placebo:
            console.print(placebo_table(trial))
    console.print(search_table(report))
    for line in _legend(report):
        console.print(line, style="dim", highlight=False, markup=False)
    for line in (*report.missing, *report.notes):
        console.print(f"[yellow]note:[/] {escape(line)}", soft_wrap=True, highlight=False)


def differences_table(trial: ConfirmedTrial) -> Table:
    """Mean paired differences from the baseline, with their intervals."""
    title = f"{trial.trial} − baseline: differences"
    table = _table(title, "metric", "n", "mean", "sd", "95 % t", "95 % BCa")
    for row in trial.against_baseline.values():
        table.add_row(
            _metric(row),
            str(row.n),
            _signed(row.mean_difference),
            _plain(row.std),
            _interval(row.t_interval),
            _interval(row.bca_interval),
            style=_style(row),
        )
    return table


def tests_table(trial: ConfirmedTrial) -> Table:
    """What the tests say of them."""
    table = _table(
        f"{trial.trial} − baseline: tests", "metric", "p (t)", "Holm", "Wilcoxon", "d", "verdict"
    )
    if not all(row.wilcoxon_can_reject for row in trial.against_baseline.values()):
        table.caption = f"† {CANNOT_REJECT}: so few differences can give no p below {ALPHA:g}"
    for row in trial.against_baseline.values():
        table.add_row(
            _metric(row),
            _p(row.p_t),
            _p(row.p_t_holm),
            _wilcoxon(row, " †"),
            _effect(row.cohens_d),
            row.verdict,
            style=_style(row),
        )
    return table


def placebo_table(trial: ConfirmedTrial) -> Table:
    """The three comparisons in the deciding metric."""
    title = f"{trial.trial}: {DECIDING.replace('_', ' ')}, three ways"
    table = _table(title, "difference", "n", "mean", "95 % t", "Holm", "verdict")
    # In 80 columns the words give way, not the figures.
    table.columns[-1].no_wrap = False
    for field, label in _COMPARISONS:
        row: MetricComparison = getattr(trial, field)[DECIDING]
        table.add_row(
            label.format(trial=_NARROW),
            str(row.n),
            _signed(row.mean_difference),
            _interval(row.t_interval),
            _p(row.p_t_holm),
            row.verdict,
        )
    return table


def search_table(report: ConfirmReport) -> Table:
    """The winner's curse: the search's score beside the confirmed one."""
    metric = report.trials[0].search.metric.replace("_", " ")
    title = f"promised by the search and confirmed: {metric}"
    table = _table(title, "trial", "score", "promised", "confirmed", "95 % t", "lost")
    for trial in report.trials:
        row = trial.search
        table.add_row(
            trial.trial,
            _plain(row.score),
            _signed(row.promised),
            _signed(row.confirmed),
            _interval(row.interval),
            _signed(row.lost),
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    return table


def _legend(report: ConfirmReport) -> Iterator[str]:
    yield (
        f"The verdict rests on {report.deciding}: a paired t test, Holm-corrected over "
        f"{len(report.trials)} configurations, at {report.alpha:g}. Losses and the gap are better "
        "when lower."
    )
    yield (
        f"Wilcoxon: signed-rank test ({CANNOT_REJECT}: so few differences can give no p below the "
        "level). BCa intervals are too narrow for few seeds. d: mean / sd of the differences "
        "(Cohen's d_z). Promised and confirmed: differences from the baseline."
    )


_SHORT = {
    "best_val_accuracy": "best val acc.",
    "final_val_accuracy": "final val acc.",
    "generalization_gap": "general. gap",
}


def _style(row: MetricComparison) -> str:
    return "bold" if row.metric == DECIDING else ""


def _metric(row: MetricComparison) -> str:
    return _SHORT.get(row.metric, row.metric.replace("_", " "))


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _effect(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:+.4f}…{bounds[1]:+.4f}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _wilcoxon(row: MetricComparison, mark: str = f", {CANNOT_REJECT}") -> str:
    if row.p_wilcoxon is None:
        return "–"
    return _p(row.p_wilcoxon) + ("" if row.wilcoxon_can_reject else mark)


# Files


def write_confirm(report: ConfirmReport, folder: Path) -> tuple[Path, Path]:
    """Write ``confirm.json`` and ``confirm.md``; returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    values, text = folder / "confirm.json", folder / "confirm.md"
    write_json(values, report.model_dump(mode="json"))
    write_atomically(text, to_markdown(report).encode())
    return values, text


def to_markdown(report: ConfirmReport) -> str:
    """The whole report as Markdown."""
    how = (
        f"a sequential design with looks at {', '.join(map(str, report.looks))} seeds"
        if report.looks
        else "all seeds at once"
    )
    seeds = ", ".join(map(str, report.seeds)) or "none yet"
    lines = [f"# {report.study}: confirmed on fresh seeds", "", f"Seeds: {seeds} ({how}).", ""]
    for trial in report.trials:
        lines += [f"- {sentence}" for sentence in trial.sentences]
    lines += [f"- {line}" for line in (*report.missing, *report.notes)]
    for trial in report.trials:
        for field, label in _COMPARISONS:
            rows: dict[str, MetricComparison] = getattr(trial, field)
            if rows:
                lines += ["", f"## {label.format(trial=trial.trial)}", "", *_markdown_rows(rows)]
    lines += ["", "## What the search promised", "", *_markdown_search(report)]
    lines += ["", "## Baseline", "", *_markdown_baseline(report), "", *_legend(report)]
    return "\n".join(lines) + "\n"


def _markdown_rows(rows: dict[str, MetricComparison]) -> Iterator[str]:
    yield (
        "| metric | better | n | mean | sd | 95 % t | 95 % BCa | p (t) | Holm | Wilcoxon | "
        "Holm | d | g | verdict | more seeds needed |"
    )
    yield "|---" * 15 + "|"
    for row in rows.values():
        cells = [
            row.metric,
            row.better,
            str(row.n),
            _signed(row.mean_difference),
            _plain(row.std),
            _interval(row.t_interval),
            _interval(row.bca_interval),
            _p(row.p_t),
            _p(row.p_t_holm),
            _wilcoxon(row),
            _p(row.p_wilcoxon_holm),
            _effect(row.cohens_d),
            _effect(row.hedges_g),
            row.verdict,
            "–" if row.more_seeds is None else str(row.more_seeds),
        ]
        yield "| " + " | ".join(cells) + " |"


def _markdown_search(report: ConfirmReport) -> Iterator[str]:
    yield "| trial | metric | score | promised | confirmed | 95 % t | lost |"
    yield "|---" * 7 + "|"
    for trial in report.trials:
        row = trial.search
        cells = [
            trial.trial,
            row.metric,
            _plain(row.score),
            _signed(row.promised),
            _signed(row.confirmed),
            _interval(row.interval),
            _signed(row.lost),
        ]
        yield "| " + " | ".join(cells) + " |"


def _markdown_baseline(report: ConfirmReport) -> Iterator[str]:
    yield "| metric | n | mean | sd |"
    yield "|---" * 4 + "|"
    for metric, row in report.baseline.items():
        yield f"| {metric} | {row.n} | {_plain(row.mean)} | {_plain(row.std)} |"
