"""The result of an experiment: a table of groups and noises, computed from the ledger alone.

First the rows are computed, then they are written: as JSON and CSV with every digit, as Markdown
and on the terminal rounded. All figures are those of the last epoch; ``difference`` is that of the
validation accuracy to the pinned baseline of the same group and seed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from study.campaigns.experiment_grid import ExperimentConfig, Group, asked, grid_run, groups
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, TrialRecord
from study.records.planned_run import BASELINE
from study.records.summary import VALIDATION_IMAGES, CostSummary, cost_of, study_notes
from study.records.values import ResultPart
from study.statistics.paired import paired_differences
from study.units import EQUAL
from trainables.frames import as_html, frame
from trainables.metrics import EpochMetrics

if TYPE_CHECKING:
    import pandas as pd

FIGURES = ("train_accuracy", "val_accuracy", "train_loss", "val_loss", "gap", "best_val_accuracy")
"""The figures of a run; ``gap`` is training accuracy − validation accuracy."""

DIFFERENCES: Mapping[str, str] = {
    "difference": "val_accuracy",
    "best_difference": "best_val_accuracy",
}
"""Differences to the baseline, and the figure that each compares."""

_ROW = ("classifier", "optimizer", "momentum", "lr", "subset", "noise")
"""What tells the rows of the table apart."""


class RunRow(ResultPart):
    """One run. ``state`` is complete, failed or unfinished; differences need both runs."""

    key: str
    run_id: str | None
    classifier: str
    optimizer: str
    momentum: float | None
    lr: float
    subset: float
    noise: str
    seed: int
    state: str
    reason: str | None
    epochs: int
    epochs_trained: int
    first_injection_epoch: int | None
    figures: dict[str, float | None]
    differences: dict[str, float | None]

    @property
    def never_began(self) -> bool:
        """Whether it is complete, and had no epoch with the noise that it was to have."""
        noisy = self.noise != BASELINE
        return noisy and self.state == "complete" and self.first_injection_epoch is None


class Spread(ResultPart):
    """Mean and sample standard deviation over ``n`` seeds; None where there are too few."""

    mean: float | None
    sd: float | None
    n: int


class TableRow(ResultPart):
    """One group with one noise, over its seeds."""

    classifier: str
    optimizer: str
    momentum: float | None
    lr: float
    subset: float
    noise: str
    complete: int
    failed: int
    unfinished: int
    figures: dict[str, Spread]
    differences: dict[str, Spread]

    @property
    def spreads(self) -> dict[str, Spread]:
        return {**self.figures, **self.differences}


class FailedRun(ResultPart):
    key: str
    reason: str


class ExperimentResult(ResultPart):
    """``experiment.json``; ``validation_images``: None where they were not recorded, or differ."""

    experiment: str
    asked: str
    table: list[TableRow]
    runs: list[RunRow]
    failed: list[FailedRun]
    cost: CostSummary
    notes: list[str]
    validation_images: int | None = None

    @property
    def best(self) -> str | None:
        """The complete run with noise that is farthest ahead of its baseline."""
        ahead = {
            run.key: run.differences["difference"] for run in self.runs if run.noise != BASELINE
        }
        known = {key: value for key, value in ahead.items() if value is not None}
        return max(known, key=lambda key: known[key]) if known else None

    @property
    def smallest_difference(self) -> float | None:
        """The smallest of a run to its baseline that is not 0; None where there is none."""
        known = (run.differences["difference"] for run in self.runs)
        return min((abs(value) for value in known if value and abs(value) > EQUAL), default=None)

    def to_frame(self) -> "pd.DataFrame":
        """A row a group and noise: mean, standard deviation and n of each figure over its seeds."""
        return frame(
            [
                {
                    **row.model_dump(exclude={"figures", "differences"}),
                    **{
                        f"{name}.{part}": getattr(spread, part)
                        for name, spread in row.spreads.items()
                        for part in ("mean", "sd", "n")
                    },
                }
                for row in self.table
            ]
        )

    def _repr_html_(self) -> str:
        best = self.best or "no run with noise is ahead of its baseline"
        return as_html(f"{self.experiment}: best: {best}", self.to_frame(), self.notes)

    def runs_of(self, row: TableRow) -> list[RunRow]:
        """The runs that a row of the table sums up."""
        return [run for run in self.runs if all(getattr(run, n) == getattr(row, n) for n in _ROW)]

    def without_noise(self, row: TableRow) -> list[int]:
        """The seeds on which noise was wanted and never began: such runs equal their baselines."""
        return [run.seed for run in self.runs_of(row) if run.never_began]


def report(
    config: ExperimentConfig, state: LedgerState, run_ids: Mapping[str, str] | None = None
) -> ExperimentResult:
    """The result as far as the ledger holds it; ``run_ids`` are MLflow's by key, if known."""
    rows = [
        _run_row(group, noise, seed, state, run_ids or {})
        for noises in ((BASELINE,), config.distributions)
        for group, noise, seed in product(groups(config), noises, config.seeds)
    ]
    images = state.study.tags.get(VALIDATION_IMAGES) if state.study else None
    return ExperimentResult(
        experiment=config.name,
        asked=asked(config),
        table=_table(config, rows),
        runs=rows,
        failed=[FailedRun(key=r.key, reason=r.reason or "") for r in rows if r.state == "failed"],
        cost=cost_of(state.trials.values()),
        notes=study_notes(state),
        validation_images=int(images) if images else None,
    )


