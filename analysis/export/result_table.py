"""The table of results for papers: Markdown and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.reading import StudyView


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
        columns = list(zip(*(_as_list(b.value) for b in pinned), strict=True))
        rows.append(
            ("baseline", str(len(pinned)), *map(_mean_sd, columns), *["–"] * len(names), "–")
        )
    for trial in view.complete[:shown]:
        paired = _as_list(trial.paired_difference) or [None] * len(names)
        begins = "never" if trial.never_injected else str(trial.first_injection_epoch)
        values = (_number(value) for value in _as_list(trial.value))
        rows.append((trial.trial_id, "1", *values, *map(_signed, paired), begins))
    train = view.config.train
    caption = (
        f"Study {view.name}: {train.model.classifier} on {train.data.dataset}, {train.epochs} "
        f"epochs, the best {min(shown, len(view.complete))} of {len(view.summary.trials)} trials, "
        "on validation data. Baseline: mean ± standard deviation over its seeds; differences are "
        "to the baseline of the same seed. The best of many trials is partly luck."
    )
    return ResultTable(caption, header, tuple(rows))


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _mean_sd(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.4f}"
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.4f} ± {variance**0.5:.4f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")


def to_markdown(table: ResultTable) -> str:
    """The table in Markdown."""
    lines = [table.header, tuple("---" for _ in table.header), *table.rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    text = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f"{text}\n\n{table.caption}\n"


_TEX = {
    "\\": r"\textbackslash{}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
}


def to_latex(table: ResultTable) -> str:
    """The table in LaTeX, with booktabs' rules."""

    def row(cells: Sequence[str]) -> str:
        return " & ".join(_tex(cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_tex(table.caption)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"    \toprule",
            f"    {row(table.header)}",
            r"    \midrule",
            *(f"    {row(cells)}" for cells in table.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
