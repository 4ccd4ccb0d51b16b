"""A confirmation's tables for the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.confirm.columns import (
    CANNOT_REJECT,
    DIFFERENCES,
    EACH_WAY,
    SEARCH,
    TESTS,
    WAYS,
    Column,
    cells,
    headings,
    legend,
)
from analysis.confirm.model import ConfirmedTrial, ConfirmReport
from study.statistics.estimate import ALPHA

_SHORT = {
    "final_test_accuracy": "final test acc.",
    "tail_val_accuracy": "tail val acc.",
    "best_val_accuracy": "best val acc.",
    "final_val_accuracy": "final val acc.",
    "generalization_gap": "general. gap",
}


def print_confirm(console: Console, report: ConfirmReport) -> None:
    """Print the verdicts, then the figures behind them."""
    for trial in report.trials:
        console.print(f"[bold]{trial.trial}[/] (rank {trial.rank} in the search)", highlight=False)
        for sentence in trial.sentences:
            console.print(f"  {escape(sentence)}", highlight=False, soft_wrap=True)
    for trial in report.trials:
        console.print(_by_metric(trial, report.decide_by, "differences", DIFFERENCES))
        tests = _by_metric(trial, report.decide_by, "tests", TESTS)
        if not all(row.wilcoxon_can_reject for row in trial.against_baseline.values()):
            tests.caption = f"† {CANNOT_REJECT}: so few differences can give no p below {ALPHA:g}"
        console.print(tests)
        if trial.placebo_effect or trial.clock_effect:
            console.print(_each_way(trial, report.decide_by))
    console.print(_search(report))
    for line in legend(report):
        console.print(line, style="dim", highlight=False, markup=False)
    for line in (*report.missing, *report.notes):
        console.print(f"[yellow]note:[/] {escape(line)}", soft_wrap=True, highlight=False)


def _by_metric(
    trial: ConfirmedTrial, decide_by: str, what: str, columns: Sequence[Column]
) -> Table:
    table = _table(f"{trial.trial} − baseline: {what}", "metric", columns)
    for metric, row in trial.against_baseline.items():
        name = _SHORT.get(metric, metric.replace("_", " "))
        table.add_row(*cells(name, columns, row), style="bold" if metric == decide_by else "")
    return table


def _each_way(trial: ConfirmedTrial, decide_by: str) -> Table:
    title = f"{trial.trial}: {decide_by.replace('_', ' ')}, each way"
    table = _table(title, "difference", EACH_WAY)
    # In 80 columns the words give way, not the figures.
    table.columns[-1].no_wrap = False
    for field, label in WAYS:
        rows = getattr(trial, field)
        if rows:
            # The title names the trial.
            table.add_row(*cells(label.format(trial="trial"), EACH_WAY, rows[decide_by]))
    return table


def _search(report: ConfirmReport) -> Table:
    """The winner's curse: the search's score beside the confirmed one."""
    metric = report.trials[0].search.metric.replace("_", " ")
    table = _table(f"promised by the search and confirmed: {metric}", "trial", SEARCH)
    for trial in report.trials:
        table.add_row(*cells(trial.trial, SEARCH, trial.search))
    return table


def _table(title: str, lead: str, columns: Sequence[Column]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(headings(lead, columns)):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    return table