def figures_of(history: Sequence[EpochMetrics]) -> dict[str, float | None]:
    """The figures of a run after the epochs in ``history``; None where one is not finite."""
    if not history:
        return dict.fromkeys(FIGURES)
    last = history[-1]
    values = {
        "train_accuracy": last.train_accuracy,
        "val_accuracy": last.val_accuracy,
        "train_loss": last.train_loss,
        "val_loss": last.val_loss,
        "gap": last.train_accuracy - last.val_accuracy,
        "best_val_accuracy": max(row.val_accuracy for row in history),
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _run_row(
    group: Group, noise: str, seed: int, state: LedgerState, run_ids: Mapping[str, str]
) -> RunRow:
    key = grid_run(group, noise, seed).key
    record = state.trials.get(key)
    history = record.history if record else ()
    baseline = state.trials.get(grid_run(group, BASELINE, seed).key)
    ended = record.state if record else None
    return RunRow(
        key=key,
        run_id=run_ids.get(key),
        **asdict(group),
        noise=noise,
        seed=seed,
        state=ended or "unfinished",
        reason=(record.reason or None) if record else None,
        epochs=len(history),
        epochs_trained=len(history) - record.shared_epochs if record else 0,
        first_injection_epoch=record.first_injection_epoch if record else None,
        figures=figures_of(history),
        differences=_differences(record, baseline),
    )


def _differences(
    record: TrialRecord | None, baseline: TrialRecord | None
) -> dict[str, float | None]:
    """Run − baseline; a run without a whole baseline of the same seed has none."""
    both = [r for r in (record, baseline) if r is not None and r.state == "complete"]
    if len(both) < 2 or both[0].role == "baseline":
        return dict.fromkeys(DIFFERENCES)
    found = paired_differences(*(figures_of(r.history) for r in both))
    return {name: found.get(figure) for name, figure in DIFFERENCES.items()}


def _table(config: ExperimentConfig, runs: Sequence[RunRow]) -> list[TableRow]:
    return [
        _table_row(group, noise, [r for r in runs if r.noise == noise and _in(group, r)])
        for group in groups(config)
        for noise in (BASELINE, *config.distributions)
    ]


def _in(group: Group, run: RunRow) -> bool:
    return all(getattr(run, name) == value for name, value in asdict(group).items())


def _table_row(group: Group, noise: str, runs: Sequence[RunRow]) -> TableRow:
    states = [run.state for run in runs]
    complete = [run for run in runs if run.state == "complete"]
    return TableRow(
        **asdict(group),
        noise=noise,
        complete=len(complete),
        failed=states.count("failed"),
        unfinished=states.count("unfinished"),
        figures={name: spread([run.figures[name] for run in complete]) for name in FIGURES},
        differences={
            name: spread([run.differences[name] for run in complete]) for name in DIFFERENCES
        },
    )


def spread(values: Sequence[float | None]) -> Spread:
    known = [value for value in values if value is not None]
    return Spread(
        mean=fmean(known) if known else None,
        sd=stdev(known) if len(known) > 1 else None,
        n=len(known),
    )


def result_files(folder: StudyFolder) -> tuple[Path, Path, Path]:
    """Where the result is: for people, as a table, and with every run."""
    path = folder.path / "experiment"
    return path.with_suffix(".md"), path.with_suffix(".csv"), path.with_suffix(".json")
