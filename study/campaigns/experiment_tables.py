"""The result of a grid as tables: CSV, Markdown, terminal."""

import csv
import io
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.campaigns.experiment_grid import plain
from study.campaigns.experiment_result import (
    DIFFERENCES,
    FIGURES,
    ExperimentResult,
    Spread,
    TableRow,
)
from study.records.planned_run import BASELINE

_SHOWN = ("train_accuracy", "val_accuracy", "train_loss", "val_loss", "gap", "difference")
_HEADINGS = {
    "train_accuracy": "train acc.",
    "val_accuracy": "val. acc.",
    "train_loss": "train loss",
    "val_loss": "val. loss",
    "gap": "gap",
    "difference": "− baseline",
}


# --- drawing ---------------------------------------------------------------------------------


def to_csv(result: ExperimentResult) -> str:
    """The table with a line a row and a column a figure, every digit kept."""
    spreads = [*FIGURES, *DIFFERENCES]
    head = ["classifier", "optimizer", "momentum", "lr", "subset", "noise"]
    head += ["complete", "failed", "unfinished"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [*head, *(f"{name}_{part}" for name in spreads for part in ("mean", "sd", "n"))]
    )
    for row in result.table:
        values = [getattr(row, name) for name in head]
        for name in spreads:
            found = row.spreads[name]
            values += [found.mean, found.sd, found.n]
        writer.writerow(["" if value is None else value for value in values])
    return out.getvalue()


def to_markdown(result: ExperimentResult) -> str:
    """The table for people to read and pass on, with what failed below it."""
    heading, rows = _cells(result, " ± ")
    left = len(heading) - len(_SHOWN) - 1
    lines = [
        f"# {result.experiment}",
        "",
        result.asked,
        "",
        *_legend(result),
        "",
        _line(heading),
        _line(["---"] * left + ["---:"] * (len(heading) - left)),
        *(_line(row) for row in rows),
    ]
    if result.failed:
        lines += ["", "## Failed runs", ""]
        lines += [f"- {run.key}: {run.reason}" for run in result.failed]
    lines += ["", cost_line(result)]
    if result.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in result.notes)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _legend(result: ExperimentResult) -> list[str]:
    text = (
        "Figures of the last epoch, losses in nats. gap: training − validation accuracy; "
        "− baseline: validation accuracy beside the same training without noise."
    )
    if any(row.complete > 1 for row in result.table):
        text += " Means over n seeds ± standard deviation; differences are paired by seed."
    return [text]


def cost_line(result: ExperimentResult) -> str:
    """What the experiment cost, in a sentence."""
    cost = result.cost
    share = "" if cost.trained_share is None else f" ({cost.trained_share:.0%})"
    return (
        f"Epochs: {cost.epochs_reported} reported, {cost.epochs_trained} trained{share}; "
        "the rest is shared with the baselines."
    )


def _cells(result: ExperimentResult, between: str) -> tuple[list[str], list[list[str]]]:
    """Headings and rows as text; ``between`` stands between a mean and its deviation."""
    columns: dict[str, Callable[[TableRow], str]] = {
        "model": lambda row: row.classifier,
        "optimizer": _optimizer,
        "lr": lambda row: plain(row.lr),
        "subset": lambda row: plain(row.subset),
        "noise": lambda row: row.noise,
        "n": _count,
    }
    if len({row.subset for row in result.table}) < 2:
        del columns["subset"]
    heading = [*columns, *(_HEADINGS[name] for name in _SHOWN)]
    rows = [
        [
            *(column(row) for column in columns.values()),
            *(_figure(row.spreads[name], between, name) for name in _SHOWN),
        ]
        for row in result.table
    ]
    return heading, rows


def _optimizer(row: TableRow) -> str:
    return f"{row.optimizer} {plain(row.momentum)}" if row.momentum else row.optimizer


def _count(row: TableRow) -> str:
    parts = [str(row.complete)] if row.complete else []
    parts += [f"{row.failed} failed"] if row.failed else []
    parts += [f"{row.unfinished} to do"] if row.unfinished else []
    return ", ".join(parts)


def _figure(found: Spread, between: str, name: str) -> str:
    if found.mean is None:
        return "–"
    text = f"{found.mean:+.4f}" if name in DIFFERENCES else f"{found.mean:.4f}"
    return text if found.sd is None else f"{text}{between}{found.sd:.4f}"


_TERMINAL_HEADINGS = {"− baseline": "− base", "optimizer": "opt."}


def result_table(result: ExperimentResult) -> Table:
    """The table for the terminal, 80 columns wide for common names; baselines are bold."""
    heading, rows = _cells(result, "\n±")
    table = Table(title=result.experiment, box=None, padding=(0, 1, 0, 0))
    for index, name in enumerate(heading):
        figure = index >= len(heading) - len(_SHOWN)
        table.add_column(
            _TERMINAL_HEADINGS.get(name, name).replace(" ", "\n"),
            justify="right" if figure else "left",
            no_wrap=figure,
            # What gives way breaks between words: "SGD 0.9", "1 failed". A user's own model may
            # have a name that must break in its middle.
            min_width=(
                None if figure else min(12, max(_longest_word(cells[index]) for cells in rows))
            ),
            overflow="fold",
        )
    for row, cells in zip(result.table, rows, strict=True):
        ahead = row.differences["difference"].mean or 0.0
        style = "bold" if row.noise == BASELINE else "green" if ahead > 0 else ""
        shown = [escape(cell.replace("±0.", "±.")) for cell in cells]
        table.add_row(*shown, style=style if row.complete else "dim")
    return table


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def print_experiment(console: Console, result: ExperimentResult) -> None:
    """Print the table, what failed, and what it cost."""
    console.print(result_table(result))
    for line in _legend(result):
        console.print(line, style="dim", highlight=False)
    if result.failed:
        console.print(f"[bold red]{len(result.failed)} runs failed:[/]")
        for run in result.failed:
            console.print(f"  {escape(f'{run.key}: {run.reason}')}", soft_wrap=True)
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(cost_line(result), highlight=False)
