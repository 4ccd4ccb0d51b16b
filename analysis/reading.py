"""What the analysis reads: a study's ledger, or the folder of a single run. Nothing is written.

The ledger is read as it stands, so that a study that is running, was interrupted or lost some lines
is read by the same code as a finished one.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from study.campaigns.experiment_grid import ExperimentConfig, stored_experiment
from study.campaigns.experiment_result import ExperimentResult, report
from study.config import StudyConfig
from study.records.folder import StudyFolder, open_records, open_study
from study.records.ledger_view import LedgerState, TrialRecord, read_ledger
from study.records.own_code import present
from study.records.storage import Where
from study.records.summary import Summary, TrialSummary, ranked, summarise
from study.units import Unit, statistic_unit, unit_of
from trainables.config import TrainConfig
from trainables.documents import read_mapping
from trainables.epochs import epoch_number
from trainables.errors import InputError
from trainables.metrics import EpochMetrics, WhichWeights
from trainables.settings import parse_config

METRICS_FILE = "epoch_metrics.jsonl"
"""A single run's epochs, in its folder under ``checkpoints/metrics``."""


def weights_that_decide(config: StudyConfig) -> WhichWeights:
    """Whose figures a confirmation of the study decides by."""
    return config.train.metrics[config.decide_by].weights or "final"


@dataclass(frozen=True)
class StudyView:
    """A study as its files say it is, at one moment.

    ``left_out``: how many trials are not in ``state``, since another source was trained with.
    """

    folder: StudyFolder
    config: StudyConfig
    state: LedgerState
    left_out: int = 0

    @property
    def name(self) -> str:
        return self.config.name

    @cached_property
    def summary(self) -> Summary:
        return summarise(self.config, self.state)

    @cached_property
    def baselines(self) -> dict[int, TrialRecord]:
        """The baselines that have any epochs, by seed."""
        found = [r for r in self.state.by_role("baseline") if r.history]
        return {record.seed: record for record in sorted(found, key=lambda r: r.seed)}

    @cached_property
    def ranking(self) -> tuple[TrialSummary, ...]:
        """The ended trials: complete ones from best to worst, then the others."""
        complete = [t for t in self.summary.trials if t.state == "complete"]
        others = [t for t in self.summary.trials if t.state != "complete"]
        return (*ranked(self.config, complete), *ranked(self.config, others))

    @property
    def complete(self) -> tuple[TrialSummary, ...]:
        """The complete trials with a value, from best to worst."""
        return tuple(t for t in self.ranking if t.state == "complete" and t.value is not None)

    @property
    def best(self) -> TrialSummary | None:
        """The best complete trial (of a Pareto front: its first)."""
        return self.complete[0] if self.complete else None

    @cached_property
    def best_noisy(self) -> TrialRecord | None:
        """The best trial that injected, else the best."""
        noisy = [trial for trial in self.complete if not trial.never_injected]
        first = noisy[0] if noisy else self.best
        return self.state.trials[first.trial_id] if first else None

    def unit(self, metric: str) -> Unit:
        """How a metric of the search is written."""
        return unit_of(metric, self.summary.validation_images, self.config.train.metrics)

    @property
    def over(self) -> bool:
        return self.state.study is not None and self.state.study.state == "complete"

    def train_config(self, key: str) -> TrainConfig:
        return parse_config(TrainConfig, dict(self.state.trials[key].config), where=key)

    def missing(self) -> list[str]:
        """What an unfinished study lacks, in sentences; empty for a whole one."""
        lines: list[str] = []
        wanted = self.config.wanted
        ended = len(self.summary.trials)
        if not self.over:
            known = self.state.study
            how = "has not begun" if known is None else known.state or "running or interrupted"
            lines.append(
                f"The study is not finished ({how}): {ended} of {wanted} trials have ended."
            )
        lacking = [s for s in self.config.seeds if s not in {b.seed for b in self.summary.baseline}]
        if lacking:
            lines.append(f"No complete baseline yet on seed {', '.join(map(str, lacking))}.")
        if not self.complete:
            lines.append("No trial is complete yet: there is no ranking and no best trial.")
        failed = sum(t.state == "failed" for t in self.summary.trials)
        if failed:
            lines.append(
                f"{failed} trial{'s' * (failed > 1)} failed; the table of trials gives the reasons."
            )
        if self.left_out:
            lines.append(
                f"{self.left_out} trials were trained with another source of the classifier; they "
                "are in the ledger, and left out here."
            )
        if self.state.damage:
            lines.append(damage_text(self.state))
        return lines


