"""A confirmation's tables for the terminal."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.confirm.model import ConfirmedTrial, ConfirmReport, MetricComparison
from study.campaigns.confirm_plan import DECIDING
from study.statistics.estimate import ALPHA

CANNOT_REJECT = "cannot reject"
"""Said of a Wilcoxon test that no differences could have made significant."""


# Tables


COMPARISONS = (
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
    for line in legend(report):
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
            signed(row.mean_difference),
            plain_number(row.std),
            interval_text(row.t_interval),
            interval_text(row.bca_interval),
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
            p_text(row.p_t),
            p_text(row.p_t_holm),
            wilcoxon_text(row, " †"),
            effect_text(row.cohens_d),
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
    for field, label in COMPARISONS:
        row: MetricComparison = getattr(trial, field)[DECIDING]
        table.add_row(
            label.format(trial=_NARROW),
            str(row.n),
            signed(row.mean_difference),
            interval_text(row.t_interval),
            p_text(row.p_t_holm),
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
            plain_number(row.score),
            signed(row.promised),
            signed(row.confirmed),
            interval_text(row.interval),
            signed(row.lost),
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    return table


def legend(report: ConfirmReport) -> Iterator[str]:
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


def signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def plain_number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def effect_text(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def interval_text(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:+.4f}…{bounds[1]:+.4f}"


def p_text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def wilcoxon_text(row: MetricComparison, mark: str = f", {CANNOT_REJECT}") -> str:
    if row.p_wilcoxon is None:
        return "–"
    return p_text(row.p_wilcoxon) + ("" if row.wilcoxon_can_reject else mark)
