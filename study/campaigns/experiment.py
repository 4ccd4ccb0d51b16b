"""Experiments from Python: ``run_experiment(ExperimentConfig(...))`` does what the command does.

All pinned baselines are trained first, then all runs with noise, which start from their baselines'
checkpoints. Each step skips what the ledger says is done, so the same call goes on with what was
interrupted. A run that fails stops nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from study.campaigns.campaign import Campaign, held
from study.campaigns.counted import GRID_OBJECTIVE, grid_counted
from study.campaigns.experiment_grid import (
    AXES,
    ExperimentConfig,
    asked,
    baselines,
    check_experiment,
    groups,
    noisy_runs,
    own_names,
    stored_experiment,
)
from study.campaigns.experiment_result import ExperimentResult, report, result_files
from study.campaigns.experiment_tables import to_csv, to_markdown
from study.campaigns.images import read_images, record_images, try_metrics, weights_notes
from study.campaigns.live import Counted
from study.campaigns.own_code import record_late, refusal
from study.campaigns.phase import Phase
from study.campaigns.session import Session, check_records
from study.checks import check_runs, with_present_metrics
from study.config_changes import differences
from study.records.events import ArtifactEvent, StudyEndEvent, StudyState
from study.records.folder import StudyFolder, public_values, storage_of
from study.records.json_files import write_json
from study.records.ledger_view import read_ledger
from study.records.own_code import later_codes
from study.records.planned_run import PlannedRun
from trainables.code_identity import changed_modules, code_identity
from trainables.config import apply_overrides
from trainables.data.given_images import reading_once
from trainables.data.image_sets import resolve_data
from trainables.data_config import FOUND
from trainables.errors import InputError
from trainables.files import write_atomically

if TYPE_CHECKING:
    from study.tracking.projector import LedgerProjector
    from study.tune.capacity import Capacity


def run_experiment(
    config: ExperimentConfig, *, console: Console | None = None, retry_failed: bool = False
) -> ExperimentResult:
    """Run an experiment, or go on with it, to its end.

    Args:
        config: the grid, and the base run that it varies.
        console: where to show progress; None: nowhere.
        retry_failed: run again what has failed, too.

    Raises:
        InterruptedStudyError: after Ctrl-C; finished and unfinished runs are kept.
        StudyFailedError: if the records could not be written.
    """
    check_runs(config)
    folder = StudyFolder.of(storage_of(config), config.name)
    points = [{"data/subset": subset} for subset in config.subsets]
    with reading_once():
        config = checked_with_codes(config, folder)
        check_same_experiment(folder, config)
        check_records(folder, config)
        datas = [apply_overrides(config.train, point).data for point in points]
        titled = [(f"reading images ({data.subset:g})", data) for data in datas]
        images = read_images(titled, console)
    train = config.train
    try_metrics(train, images[0])
    data = resolve_data(train.data, images[0])
    asked_for = config
    # Mean and deviation are those of the whole data set, whatever the subset.
    config = config.model_copy(update={"train": train.model_copy(update={"data": data})})
    trains = [apply_overrides(config.train, point) for point in points]
    with held(config, folder, images):
        # Another process may have used the name while the images were read.
        check_same_experiment(folder, asked_for)
        check_records(folder, config)
        return _GridCampaign(
            config=config,
            session=Session(folder, config, console),
            images=list(zip(trains, images, strict=True)),
            objectives=(GRID_OBJECTIVE,),
            asked=asked(config),
            policy=config.train.noise.policy,
            retry_failed=retry_failed,
        ).to_the_end()


def checked_with_codes(config: ExperimentConfig, folder: StudyFolder) -> ExperimentConfig:
    """Check an experiment (``check_experiment``) and the source of its own code, which runs."""
    folder.check_files()
    stored = stored_experiment(folder)
    if stored is None:
        config = config.model_copy(update={"train": with_present_metrics(config.train)})
    with_codes(config, stored, folder)  # Before the code is run.
    config = check_experiment(config)
    folder.fetch()
    return with_codes(config, stored_experiment(folder), folder)


def check_same_experiment(folder: StudyFolder, wanted: ExperimentConfig) -> None:
    """Refuse a name that is taken by something else. A grid may grow: its runs stay valid."""
    folder.check_files()
    if folder.config.exists():
        raise InputError(
            f"name = {wanted.name!r}: taken by a study in {folder.path}; give another --name"
        )
    stored = stored_experiment(folder)
    if stored is None:
        return
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


def with_codes(
    config: ExperimentConfig, stored: ExperimentConfig | None, folder: StudyFolder
) -> ExperimentConfig:
    """The grid with the source of all code of one's own; a changed one is refused."""
    names = own_names(config)
    codes = {name: code for name in names if (code := code_identity(name))}
    recorded = {**later_codes(read_ledger(folder.ledger)), **stored.codes} if stored else {}
    for name, code in codes.items():
        if name in recorded and changed_modules(recorded[name], code):
            raise InputError(refusal(config.name, name, recorded[name], code, names[name]))
    # The runs of an earlier version do not say it: those beside them must not, either.
    late = {name for name in own_names(stored) if name not in stored.codes} if stored else set()
    kept = {name: code for name, code in codes.items() if name not in late}
    return config.model_copy(update={"codes": kept})


