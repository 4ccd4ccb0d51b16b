"""The face for Python: each function does what the command of its name does.

So photos are decoded as the commands decode new ones, where a configuration made in Python does
not say how, and what is stored under its name was not begun otherwise.

``analysis.api`` reads, compares and writes what came of it.

Torch, whose import takes seconds, is imported by what trains or evaluates in this process; a study
trains in its workers.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from study.campaigns import known_answers
from study.campaigns.ask import set_limits
from study.campaigns.ask import stop as stop_study
from study.campaigns.confirm import run_confirm as _run_confirm
from study.campaigns.confirm_plan import ConfirmConfig
from study.campaigns.confirmation import Confirmation
from study.campaigns.controls import ControlOutcome, Room
from study.campaigns.controls import run_controls as _run_controls
from study.campaigns.experiment import run_experiment as _run_experiment
from study.campaigns.experiment_grid import ExperimentConfig, stored_experiment
from study.campaigns.experiment_result import ExperimentResult
from study.campaigns.housekeeping import ListedStudy, clean_study, list_studies
from study.campaigns.resume import resumed
from study.campaigns.search_study import run_study as _run_study
from study.campaigns.sync import sync_study
from study.campaigns.verify import verify_study
from study.config import StudyConfig
from study.config_changes import AnyRuns, as_by_command
from study.records.folder import StudyFolder, storage_of
from study.records.storage import Where
from study.records.summary import Summary
from study.tune.connect import ray_session
from trainables.config import DataConfig, TrainConfig
from trainables.data.dataset import Progress
from trainables.data.inspection import Inspection
from trainables.data.inspection import inspect_data as _inspect_data
from trainables.data.registry import is_photos
from trainables.data_changes import derived_data, with_new_photos
from trainables.errors import InputError, nearest
from trainables.paths import check_writable, given_path
from trainables.presets import readme
from trainables.settings import merge, nest, parse_config

if TYPE_CHECKING:
    from study.run.evaluation import Evaluation
    from study.run.results import RunResult
    from study.run.single_run import SingleRunOptions
    from trainables.data.contact_sheet import write_contact_sheet

__all__ = [
    "ConfirmConfig",
    "ControlOutcome",
    "Evaluation",
    "ExperimentConfig",
    "Inspection",
    "ListedStudy",
    "RunResult",
    "SingleRunOptions",
    "StudyConfig",
    "Summary",
    "clean_study",
    "evaluate",
    "inspect_data",
    "list_studies",
    "resume_study",
    "run_confirm",
    "run_controls",
    "run_experiment",
    "run_study",
    "set_limits",
    "stop_study",
    "sync_study",
    "train_run",
    "verify_study",
    "with_new_photos",
    "write_contact_sheet",
]

_WITH_TORCH = {
    "Evaluation": "study.run.evaluation",
    "RunResult": "study.run.results",
    "SingleRunOptions": "study.run.single_run",
    "write_contact_sheet": "trainables.data.contact_sheet",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WITH_TORCH[name]), name)


def _as_by_command(config: AnyRuns) -> AnyRuns:
    if not is_photos(config.train.data.dataset):
        return config
    folder = StudyFolder.of(storage_of(config), config.name)
    grid = isinstance(config, ExperimentConfig)
    return as_by_command(config, stored_experiment(folder) if grid else folder.stored_config())


def run_study(
    config: StudyConfig, *, console: Console | None = None, accept_changed_code: bool = False
) -> Summary:
    """Run a study, or go on with it, to its end.

    Args:
        config: the study. Its pinned baseline is ``config.train`` without noise.
        console: where to show progress; None: nowhere.
        accept_changed_code: go on though the source of the study's own code was changed.

    Raises:
        InputError: before anything is written.
        InterruptedStudyError: after Ctrl-C; finished and unfinished trials are kept.
        StudyFailedError: if there is no baseline to compare with.
    """
    asked = _as_by_command(config)
    return _run_study(asked, console=console, accept_changed_code=accept_changed_code)


def run_confirm(
    study: StudyConfig, confirm: ConfirmConfig, *, console: Console | None = None
) -> Confirmation:
    """Confirm the best configurations of a study on fresh seeds, or go on with it.

    Args:
        study: as it was run.
        confirm: how many configurations and seeds.
        console: where to show progress; None: nowhere.

    Raises:
        InputError: before anything is written.
        InterruptedStudyError: after Ctrl-C; finished and unfinished runs are kept.
        StudyFailedError: if runs could not be trained or recorded.
    """
    return _run_confirm(_as_by_command(study), confirm, console=console)


def run_experiment(
    config: ExperimentConfig, *, console: Console | None = None, retry_failed: bool = False
) -> ExperimentResult:
    """Run a grid, or go on with it, to its end.

    Args:
        config: the grid, and the base run that it varies.
        console: where to show progress; None: nowhere.
        retry_failed: run again what has failed, too.

    Raises:
        InputError: before anything is written.
        InterruptedStudyError: after Ctrl-C; finished and unfinished runs are kept.
        StudyFailedError: if the records could not be written.
    """
    return _run_experiment(_as_by_command(config), console=console, retry_failed=retry_failed)


def inspect_data(config: DataConfig, progress: Progress | None = None) -> Inspection:
    """Read a data set as a study would, and look for what would spoil it.

    Images count as the same if their pixels are, at the size of the study.

    Args:
        progress: called with the photos decoded so far, and how many there are.

    Raises:
        InputError: the data can't be read.
    """
    return _inspect_data(with_new_photos(config), progress)


def resume_study(
    name: str,
    storage: Where = "studies",
    *,
    changes: Mapping[str, Any] | None = None,
    more_trials: int = 0,
    console: Console | None = None,
    accept_changed_code: bool = False,
) -> Summary:
    """Go on with a study that was interrupted, or extend one that is finished.

    Args:
        changes: settings by path that may change, ``{"max_concurrent": 2}``.
        more_trials: are added to those that it was to have.
        console: where to show progress; None: nowhere.
        accept_changed_code: go on though the source of the study's own code was changed.

    Raises:
        InputError: there is no such study, or a change is none that may be made.
        InterruptedStudyError: after Ctrl-C; finished and unfinished trials are kept.
    """
    config = resumed(storage, name, changes or {}, more_trials=more_trials)
    return _run_study(
        config, console=console, fetched=True, accept_changed_code=accept_changed_code
    )


def run_controls(
    names: Sequence[str] = (),
    *,
    quick: bool = False,
    seed: int = 0,
    out: str = "controls",
    console: Console | None = None,
) -> list[ControlOutcome]:
    """Test the instrument on trainings of which it is known what noise does to them.

    Args:
        names: of controls; none: all, or the quick ones.
        out: folder of the studies and of controls.json.

    Raises:
        InputError: there is no control of a name, or the folder can't be written to.
    """
    for name in names:
        if name not in known_answers.CONTROLS:
            raise InputError(f"--only = {name!r}: {nearest(name, known_answers.CONTROLS)}")
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed = {seed}: from 0 to 2**63 − 1")
    folder = given_path(out, "--out")
    check_writable(folder, "--out")
    chosen = [known_answers.CONTROLS[name] for name in names] or [
        each for each in known_answers.CONTROLS.values() if each.quick or not quick
    ]
    said = console or Console(quiet=True)
    left_out = [name for name, each in known_answers.CONTROLS.items() if each not in chosen]
    if left_out and not names:
        said.print(f"left out with --quick: {', '.join(left_out)}")
    live = console if console is not None and console.is_terminal else None
    with ray_session(StudyConfig()):
        return _run_controls(Room(folder, seed, quick, live), chosen, said)


def train_run(
    config: TrainConfig,
    options: "SingleRunOptions | None" = None,
    *,
    console: Console | None = None,
) -> "RunResult":
    """Train a single run, or go on with it, and evaluate its best weights once on the test set.

    Args:
        options: where it is stored, and how it is shown; None: as ``noise-train``'s defaults.

    Raises:
        InputError: before anything is written.
        Interrupted: after Ctrl-C; the run left a checkpoint.
        DivergedError: there are no weights that can be evaluated.
    """
    from study.run import single_run

    options = options or single_run.SingleRunOptions()
    config = config.model_copy(update={"data": with_new_photos(config.data)})
    return single_run.train_run(config, options, console or Console(quiet=True))


def evaluate(
    checkpoint: str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    batch_size: int | None = None,
    with_sharpness: bool = False,
    console: Console | None = None,
) -> "Evaluation":
    """Evaluate a weights file on its test set.

    Args:
        changes: settings by path over those of the file, ``{"data/data_dir": "/data"}``; of a bare
            state dict ``"model/classifier"``, at least.
        batch_size: None: as in training.

    Raises:
        InputError: the file can't be read, or does not fit.
    """
    from study.run.evaluation import evaluate_checkpoint
    from study.run.weights_file import read_weights

    path = Path(checkpoint)
    weights = read_weights(path)
    if weights.config is None and "model/classifier" not in (changes or {}):
        raise InputError(
            f"checkpoint = {path}: a bare state dict does not say which model it is: give "
            "model/classifier"
        )
    # The device that it was trained on says nothing about this machine.
    base = {**readme().model_dump(mode="json"), **(weights.config or {}), "device": "auto"}
    below, given = parse_config(TrainConfig, base, where=str(path)), dict(changes or {})
    given |= derived_data(given, below.data, (weights.config or {}).get("data"))
    config = parse_config(TrainConfig, merge(base, nest(given)), where=str(path))
    return evaluate_checkpoint(
        path,
        weights,
        config,
        batch_size=batch_size,
        with_sharpness=with_sharpness,
        log=console or Console(quiet=True),
    )
