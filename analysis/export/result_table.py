"""The table of results for papers: Markdown and LaTeX."""

import statistics as stats
from dataclasses import dataclass

from analysis.reading import StudyView
from study.formats import DASH, markdown_table, mean_sd, number, signed
from study.records.values import by_objective
from trainables.epochs import epoch_number


@dataclass(frozen=True)
class ResultTable:
    """The result as a paper shows it: text cells, ready for LaTeX and Markdown."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def result_table(view: StudyView, shown: int = 10) -> ResultTable:
    """The baseline over its seeds, then the best complete trials beside that of their seed."""
    names = view.config.objective
    header = ("run", "seeds", *names, *(f"− baseline, {name}" for name in names), "noise from")
    rows: list[tuple[str, ...]] = []
    pinned = [b for b in view.summary.baseline if b.value is not None]
    if pinned:
        columns = zip(*(by_objective(b.value) for b in pinned), strict=True)
        spreads = (mean_sd(stats.fmean(c), stats.stdev(c) if len(c) > 1 else None) for c in columns)
        rows.append(("baseline", str(len(pinned)), *spreads, *[DASH] * len(names), DASH))
    for trial in view.complete[:shown]:
        raced = trial.place is not None
        paired = by_objective(trial.shown_difference, len(names))
        first = trial.first_injection_epoch
        begins = "never" if trial.never_injected or first is None else str(epoch_number(first))
        values = map(number, by_objective(trial.value))
        seeds = str(trial.n) if raced else "1"
        rows.append((trial.trial_id, seeds, *values, *map(_signed, paired), begins))
    train = view.config.train
    raced = any(trial.place is not None for trial in view.complete)
    race = ", in the race the mean over the seeds after the last selection" if raced else ""
    caption = (
        f"Study {view.name}: {train.what}, {train.epochs} "
        f"epochs, the best {min(shown, len(view.complete))} of {len(view.summary.trials)} trials, "
        "on validation data. Baseline: mean ± standard deviation over its seeds; differences are "
        f"to the baseline of the same seed{race}. The best of many trials is partly luck."
    )
    return ResultTable(caption, header, tuple(rows))


def _signed(value: float | None) -> str:
    return signed(value).replace("-", "−")


def to_markdown(table: ResultTable) -> str:
    return f"{markdown_table(table.header, table.rows)}\n\n{table.caption}\n"


_TEX = {ord(sign): f"\\{sign}" for sign in "_%&#${}"} | {
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
    ord("−"): "$-$",
    ord("±"): r"$\pm$",
    ord("–"): "--",
}


def to_latex(table: ResultTable) -> str:
    """The table in LaTeX, with booktabs' rules."""
    import pandas

    header, *rows = [[cell.translate(_TEX) for cell in row] for row in (table.header, *table.rows)]
    text = (
        pandas.DataFrame(rows, columns=header)
        .style.hide(axis="index")
        .to_latex(
            caption=table.caption.translate(_TEX),
            column_format="l" + "r" * (len(header) - 1),
            hrules=True,
            position_float="centering",
        )
    )
    return f"% needs \\usepackage{{booktabs}}\n{text}"
