"""Trials that do no work: made-up curves, so that what is left is the bookkeeping."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import ray
from ray import tune

from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics, objective_values
from trainables.trial_spec import TrialSpec


def curve(text: str, epochs: int) -> list[EpochMetrics]:
    """The statistics of a run that learns; how well follows from ``text`` alone."""
    random = np.random.default_rng(zlib.crc32(text.encode()))
    best, speed = 0.6 + 0.3 * random.random(), 0.1 + 0.4 * random.random()
    rows = []
    for epoch in range(epochs):
        accuracy = best * (1 - float(np.exp(-speed * (epoch + 1)))) + 0.01 * random.random()
        rows.append(
            EpochMetrics(
                epoch=epoch,
                train_loss=2.3 * (1.02 - accuracy),
                train_accuracy=accuracy,
                val_loss=2.3 * (1.05 - accuracy),
                val_accuracy=accuracy - 0.02,
                grad_norm=1.0 + random.random(),
                weight_update_norm=0.1 + random.random(),
                lr=0.01,
                noise_phase="watching",
            )
        )
    return rows


def result_of(history: list[EpochMetrics], key: str, epochs: int) -> dict[str, Any]:
    """What the project's Trainable reports after the last epoch of ``history``."""
    return {
        **history[-1].to_dict(),
        **objective_values(history),
        "training_iteration": len(history),
        "key": key,
        "start_epoch": 0,
        "epochs_trained": len(history),
        "first_injection_epoch": 0,
        "judged_from": 1,
        "note": "",
        "done": len(history) >= epochs,
    }


def numbers_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Only what is a number: what a stock callback would log."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


class ReplayTrainable(tune.Trainable):  # type: ignore[misc]
    """Stands in the place of the project's Trainable: same arguments, same reports, no training."""

    def setup(self, config: dict[str, Any]) -> None:
        spec: TrialSpec = ray.get(config["spec"].reference)
        self._epochs = TrainConfig.model_validate_json(spec.base).epochs
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._key: str = new_config["key"]
        text = json.dumps([new_config["role"], new_config["overrides_json"]])
        self._curve = curve(text, self._epochs)
        self._done = 0
        return True

    def step(self) -> dict[str, Any]:
        self._done += 1
        return result_of(self._curve[: self._done], self._key, self._epochs)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""
