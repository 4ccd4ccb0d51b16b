"""Experiments from Python: ``run_experiment(ExperimentConfig(...))`` does what the command does.

All pinned baselines are trained first, then all runs with noise, which start from their baselines'
checkpoints. Each step skips what the ledger says is done, so the same call goes on with what was
interrupted. A run that fails stops nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress as ProgressBars

from study.campaigns.baseline import DescribeRun, baseline_histories
from study.campaigns.campaign import FLUSH_SECONDS, STOPPING, no_space_left
from study.campaigns.experiment_grid import (
    AXES,
    ExperimentConfig,
    PlannedRun,
    asked,
    baselines,
    check_experiment,
    groups,
    noisy_runs,
)
from study.campaigns.experiment_result import ExperimentResult, report
from study.campaigns.experiment_tables import to_csv, to_markdown
from study.campaigns.live import live_view
from study.campaigns.session import Session, connected
from study.config import StudyConfig, differences
from study.errors import InterruptedStudyError, StudyFailedError
from study.records.events import ArtifactEvent, StudyEndEvent, StudyState
from study.records.folder import StudyFolder, public_values, storage_of
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState
from study.tune.interrupts import interruptible
from trainables.config import TrainConfig, apply_overrides
from trainables.data.dataset import Dataset
from trainables.data.device_data import load_dataset
from trainables.data.image_sets import resolve_data
from trainables.errors import InputError
from trainables.files import write_atomically
from trainables.metrics import EpochMetrics
from trainables.settings import parse_config, read_mapping

if TYPE_CHECKING:  # Ray and MLflow are imported once all that can be refused is refused.
    from study.tracking.projector import LedgerProjector
    from study.tune.capacity import Capacity
    from trainables.tune_trainable import TrialSpec

OBJECTIVE = "final_val_accuracy"
"""What the live view and MLflow's table show first; nothing is searched for."""


def run_experiment(
    config: ExperimentConfig, *, console: Console | None = None, retry_failed: bool = False
) -> ExperimentResult:
    """Run an experiment, or go on with it, to its end.

    Args:
        config: the grid, and the base run that it varies.
        console: where to show progress; None: nowhere.
        retry_failed: run again what has failed, too.

    Returns:
        The result, as it is written to ``STORAGE/NAME/experiment.json``.

    Raises:
        InputError: for bad input, before anything is started or written.
        InterruptedStudyError: after Ctrl-C; finished and unfinished runs are kept.
        StudyFailedError: if the records could not be written.
    """
    config = check_experiment(config)
    folder = StudyFolder.fetched(storage_of(config), config.name)
    check_same_experiment(folder, config)
    pairs = _read_images(config, console)
    train = config.train
    data = resolve_data(train.data, pairs[0][1])
    asked_for = config
    # Mean and deviation are those of the whole data set, whatever the subset.
    config = config.model_copy(update={"train": train.model_copy(update={"data": data})})
    datasets = [(apply_overrides(config.train, point), images) for point, images in pairs]
    stopping = interruptible(f"{config.name}: {STOPPING}")
    with no_space_left(config, "the same command"), connected(config), folder.locked(), stopping:
        # Another process may have used the name while the images were read.
        check_same_experiment(folder, asked_for)
        session = Session(folder, config, console)
        return _ExperimentRun(config, session, datasets, retry_failed).to_the_end()


def check_same_experiment(folder: StudyFolder, wanted: ExperimentConfig) -> None:
    """Refuse a name that is taken by something else. A grid may grow: its runs stay valid.

    Raises:
        InputError: naming each setting that differs.
    """
    if folder.config.exists():
        raise InputError(
            f"name = {wanted.name!r}: taken by a study in {folder.path}; give another --name"
        )
    if not folder.experiment.exists():
        return
    stored = parse_config(
        ExperimentConfig, read_mapping(folder.experiment), where=str(folder.experiment)
    )
    lines = differences(_comparable(stored, wanted), _comparable(wanted, wanted))
    lines += [
        f"{axis} = {list(getattr(wanted, axis))}, stored: {list(getattr(stored, axis))}; more may "
        "be added, none taken away"
        for axis in AXES
        if not set(getattr(stored, axis)) <= set(getattr(wanted, axis))
    ]
    if lines:
        raise InputError(
            f"name = {wanted.name!r}: taken by an experiment with other settings in "
            f"{folder.path}:\n  " + "\n  ".join(lines) + "\ngive another --name, or the same "
            "settings to go on with that experiment"
        )


