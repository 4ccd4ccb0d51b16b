"""A trial in a worker: it resumes, forks from its baseline, trains an epoch a step, reports it.

The first ``step`` loads the newest valid of: the trial's own checkpoint, its baseline's at or
before the epoch at which the trial's noise begins (the fork), nothing. So one path serves a fresh
start, a fork, a retry and a resume.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.checkpoint import load_run, save_state
from trainables.config import TrainConfig, apply_overrides
from trainables.data.dataset import Dataset
from trainables.data.device_data import DeviceData
from trainables.epochs import epoch_number
from trainables.errors import CheckpointError
from trainables.loop import Training
from trainables.metrics import NEVER_INFINITE, EpochMetrics, objective_values
from trainables.noise.controller import fork_epoch
from trainables.noise.fork import annotate, baseline_digest
from trainables.object_store import Location, location
from trainables.tasks.image_task import ImageTraining
from trainables.tasks.own_task import own_task
from trainables.trial_checkpoints import TrialCheckpoints
from trainables.trial_spec import Row, TrialSpec, data_key

log = logging.getLogger(__name__)

_NOISELESS = frozenset({"baseline", "tuning"})
"""The roles of runs that start from no other."""


class TrialTraining:
    """The trainings of one worker, one trial after the other."""

    def __init__(self, fetch: Callable[[Any], Dataset], node: Callable[[], str]) -> None:
        """``fetch`` gives the data set of a reference; ``node`` says where this is."""
        self._fetch = fetch
        self._node = node
        self._device_data: tuple[str, DeviceData] | None = None

    def take(self, spec: TrialSpec, trial: Mapping[str, Any]) -> None:
        """Take a trial, as its searcher describes it; everything of the last one is forgotten."""
        self._spec = spec
        self._key: str = trial["key"]
        self._role: str = trial.get("role", "trial")
        self._overrides: dict[str, Any] = json.loads(trial["overrides_json"])
        self._baseline: list[Row] = json.loads(trial.get("baseline_json", "[]"))
        self._training: Training | None = None
        self._start_epoch = 0
        self._note = ""
        self._checkpoints = TrialCheckpoints(location(spec.checkpoint_root), self._key)

    def step(self) -> dict[str, Any]:
        """Train one epoch; the first call also loads what there is to start from."""
        if self._training is None:
            self._training = self._begin()
            if self._training.finished:
                # Nothing left to train: the noise never begins, or only the last report was lost.
                return self._report(self._training.history[-1])
        else:
            # Only now has the driver recorded the last report, so that a checkpoint never runs
            # ahead of the study's records.
            self._keep(self._training)
        row = self._training.run_epoch()
        if self._training.finished:
            self._checkpoints.save_final(self._state(self._training))
        return self._report(row)

    def _begin(self) -> Training:
        config = self._config()
        if config.device.startswith("cuda") and self._spec.memory_fraction is not None:
            torch.cuda.set_per_process_memory_fraction(self._spec.memory_fraction)
        training = self._fresh(config)
        if self._resume(training):
            return training
        if self._role not in _NOISELESS and self._spec.fork:
            self._fork(training)
        return training

    def _fresh(self, config: TrainConfig) -> Training:
        if config.task.name is not None:
            return Training(config, own_task(config))
        return ImageTraining(config, self._data(config))

    def _config(self) -> TrainConfig:
        base = TrainConfig.model_validate_json(self._spec.base)
        return apply_overrides(base, {"noise/policy": self._spec.policy, **self._overrides})

    def _data(self, config: TrainConfig) -> DeviceData:
        key = f"{config.device}|{data_key(config)}"
        if self._device_data is None or self._device_data[0] != key:
            dataset: Dataset = self._fetch(self._spec.datasets[data_key(config)])
            self._device_data = (key, DeviceData(dataset, torch.device(config.device)))
        return self._device_data[1]

    def _resume(self, training: Training) -> bool:
        for path in self._checkpoints.own():
            state = self._try_load(path)
            if state is not None:
                training.load_state_dict(state)
                self._start_epoch = int(state.get("start_epoch", 0))
                return True
        return False

    def _fork(self, training: Training) -> None:
        digest = baseline_digest(training.config)
        rows = self._baseline or self._spec.baselines.get(digest)
        if not rows:
            return
        noise, epochs = training.config.noise, training.config.epochs
        history = [EpochMetrics.from_dict(row) for row in rows]
        begins = fork_epoch(history, noise, epochs)
        if begins is None:
            # It is the baseline: nothing is trained, its figures are the baseline's.
            training.history = list(annotate(history, noise, epochs))
        else:
            for path in self._checkpoints.of_baseline(digest, begins):
                state = self._try_load(path)
                if state is not None:
                    training.load_state_dict(state)
                    break
        self._start_epoch = len(training.history)
        if begins is not None and self._start_epoch < begins:
            again = (
                f"trained again from epoch {epoch_number(self._start_epoch)} on, though the noise "
                f"begins in epoch {epoch_number(begins)}: the baseline has no later checkpoint "
                "that can be used"
            )
            self._note = f"{self._note}; {again}" if self._note else again

    def _try_load(self, path: Location) -> dict[str, Any] | None:
        try:
            return load_run(path)
        except CheckpointError as error:
            self._note = f"{error}; an earlier one is used"
            log.warning("%s: %s", self._key, self._note)
            return None

    def _keep(self, training: Training) -> None:
        state = self._state(training)
        self._checkpoints.save_if_due(state)
        first = self._spec.fork_first
        if self._forked_from(training) and first is not None:
            self._checkpoints.save_for_forks(
                state,
                baseline_digest(training.config),
                done=len(training.history),
                epochs=training.config.epochs,
                first=first,
                budget=self._spec.fork_disk_bytes,
            )

    def _forked_from(self, training: Training) -> bool:
        seed = self._spec.fork_seed
        is_theirs = seed is None or seed == training.config.seed
        return self._role == "baseline" and self._spec.fork and is_theirs

    def _report(self, row: EpochMetrics) -> dict[str, Any]:
        training = self._training
        assert training is not None
        injected = next((r.epoch for r in training.history if r.injected), None)
        result = {
            **row.to_dict(),
            **objective_values(training.history),
            "training_iteration": row.epoch + 1,
            "key": self._key,
            "start_epoch": self._start_epoch,
            "epochs_trained": len(training.history) - self._start_epoch,
            "first_injection_epoch": -1 if injected is None else injected,
            "judged_from": -1 if injected is None else injected + 1 + self._spec.grace,
            "note": "; ".join(filter(None, (self._note, self._checkpoints.problem))),
            "node": self._node() if self._spec.tell_node else "",
            "done": training.finished,
        }
        if not row.finite:
            result |= {"diverged": diverged_because(row), "done": True}
        elif training.finished and self._spec.evaluate_test:
            result |= self._test_figures(training)
        return result

    def _test_figures(self, training: Training) -> dict[str, float]:
        """What the best weights by validation and the final ones achieve on the test set."""
        if training.best is None:
            # Nothing was trained or loaded: it is its baseline.
            return self._spec.baseline_tests.get(baseline_digest(training.config), {})
        return training.test_figures()

    def save(self, path: Path) -> None:
        if self._training is not None:
            save_state(path, self._state(self._training))

    def load(self, path: Path) -> None:
        state = load_run(path)
        self._training = self._fresh(self._config())
        self._training.load_state_dict(state)
        self._start_epoch = int(state["start_epoch"])

    def _state(self, training: Training) -> dict[str, Any]:
        return {**training.state_dict(), "start_epoch": self._start_epoch}


def diverged_because(row: EpochMetrics) -> str:
    wrong = next(name for name in NEVER_INFINITE if not math.isfinite(getattr(row, name)))
    return f"diverged: {wrong} is {getattr(row, wrong)} in epoch {epoch_number(row.epoch)}"
