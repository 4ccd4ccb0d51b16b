"""Small real runs that several tests share."""

from functools import cache
from typing import Any

import torch
from torch import nn

from trainables.config import TrainConfig
from trainables.data.dataset import Dataset
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.loop import train_epochs
from trainables.metrics import EpochMetrics
from trainables.noise_config import NoiseConfig
from trainables.settings import parse_config
from trainables.tasks.image_task import ImageTraining

EAGER: dict[str, Any] = {
    "policy": "on_stagnation",
    "warmup_epochs": 1,
    "window": 2,
    "trigger_epochs": 1,
    "max_injection_epochs": 1,
    "cooldown_min": 1,
    "cooldown_extra": 0,
    "grad_plateau_threshold": 1e9,
    "magnitude_min": 0.5,
    "magnitude_extra": 0.5,
}
"""Adaptive noise that begins as early as it can, whatever training does."""

NOISES: dict[str, dict[str, Any]] = {
    "adaptive": EAGER,
    "weight": {"policy": "always", "kind": "weight", "magnitude": 0.1},
    "input": {"policy": "always", "kind": "input", "magnitude": 0.5},
    "label": {"policy": "always", "kind": "label", "magnitude": 0.3},
}
"""One noise for each place in which it enters a step."""


def net_with_state(num_classes: int) -> nn.Module:
    """A classifier that has all that a checkpoint or a fork could forget: buffers and dropout."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(8 * 64, num_classes),
    )


def small_config(noise: dict[str, Any] | None = None, **fields: Any) -> TrainConfig:
    """BabyCNN on 300 synthetic images for 5 epochs."""
    data = {"dataset": "synthetic", "synthetic_train": 300, "batch_size": 32}
    values: dict[str, Any] = {
        "data": data | fields.pop("data", {}),
        "epochs": 5,
        "noise": noise or {},
        "optimizer": {"lr": 0.02, "lr_restart_period": 5} | fields.pop("optimizer", {}),
    }
    return parse_config(TrainConfig, values | fields)


@cache
def _dataset(key: str) -> Dataset:
    return load_dataset(TrainConfig.model_validate_json(key).data)


def device_data(config: TrainConfig) -> DeviceData:
    """The configuration's data set on its device."""
    bare = TrainConfig(data=config.data)
    return DeviceData(_dataset(bare.model_dump_json()), torch.device(config.device))


def training(config: TrainConfig, **options: Any) -> ImageTraining:
    """A fresh run of ``config``."""
    return ImageTraining(config, device_data(config), **options)


def run(config: TrainConfig) -> tuple[list[EpochMetrics], ImageTraining]:
    """The whole run: its history and its end."""
    under_way = training(config)
    return list(train_epochs(under_way)), under_way


def same_weights(one: ImageTraining, other: ImageTraining) -> bool:
    """Whether two runs' parameters and buffers are equal bit for bit."""
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def baseline_config(config: TrainConfig) -> TrainConfig:
    """The same training without noise."""
    return config.model_copy(update={"noise": NoiseConfig()})