def _comparable(config: ExperimentConfig, wanted: ExperimentConfig) -> ExperimentConfig:
    """``config`` without its grid, and without what the data filled in where nobody gave it."""
    given = wanted.train.data
    found = {key: None for key in ("mean", "std", "classes") if getattr(given, key) is None}
    data = config.train.data.model_copy(update=found)
    axes = {axis: getattr(wanted, axis) for axis in AXES}
    train = apply_overrides(
        config.train.model_copy(update={"data": data}),
        {path: axes[axis][0] for axis, path in AXES.items()},
    )
    return config.model_copy(update={"train": train, **axes})


def _read_images(
    config: ExperimentConfig, console: Console | None
) -> list[tuple[dict[str, float], Dataset]]:
    """Each subset of the data set, as the override that means it and its images."""
    points = [{"data/subset": subset} for subset in config.subsets]
    if console is None:
        return [(p, load_dataset(apply_overrides(config.train, p).data)) for p in points]
    found = []
    with ProgressBars(console=console, transient=True) as bars:
        for point in points:
            task = bars.add_task(f"reading images ({point['data/subset']:g})", total=None)

            def progress(done: int, total: int, task: Any = task) -> None:
                bars.update(task, completed=done, total=total)

            data = apply_overrides(config.train, point).data
            found.append((point, load_dataset(data, progress)))
    return found


