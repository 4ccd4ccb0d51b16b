"""A study's results as files that other tools read: run configurations, tables of all trials.

A configuration is copied from the study's ledger, where the run itself was described, so that
``noise-train --config`` repeats that run bit for bit.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from analysis.reading import StudyView
from study.folder import write_json
from study.summary import TrialSummary, pareto_front
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.files import write_atomically
from trainables.metrics import OBJECTIVES, STATISTICS
from trainables.settings import parse_config, read_mapping

Form = Literal["json", "yaml"]
Cell = str | float | int | bool | None

FORMS: tuple[Form, ...] = ("json", "yaml")


@dataclass(frozen=True)
class TrialsTable:
    """All trials and baselines of a study, a row each: the content of CSV and Parquet.

    Attributes:
        columns: name → type of its cells; a cell may be None.
        rows: cells in the order of ``columns``.
    """

    columns: Mapping[str, type]
    rows: tuple[tuple[Cell, ...], ...]

    def column(self, name: str) -> list[Cell]:
        """The cells of one column."""
        index = list(self.columns).index(name)
        return [row[index] for row in self.rows]


def trials_table(view: StudyView) -> TrialsTable:
    """Every run that the ledger knows, unfinished ones included, in the order of the keys."""
    ended = {trial.trial_id: trial for trial in view.summary.trials}
    pinned = {f"baseline-seed{b.seed}": b for b in view.summary.baseline}
    records = sorted(view.state.trials.values(), key=lambda r: (r.role != "baseline", r.key))
    found: list[dict[str, Cell]] = []
    for record in records:
        row: dict[str, Cell] = {
            "trial": record.key,
            "role": record.role,
            "state": record.state or "unfinished",
            "reason": record.reason or None,
            "seed": record.seed,
            "epochs": len(record.history),
            "epochs_trained": record.epochs_trained,
            "forked_from": record.shared_epochs or None,
            "first_injection_epoch": record.first_injection_epoch,
            "noisy_epochs": sum(row.injected for row in record.history),
            "seconds": record.seconds,
        }
        trial = ended.get(record.key)
        row["never_injected"] = trial.never_injected if trial else None
        if trial is not None:
            paired = trial.paired_difference
            pairs = paired if isinstance(paired, list) else [paired]
            names = view.config.objective
            row |= {f"difference_{name}": value for name, value in zip(names, pairs, strict=False)}
            row["difference_final_val_accuracy"] = trial.final_val_accuracy_difference
        summarised = trial or pinned.get(record.key)
        if summarised is not None:
            row |= summarised.metrics
        row |= {path: _cell(value) for path, value in record.overrides.items()}
        found.append(row)
    columns = _columns(view, found)
    rows = tuple(
        tuple(_typed(row.get(name), kind) for name, kind in columns.items()) for row in found
    )
    return TrialsTable(columns, rows)


_FIXED: dict[str, type] = {
    "trial": str,
    "role": str,
    "state": str,
    "reason": str,
    "seed": int,
    "epochs": int,
    "epochs_trained": int,
    "forked_from": int,
    "first_injection_epoch": int,
    "noisy_epochs": int,
    "never_injected": bool,
    "seconds": float,
}


def _columns(view: StudyView, rows: Sequence[Mapping[str, Cell]]) -> dict[str, type]:
    """The same columns whatever has happened so far; then the settings that trials change."""
    differences = [f"difference_{name}" for name in view.config.objective]
    numbers = dict.fromkeys(
        [*differences, "difference_final_val_accuracy", *OBJECTIVES, *STATISTICS], float
    )
    columns: dict[str, type] = {**_FIXED, **numbers}
    for path in sorted({name for row in rows for name in row} - set(columns)):
        kinds = {type(row[path]) for row in rows if row.get(path) is not None}
        columns[path] = _common(kinds)
    return columns


def _common(kinds: set[type]) -> type:
    if len(kinds) == 1:
        return kinds.pop()
    return float if kinds <= {int, float} and kinds else str


def _typed(value: Cell, kind: type) -> Cell:
    return None if value is None else kind(value)


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return "+".join(value)
    return json.dumps(value, sort_keys=True)


def write_csv(table: TrialsTable, path: Path) -> None:
    """Write a table as CSV in UTF-8; a cell without a value is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(table.rows)


def write_parquet(table: TrialsTable, path: Path) -> None:
    """Write a table as Parquet, with its types."""
    import pyarrow
    import pyarrow.parquet

    types = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    columns = {
        name: pyarrow.array(table.column(name), types[kind]) for name, kind in table.columns.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def chosen_trials(view: StudyView, top: int, pareto: bool) -> list[TrialSummary]:
    """The trials whose configurations are wanted, from best to worst.

    Args:
        view: the study.
        top: so many of the best complete trials by the first objective.
        pareto: instead the Pareto front of a study with two objectives.

    Raises:
        InputError: if there is no complete trial, or no front in this study.
    """
    if top < 1:
        raise InputError(f"--top = {top}: at least 1")
    if pareto and not view.config.multi_objective:
        raise InputError(
            f"--pareto: study {view.name!r} has one objective, {view.config.objective[0]}; "
            "use --top"
        )
    if not view.complete:
        raise InputError(f"study {view.name!r}: no trial is complete yet, so there is none to take")
    if pareto:
        return pareto_front(view.config, view.complete)
    return list(view.complete[:top])


def export_configs(
    view: StudyView, trials: Sequence[TrialSummary], folder: Path, forms: Sequence[Form] = FORMS
) -> list[Path]:
    """Write the run configurations of trials, and load each again.

    Those of an earlier export are removed first: ranks change while a study goes on.

    Raises:
        InputError: if a file does not give back the configuration that it was written from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for form in FORMS:
        for old in folder.glob(f"[0-9][0-9]_trial-*.{form}"):
            old.unlink()
    paths = []
    for rank, trial in enumerate(trials, 1):
        config = view.train_config(trial.trial_id)
        for form in forms:
            path = folder / f"{rank:02d}_{trial.trial_id}.{form}"
            write_config(config, path)
            paths.append(path)
    return paths


def write_config(config: TrainConfig, path: Path) -> None:
    """Write a run's configuration as its ending says, and verify it by loading it again.

    Raises:
        InputError: if it does not come back equal.
    """
    values = config.model_dump(mode="json")
    if path.suffix in {".yaml", ".yml"}:
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_atomically(path, text.encode())
    else:
        write_json(path, values)
    if parse_config(TrainConfig, read_mapping(path), where=str(path)) != config:
        raise InputError(f"{path}: does not give back the configuration that it was written from")


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


def export_study(
    view: StudyView,
    folder: Path,
    *,
    top: int = 3,
    pareto: bool = False,
    forms: Sequence[Form] = FORMS,
) -> list[Path]:
    """Write everything into ``folder``: ``configs/``, ``trials.csv``, ``.parquet``, ``table.*``.

    A study without a complete trial gets its tables, but no configurations.

    Raises:
        InputError: as ``chosen_trials`` and ``write_config``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = trials_table(view)
    write_csv(table, folder / "trials.csv")
    write_parquet(table, folder / "trials.parquet")
    result = result_table(view)
    (folder / "table.md").write_text(to_markdown(result), encoding="utf-8")
    (folder / "table.tex").write_text(to_latex(result), encoding="utf-8")
    names = ("trials.csv", "trials.parquet", "table.md", "table.tex")
    paths = [folder / name for name in names]
    if not view.complete and not pareto:
        return paths
    return [
        *export_configs(view, chosen_trials(view, top, pareto), folder / "configs", forms),
        *paths,
    ]
