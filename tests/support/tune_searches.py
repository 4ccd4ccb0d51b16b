"""A small search that trains nothing: each trial replays a curve. On Ray Tune, or without it."""

import json
import math
import os
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"

import optuna
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from search_spaces.registry import get_space
from study.search.journal import repair_journal
from study.search.searcher import StudySearcher
from study.tune.early_stopping import ForkAwareASHA
from study.tune.failures import failure_reason
from trainables.config import TrainConfig

EPOCHS = 9
SPACE = get_space("adaptive_noise").distributions(TrainConfig(epochs=EPOCHS))


def curve(overrides: Mapping[str, Any]) -> list[float]:
    """A rising curve, one value an epoch; how good it is follows from the settings alone."""
    digest = zlib.crc32(json.dumps(dict(overrides), sort_keys=True).encode())
    return [digest / 2**32 * (1 - math.exp(-(epoch + 1) / 3)) for epoch in range(EPOCHS)]


def reports(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a trial reports; some of them, by number, end in other ways than most."""
    number = int(config["key"].removeprefix("trial-"))
    if number == 2:
        raise ZeroDivisionError("a bug")
    if number == 3:
        raise RuntimeError("CUDA out of memory. Tried to allocate 3 GiB")
    for epoch, value in enumerate(curve(json.loads(config["overrides_json"]))):
        if number == 4 and epoch < EPOCHS - 1:
            continue  # its noise never begins: one report, and it is over
        diverged = "train_loss is nan" if (number, epoch) == (5, 2) else ""
        yield {
            "training_iteration": epoch + 1,
            "best_val_accuracy": value,
            "judged_from": 3 if epoch > 0 else -1,
            "diverged": diverged,
            "done": epoch == EPOCHS - 1 or bool(diverged),
        }


class Replay(tune.Trainable):  # type: ignore[misc]
    """One trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._reports = reports(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return next(self._reports)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""


class SlowStart(tune.Trainable):  # type: ignore[misc]
    """One trial, shorter than the start of its worker, unless that is the first one; 0 is over at
    once. The workers' process ids are the names of files in the folder ``workers``."""

    def setup(self, config: dict[str, Any]) -> None:
        workers = Path(config["workers"])
        (workers / str(os.getpid())).touch()
        try:
            (workers / "first").touch(exist_ok=False)
        except FileExistsError:
            time.sleep(1.5)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._seconds = 0.3 if new_config["number"] else 0.0
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self._seconds)
        return {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""


class Numbers(Searcher):
    """Hands out one trial after the other."""

    def __init__(self, workers: Path) -> None:
        super().__init__(metric=None, mode=None)
        self._workers, self._number = str(workers), -1

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self._number += 1
        return {"number": self._number, "workers": self._workers}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep."""


def short_trials(folder: Path, scheduler: TrialScheduler, trials: int) -> int:
    """Run trials of ``SlowStart``, two at once; returns how many workers were started."""
    workers = folder / "workers"
    workers.mkdir()
    tuner = tune.Tuner(
        SlowStart,
        tune_config=tune.TuneConfig(
            search_alg=Numbers(workers),
            scheduler=scheduler,
            num_samples=trials,
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    )
    results = tuner.fit()
    assert len(results) == trials
    assert not results.errors
    return len([*workers.glob("[0-9]*")])


def open_search(folder: Path, stopped: Collection[str] = ()) -> StudySearcher:
    """The search in ``folder``, repaired."""
    repair_journal(folder / "optuna.journal")
    return StudySearcher(
        "s",
        folder / "optuna.journal",
        SPACE,
        objectives=("best_val_accuracy",),
        epochs=EPOCHS,
        stopped=stopped,
    )


def missing(folder: Path, wanted: int) -> int:
    """How many trials of the search in ``folder`` have not ended."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    return wanted - sum(trial.state.is_finished() for trial in study.get_trials())


class Reasons(tune.Callback):
    """Tells the searcher why trials failed, as a phase does."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._searcher.note_error(trial.config["key"], failure_reason(trial))


def search(folder: Path, wanted: int) -> ForkAwareASHA:
    """Run on Tune what is missing of a search for ``wanted`` trials, two at once."""
    searcher = open_search(folder)
    scheduler = ForkAwareASHA(
        "best_val_accuracy", epochs=EPOCHS, grace_period=3, reduction_factor=3
    )
    tuner = tune.Tuner(
        Replay,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=missing(folder, wanted),
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            callbacks=[Reasons(searcher)],
            verbose=0,
        ),
    )
    tuner.fit()
    searcher.finalise()
    return scheduler


def search_alone(folder: Path, wanted: int) -> None:
    """The same without Tune and early stopping, slowly enough to be killed in the middle."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searcher = open_search(folder)
    running: dict[str, Iterator[dict[str, Any]]] = {}
    left = missing(folder, wanted)
    while left or running:
        while left and len(running) < 2:
            left -= 1
            config = searcher.suggest(f"tune-{left}")
            assert config != Searcher.FINISHED
            assert isinstance(config, dict)
            running[f"tune-{left}"] = reports(config)
        for tune_id in list(running):
            time.sleep(0.003)
            try:
                result = next(running[tune_id])
            except (ZeroDivisionError, RuntimeError) as error:
                searcher.on_trial_complete(tune_id, error=True)
                number = 2 if isinstance(error, ZeroDivisionError) else 3
                searcher.note_error(f"trial-{number:04d}", str(error))
                del running[tune_id]
                continue
            if result["done"]:
                searcher.on_trial_complete(tune_id, result)
                del running[tune_id]
            else:
                searcher.on_trial_result(tune_id, result)
    searcher.finalise()