@dataclass(frozen=True)
class GridView:
    """A grid as its files say it is, at one moment."""

    folder: StudyFolder
    config: ExperimentConfig
    state: LedgerState

    @property
    def name(self) -> str:
        return self.config.name

    @cached_property
    def result(self) -> ExperimentResult:
        return report(self.config, self.state)

    @property
    def over(self) -> bool:
        return self.state.study is not None and self.state.study.state == "complete"

    def unit(self, figure: str) -> Unit:
        """How a figure of a run's last epoch is written."""
        images = self.result.validation_images if figure.endswith("val_accuracy") else None
        return statistic_unit("accuracy" if figure == "gap" else figure, images)

    def missing(self) -> list[str]:
        """What an unfinished grid lacks, in sentences; empty for a whole one."""
        runs, lines = self.result.runs, []
        if not self.over:
            known = self.state.study
            how = "has not begun" if known is None else known.state or "running or interrupted"
            ended = sum(run.state != "unfinished" for run in runs)
            lines.append(
                f"The grid is not finished ({how}): {ended} of {len(runs)} runs have ended."
            )
        failed = len(self.result.failed)
        if failed:
            lines.append(
                f"{failed} run{'s' * (failed > 1)} failed; the table of runs gives the reasons."
            )
        if self.state.damage:
            lines.append(damage_text(self.state))
        return lines


def load_grid(storage: Where, name: str) -> GridView | None:
    """A grid; None if the name is that of a study. An unknown name is refused."""
    folder = open_records(storage, name)
    config = stored_experiment(folder) if not folder.config.exists() else None
    return None if config is None else GridView(folder, config, read_ledger(folder.ledger))


def damage_text(state: LedgerState) -> str:
    return (
        f"{len(state.damage)} lines of the ledger are damaged and left out "
        f"(the first: line {state.damage[0].line})."
    )


def load_study(storage: Where, name: str) -> StudyView:
    folder = open_study(storage, name)
    config = folder.stored_config()
    assert config is not None
    whole = read_ledger(folder.ledger)
    state = present(config, whole)
    left_out = len(whole.by_role("trial")) - len(state.by_role("trial"))
    return StudyView(folder, config, state, left_out)


@dataclass(frozen=True)
class BaselineHistory:
    """Epochs trained without noise, which tell when noise would begin.

    Attributes:
        source: where they come from, for people.
        rows: the epochs, from 0 on, up to the run's own first noisy epoch.
        noisy_from: the run's first noisy epoch, if it was no baseline.
    """

    source: str
    config: TrainConfig
    rows: tuple[EpochMetrics, ...]
    noisy_from: int | None = None

    @property
    def epochs(self) -> int:
        return self.config.epochs


def study_baseline(view: StudyView, seed: int | None = None) -> BaselineHistory:
    """The history of a study's baseline, that of the trials' seed unless told otherwise."""
    wanted = view.config.seeds[0] if seed is None else seed
    record = view.baselines.get(wanted)
    if record is None:
        known = ", ".join(map(str, view.baselines)) or "none so far"
        raise InputError(
            f"baseline of seed {wanted}: study {view.name!r} has no recorded epoch of it "
            f"(seeds recorded: {known})"
        )
    if record.lost_epochs:
        raise InputError(
            f"{record.key}: epoch {epoch_number(record.lost_epochs[0])} is lost from "
            f"{view.folder.ledger}; choose the baseline of another seed"
        )
    return BaselineHistory(
        f"{record.key} of study {view.name}", view.train_config(record.key), record.history
    )


def run_baseline(folder: str | Path) -> BaselineHistory:
    """The history of a single run, from the folder ``checkpoints/metrics/RUN``.

    A run with noise is the baseline of its seed until its first noisy epoch: it is read that far.
    """
    folder = Path(folder)
    config, rows = read_run(folder)
    noisy = next((row.epoch for row in rows if row.injected), None)
    return BaselineHistory(f"run {folder.name}", config, rows[:noisy], noisy)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a single run."""
    try:
        return (folder / METRICS_FILE).is_file()
    except OSError:
        return False


def is_begun_run(folder: Path) -> bool:
    """Whether a folder is that of a single run, which need not have an epoch yet."""
    try:
        return is_run(folder) or (folder / "config.json").is_file()
    except OSError:
        return False


def read_run(folder: Path) -> tuple[TrainConfig, tuple[EpochMetrics, ...]]:
    """The configuration of a single run and its epochs so far."""
    if not is_run(folder):
        raise InputError(f"{folder}: no run's folder, {METRICS_FILE} is missing")
    file = folder / "config.json"
    config = parse_config(TrainConfig, read_mapping(file), where=str(file))
    return config, read_rows(folder / METRICS_FILE)


def read_rows(path: Path) -> tuple[EpochMetrics, ...]:
    """The epochs of a single run, without a line that is still being written."""
    rows: list[EpochMetrics] = []
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, line in enumerate(lines):
        try:
            row = _row(json.loads(line))
        except (ValueError, TypeError, AttributeError):
            if number == len(lines) - 1:
                break  # still being written
            raise InputError(f"{path}: line {number + 1} is no epoch's record") from None
        if row.epoch != number:
            raise InputError(f"{path}: line {number + 1} is epoch {row.epoch}, not {number}")
        rows.append(row)
    return tuple(rows)


def _row(values: dict[str, Any]) -> EpochMetrics:
    known = {key: values[key] for key in EpochMetrics.__dataclass_fields__ if key in values}
    # These files say null for a number that is not finite.
    return EpochMetrics.from_dict({k: math.nan if v is None else v for k, v in known.items()})