def _comparable(config: ExperimentConfig, wanted: ExperimentConfig) -> ExperimentConfig:
    """``config`` without its grid, and without what the data filled in where nobody gave it."""
    given = wanted.train.data
    found = {key: None for key in FOUND if getattr(given, key) is None}
    data = config.train.data.model_copy(update=found)
    axes = {axis: getattr(wanted, axis) for axis in AXES}
    train = apply_overrides(
        config.train.model_copy(update={"data": data}),
        {path: axes[axis][0] for axis, path in AXES.items()},
    )
    return config.model_copy(update={"train": train, **axes})


@dataclass(kw_only=True)
class _GridCampaign(Campaign[ExperimentConfig, ExperimentResult]):
    """A grid, each group beside its pinned baseline; what failed may be run again."""

    retry_failed: bool

    def store(self) -> None:
        write_json(self.folder.experiment, public_values(self.config))

    def counted(self) -> Counted:
        return grid_counted(self.config)

    def put_in_order(self) -> None:
        config = self.config
        late = [name for name in own_names(config) if name not in config.codes]
        record_late(self.session, {name: code_identity(name) for name in late})
        record_images(self.session, self.images)
        dataset = self.images[0][1]
        points = [{"model/classifier": classifier} for classifier in config.classifiers]
        for line in weights_notes((apply_overrides(config.train, p), dataset) for p in points):
            self.session.note(line)
        super().put_in_order()

    # The training: all baselines, then all runs with noise.

    def is_complete(self) -> bool:
        return self._to_run() == ([], [])

    def _to_run(self) -> tuple[list[PlannedRun], list[PlannedRun]]:
        """The baselines and the runs with noise that are missing, or failed and tried again."""
        state = self.session.state()
        done = {
            key
            for key, record in state.trials.items()
            if record.finished and not (self.retry_failed and record.state == "failed")
        }

        def wanted(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
            return [run for run in runs if run.key not in done]

        return wanted(baselines(self.config)), wanted(noisy_runs(self.config))

    def opening(self, room: "Capacity") -> str:
        config = self.config
        first, second = self._to_run()
        return (
            f"{config.name}: {len(groups(config))} groups; to run: {len(first)} baselines, "
            f"{len(second)} runs with noise. {room.describe(config)}"
        )

    def phases(self, room: "Capacity") -> Iterator[Phase]:
        config, noise = self.config, self.config.train.noise
        first, second = self._to_run()
        spec = {
            # Static noise begins at once: its runs share nothing that could be kept.
            "fork_first": None if noise.policy == "always" else noise.earliest_injection(),
            "fork_disk_bytes": int(config.fork_disk_mb * 1e6 / max(1, len(first))),
        }
        if first:
            yield Phase(first, spec=spec)
        idle = -len(first) % room.concurrent
        if idle and second:
            self.session.say(
                f"{idle} of {room.concurrent} workers waited for the last of the "
                f"{len(first)} baselines, which the runs with noise start from"
            )
        if second:
            yield Phase(second, spec=spec)

    # The result.

    def write_end(self, ended: StudyState, projector: "LedgerProjector") -> ExperimentResult:
        """Write the table, for people, for programs, and with every run."""
        state = self.session.state()
        # Before the wait for MLflow, which may be away, and after it, with MLflow's run ids.
        self._write_files(report(self.config, state))
        sent = self.flush(projector)
        result = report(self.config, state, projector.run_ids)
        self._write_files(result)
        files = [ArtifactEvent(None, path.name) for path in result_files(self.folder)]
        self.session.append(*files, StudyEndEvent(ended, best=result.best))
        if not (sent and self.flush(projector)):
            self.say_unsent()
        return result

    def _write_files(self, result: ExperimentResult) -> None:
        markdown, table, values = result_files(self.folder)
        write_atomically(markdown, to_markdown(result).encode())
        write_atomically(table, to_csv(result).encode())
        write_json(values, result.model_dump(mode="json"))
