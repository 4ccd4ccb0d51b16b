"""The result of a grid as tables: CSV, Markdown, terminal."""

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.campaigns.experiment_result import DIFFERENCES, FIGURES, ExperimentResult, TableRow
from study.formats import exact, markdown_table, mean_sd, seeds_named
from study.records.planned_run import BASELINE
from study.units import is_within_an_image

_SHOWN = {
    "train_accuracy": "train acc.",
    "val_accuracy": "val. acc.",
    "train_loss": "train loss",
    "val_loss": "val. loss",
    "gap": "gap",
    "difference": "− baseline",
}

_NAMED = 4
"""Rows that are named where noise never began; the others are counted."""


def to_csv(result: ExperimentResult) -> str:
    """The table with a line a row and a column a figure, every digit kept."""
    import pandas

    rows = [
        row.model_dump(exclude={"figures", "differences"})
        | {
            f"{name}_{part}": value
            for name in (*FIGURES, *DIFFERENCES)
            for part, value in row.spreads[name].model_dump().items()
        }
        for row in result.table
    ]
    # As objects: a column of whole numbers with a gap in it shall not become one of floats.
    frame = pandas.DataFrame(rows, dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def to_markdown(result: ExperimentResult) -> str:
    heading, rows = _cells(result, " ± ", whole=True)
    left = len(heading) - len(_SHOWN) - 1
    lines = [
        f"# {result.experiment}",
        "",
        result.asked,
        "",
        _legend(result),
        "",
        markdown_table(heading, rows, "l" * left + "r" * (len(heading) - left)),
    ]
    if result.failed:
        lines += ["", "## Failed runs", ""]
        lines += [f"- {run.key}: {run.reason}" for run in result.failed]
    lines += ["", cost_line(result)]
    if result.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in result.notes)]
    return "\n".join(lines) + "\n"


def _legend(result: ExperimentResult) -> str:
    text = (
        "Figures of the last epoch, losses in nats. gap: training − validation accuracy; "
        "− baseline: validation accuracy beside the same training without noise."
    )
    if any(row.complete > 1 for row in result.table):
        text += " Means over n seeds ± standard deviation; differences are paired by seed."
    return text + _idle_note(result) + _image_note(result)


def _idle_note(result: ExperimentResult) -> str:
    """Which runs had no noise, row by row; empty if all had some."""
    idle = [(row, seeds) for row in result.table if (seeds := result.without_noise(row))]
    if not idle:
        return ""
    named = [f"{_row_name(result, row)} on {seeds_named(seeds)}" for row, seeds in idle[:_NAMED]]
    if len(idle) > _NAMED:
        named.append(f"{len(idle) - _NAMED} more rows")
    count = sum(len(seeds) for _, seeds in idle)
    return (
        f" Idle: runs whose noise never began, which equal their baselines ({count} in all): "
        f"{'; '.join(named)}."
    )


def _row_name(result: ExperimentResult, row: TableRow) -> str:
    """A row's noise, and what else tells it apart from the others."""
    parts: tuple[Callable[[TableRow], str], ...] = (
        lambda each: each.classifier,
        _optimizer,
        lambda each: f"lr {exact(each.lr)}",
        lambda each: f"{exact(each.subset)} of the data",
    )
    varying = [part for part in parts if len({part(each) for each in result.table}) > 1]
    return " ".join((row.noise, *(part(row) for part in varying)))


def _image_note(result: ExperimentResult) -> str:
    """What an image is worth, where a difference between two runs is no larger than that."""
    images, smallest = result.validation_images, result.smallest_difference
    if not images or smallest is None or not is_within_an_image(smallest, images):
        return ""
    return f" One of the {images} validation images is worth {1 / images:.4f}."


def cost_line(result: ExperimentResult) -> str:
    cost = result.cost
    share = "" if cost.trained_share is None else f" ({cost.trained_share:.0%})"
    return (
        f"Epochs: {cost.epochs_reported} reported, {cost.epochs_trained} trained{share}; "
        "the rest is shared with the baselines."
    )


def _cells(
    result: ExperimentResult, between: str, *, whole: bool
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows as text; ``between`` stands between a mean and its deviation.

    ``whole``: whether there is room to say of each row how many runs were idle.
    """
    columns: dict[str, Callable[[TableRow], str]] = {
        "model": lambda row: row.classifier,
        "optimizer": _optimizer,
        "lr": lambda row: exact(row.lr),
        "subset": lambda row: exact(row.subset),
        "noise": lambda row: row.noise,
        "n": lambda row: _count(row, len(result.without_noise(row)) if whole else 0),
    }
    if len({row.subset for row in result.table}) < 2:
        del columns["subset"]
    heading = [*columns, *_SHOWN.values()]
    rows = [
        [
            *(column(row) for column in columns.values()),
            *(_figure(row, name, between) for name in _SHOWN),
        ]
        for row in result.table
    ]
    return heading, rows


def _figure(row: TableRow, name: str, between: str) -> str:
    found = row.spreads[name]
    return mean_sd(found.mean, found.sd, between, "+.4f" if name in DIFFERENCES else ".4f")


def _optimizer(row: TableRow) -> str:
    return f"{row.optimizer} {exact(row.momentum)}" if row.momentum else row.optimizer


def _count(row: TableRow, idle: int) -> str:
    parts = [str(row.complete)] if row.complete else []
    parts += [f"{idle} idle"] if idle else []
    parts += [f"{row.failed} failed"] if row.failed else []
    parts += [f"{row.unfinished} to do"] if row.unfinished else []
    return ", ".join(parts)


_TERMINAL_HEADINGS = {"− baseline": "− base", "optimizer": "opt."}


def result_table(result: ExperimentResult) -> Table:
    """The table for the terminal, 80 columns wide for common names; baselines are bold."""
    heading, rows = _cells(result, "\n±", whole=False)
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
    console.print(result_table(result))
    console.print(_legend(result), style="dim", highlight=False)
    if result.failed:
        console.print(f"[bold red]{len(result.failed)} runs failed:[/]")
        for run in result.failed:
            console.print(f"  {escape(f'{run.key}: {run.reason}')}", soft_wrap=True)
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(cost_line(result), highlight=False)