@dataclass
class _ExperimentRun:
    """One process's part of an experiment, from the lock to the table."""

    config: ExperimentConfig
    session: Session
    datasets: list[tuple[TrainConfig, Dataset]]
    retry_failed: bool

    def to_the_end(self) -> ExperimentResult:
        """Train what is missing, then write the table, however the training ended."""
        import study.tune.runner  # noqa: F401  (before MLflow is imported in its thread)

        config, folder = self.config, self.session.folder
        write_json(folder.experiment, public_values(config))
        self.session.begin(objectives=(OBJECTIVE,), asked=asked(config))
        ended: StudyState = "failed"
        with self.session.mirrored() as projector:
            try:
                self.session.put_in_order()
                with live_view(self.session.console, self._view, folder.ledger, self._standing):
                    self._train()
                self._check_all_ended()
                ended = "complete"
            except KeyboardInterrupt:
                ended = "interrupted"
            finally:
                result = self._write_results(ended, projector)
        if ended == "interrupted":
            raise InterruptedStudyError(
                f"{config.name}: interrupted; what is finished is kept. The same command goes on"
            )
        return result

    def _check_all_ended(self) -> None:
        missing = self._missing(self._all, self.session.state())
        if missing:
            raise StudyFailedError(
                f"{self.config.name}: {len(missing)} runs have no recorded end, the first is "
                f"{missing[0].key}. What is finished is kept; the same command goes on"
            )

    @property
    def _all(self) -> tuple[PlannedRun, ...]:
        return (*baselines(self.config), *noisy_runs(self.config))

    @property
    def _view(self) -> StudyConfig:
        """The experiment as the live view counts it."""
        config = self.config
        return StudyConfig(
            name=config.name,
            train=config.train,
            objective=(OBJECTIVE,),
            baseline_seeds=len(baselines(config)),
            trials=len(noisy_runs(config)),
        )

    def _standing(self, _view: StudyConfig, state: LedgerState) -> str:
        rows = report(self.config, state).table
        known = [row.differences["difference"].mean for row in rows]
        ahead = [value for value in known if value is not None]
        if not ahead:
            return "no group has a run with noise beside its baseline yet"
        better = sum(value > 0 for value in ahead)
        return f"noise is ahead of the baseline in {better} of {len(ahead)} comparisons so far"

    # The training: all baselines, then all runs with noise.

    def _missing(self, runs: Sequence[PlannedRun], state: LedgerState) -> list[PlannedRun]:
        def done(run: PlannedRun) -> bool:
            record = state.trials.get(run.key)
            return record is not None and record.finished

        return [run for run in runs if not done(run)]

    def _wanted(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """What is to be run now: what is missing, and what failed if it is to be tried again."""
        state = self.session.state()
        missing = set(self._missing(runs, state))
        if self.retry_failed:
            missing |= {
                run
                for run in runs
                if (record := state.trials.get(run.key)) and record.state == "failed"
            }
        return [run for run in runs if run in missing]

    def _train(self) -> None:
        from study.tune.capacity import capacity
        from study.tune.connect import ray_session
        from study.tune.runner import put_datasets

        config = self.config
        first, second = self._wanted(baselines(config)), self._wanted(noisy_runs(config))
        if not first and not second:
            self.session.say(f"{config.name}: complete already, nothing is left to run")
            return
        with ray_session(config):
            room = capacity(config)
            self.session.say(
                f"{config.name}: {len(groups(config))} groups; to run: {len(first)} baselines, "
                f"{len(second)} runs with noise. {room.describe(config)}"
            )
            references = put_datasets(self.datasets)
            self._run(first, self._spec(references, first, {}))
            self._say_waiting(first, second, room)
            histories = baseline_histories(self.session.state())
            self._run(second, self._spec(references, first, histories))

    def _say_waiting(
        self, first: Sequence[PlannedRun], second: Sequence[PlannedRun], room: "Capacity"
    ) -> None:
        idle = -len(first) % room.concurrent
        if idle and second:
            self.session.say(
                f"{idle} of {room.concurrent} workers waited for the last of the "
                f"{len(first)} baselines, which the runs with noise start from"
            )

    def _spec(
        self,
        references: dict[str, Any],
        first: Sequence[PlannedRun],
        histories: dict[str, tuple[EpochMetrics, ...]],
    ) -> "TrialSpec":
        from study.tune.capacity import several_nodes
        from study.tune.runner import gpu_memory_fraction
        from trainables.tune_trainable import TrialSpec

        config, noise = self.config, self.config.train.noise
        # Static noise begins at once: its runs share nothing that could be kept.
        begins = None if noise.policy == "always" else noise.earliest_injection()
        budget = config.fork_disk_mb * 1e6 / max(1, len(first))
        return TrialSpec(
            base=config.train.model_dump_json(),
            policy=noise.policy,
            checkpoint_root=self.session.folder.checkpoint_root,
            datasets=references,
            baselines={
                digest: [row.to_dict() for row in history] for digest, history in histories.items()
            },
            fork=config.fork == "auto",
            fork_first=begins,
            fork_disk_bytes=int(budget),
            memory_fraction=gpu_memory_fraction(config),
            tell_node=several_nodes(),
        )

    def _run(self, runs: Sequence[PlannedRun], spec: "TrialSpec") -> None:
        from study.tune.jobs import Job, JobSearcher
        from study.tune.ledger_callback import LedgerCallback
        from study.tune.runner import run_trials

        if not runs:
            return
        jobs = [Job(run.key, run.role, run.overrides) for run in runs]
        callback = LedgerCallback(
            self.session.folder.ledger,
            DescribeRun(self.config.train, spec.policy),
            baseline_histories(self.session.state()),
        )
        run_trials(self.config, spec, JobSearcher(jobs), samples=len(jobs), callbacks=[callback])

    # The result.

    def _write_results(self, ended: StudyState, projector: "LedgerProjector") -> ExperimentResult:
        session, folder = self.session, self.session.folder
        timeout = FLUSH_SECONDS if ended == "complete" else 5.0
        state = session.state()
        # Before the wait for MLflow, which may be away, and after it, with MLflow's run ids.
        self._write_files(report(self.config, state))
        sent = projector.flush(timeout=timeout)
        result = report(self.config, state, projector.run_ids)
        self._write_files(result)
        files = [ArtifactEvent(None, path.name) for path in result_files(folder)]
        session.append(*files, StudyEndEvent(ended, best=result.best))
        if not (sent and projector.flush(timeout=timeout)):
            session.say(
                "MLflow does not have everything yet; it is kept, and the same command sends it"
            )
        return result

    def _write_files(self, result: ExperimentResult) -> None:
        markdown, table, values = result_files(self.session.folder)
        write_atomically(markdown, to_markdown(result).encode())
        write_atomically(table, to_csv(result).encode())
        write_json(values, result.model_dump(mode="json"))


def result_files(folder: StudyFolder) -> tuple[Path, Path, Path]:
    """Where the result is: for people, as a table, and with every run."""
    return (
        folder.path / "experiment.md",
        folder.path / "experiment.csv",
        folder.path / "experiment.json",
    )
