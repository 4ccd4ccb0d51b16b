"""One row a trial: the table that exports, reports and charts share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.reading import StudyView
from study.records.planned_run import baseline_key
from study.records.summary import TrialSummary
from study.records.values import by_objective, final_metrics
from trainables.frames import as_html
from trainables.metrics import STATISTICS

Cell = str | float | int | bool | None

_DTYPES: dict[type, str] = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
"""pandas' types that may have gaps; each is Parquet's type of the same name."""


@dataclass(frozen=True)
class TrialsTable:
    """All trials and baselines of a study, a row each: the content of CSV and Parquet.

    ``columns``: name → type of its cells, any of which may be None.
    """

    columns: Mapping[str, type]
    rows: tuple[tuple[Cell, ...], ...]

    def to_frame(self) -> Any:
        """A pandas frame of columns that know their type and may have gaps."""
        import pandas

        frame = pandas.DataFrame(list(self.rows), columns=list(self.columns), dtype=object)
        return frame.astype({name: _DTYPES[kind] for name, kind in self.columns.items()})

    def _repr_html_(self) -> str:
        return as_html(f"{len(self.rows)} runs", self.to_frame())


def trials_table(view: StudyView) -> TrialsTable:
    """Every run that the ledger knows, unfinished ones included, in the order of the keys."""
    ended = {trial.trial_id: trial for trial in view.summary.trials}
    pinned = {baseline_key(b.seed, view.config.code_changes): b for b in view.summary.baseline}
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
        if trial is not None:
            row["never_injected"] = trial.never_injected
            pairs = zip(view.config.objective, by_objective(trial.paired_difference), strict=False)
            row |= {f"difference_{name}": value for name, value in pairs}
            row |= _raced(view, trial)
            if trial.final_val_accuracy_difference is not None:
                row["difference_final_val_accuracy"] = trial.final_val_accuracy_difference
        summarised = trial or pinned.get(record.key)
        if summarised is not None:
            row |= summarised.metrics
        elif record.role == "tuning" and record.finished:
            row |= final_metrics(record.history)
        row |= {path: _cell(value) for path, value in record.overrides.items()}
        found.append(row)
    columns = _columns(view, found)
    rows = tuple(
        tuple(_typed(row.get(name), kind) for name, kind in columns.items()) for row in found
    )
    return TrialsTable(columns, rows)


def _raced(view: StudyView, trial: TrialSummary) -> dict[str, Cell]:
    """What the race shows of a trial; nothing for one that it did not select."""
    if trial.place is None:
        return {}
    means = zip(view.config.objective, by_objective(trial.mean_difference), strict=False)
    return {
        "race_place": trial.place,
        "race_seeds": trial.n,
        **{f"race_difference_{name}": value for name, value in means},
    }


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
    "race_place": int,
    "race_seeds": int,
    "seconds": float,
}


def _columns(view: StudyView, rows: Sequence[Mapping[str, Cell]]) -> dict[str, type]:
    """The same columns whatever has happened so far; then the settings that trials change."""
    task = view.config.train.task
    of = {"accuracy"} if task.name is None else set(task.metrics)
    compared = [*view.config.objective, *(["final_val_accuracy"] if "accuracy" in of else [])]
    differences = [f"difference_{name}" for name in compared]
    differences += [f"race_difference_{name}" for name in view.config.objective]
    known = view.config.train.metrics
    objectives = [name for name, metric in known.items() if metric.of is not None]
    statistics = [name for name in STATISTICS if "accuracy" not in name or "accuracy" in of]
    columns = _FIXED | dict.fromkeys([*differences, *objectives, *statistics], float)
    for path in sorted({name for row in rows for name in row} - set(columns)):
        columns[path] = _common({type(row[path]) for row in rows if row.get(path) is not None})
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
