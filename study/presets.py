"""Presets of studies: functions that return a whole configuration."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from study.config import StudyConfig
from trainables.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from trainables.data_changes import check_folder, photo_defaults
from trainables.errors import InputError, nearest
from trainables.settings import merge


def standard() -> StudyConfig:
    """What each option's default is: BabyCNN on the embedded digits."""
    epochs = 30
    return StudyConfig(
        trials=16,
        train=TrainConfig(
            data=DataConfig(dataset="digits", batch_size=64),
            model=ModelConfig(classifier="BabyCNN"),
            # A period of the whole budget: one cosine, with no restart that looks like a signal.
            optimizer=OptimizerConfig(lr=0.01, lr_restart_period=epochs),
            epochs=epochs,
            clean_gap=True,
        ),
    )


def quickstart() -> StudyConfig:
    """Half a minute on two cores: a deep network on the digits that noise alone gets off chance."""
    # With 30 epochs some runs are not free yet, and two fresh seeds then show nothing.
    base, epochs = standard(), 45
    train = TrainConfig(
        data=DataConfig(dataset="digits", batch_size=128),
        model=ModelConfig(classifier="DeepMLP"),
        optimizer=base.train.optimizer.model_copy(
            update={"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "lr_restart_period": epochs}
        ),
        epochs=epochs,
        clean_gap=base.train.clean_gap,
    )
    return base.model_copy(update={"name": "quickstart", "race_seeds": 3, "train": train})


def cifar10() -> StudyConfig:
    """Hours on two cores: BabyCNN on CIFAR-10, forty trials of sixty epochs."""
    base = standard()
    data = DataConfig(dataset="cifar10", batch_size=256)
    optimizer = base.train.optimizer.model_copy(update={"lr_restart_period": 60})
    train = base.train.model_copy(update={"data": data, "epochs": 60, "optimizer": optimizer})
    return base.model_copy(update={"name": "cifar10", "train": train, "trials": 40})


def thorough() -> StudyConfig:
    """The standard with as many runs that tune the baseline as trials, and a confirmation."""
    base = standard()
    changed = {"name": "thorough", "tune_baseline": base.trials, "confirm": "6..20"}
    return base.model_copy(update=changed)


PRESETS: dict[str, Callable[[], StudyConfig]] = {
    "standard": standard,
    "quickstart": quickstart,
    "cifar10": cifar10,
    "thorough": thorough,
}
"""All presets of studies by name."""


def get_preset(name: str) -> StudyConfig:
    if name not in PRESETS:
        raise InputError(f"preset = {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]()


def with_one_cosine(values: dict[str, Any], *sources: object) -> dict[str, Any]:
    """One cosine over the budget, unless one of the sources (a file, the options) says otherwise.

    A budget that ends in the middle of a cosine is a trap. ``values`` are not yet validated.
    """
    period = ("train", "optimizer", "lr_restart_period")
    if any(_part(given, *period) is not None for given in sources):
        return values
    epochs = _part(values, "train", "epochs")
    # A wrong budget is answered for itself, and not for a period that nobody asked for, too.
    if not _is_budget(epochs) or not isinstance(_part(values, "train", "optimizer"), dict):
        return values
    return merge(values, {"train": {"optimizer": {"lr_restart_period": epochs}}})


def with_photos_as_now(
    values: dict[str, Any], from_file: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Photos are decoded as new ones should be, unless file or options say otherwise.

    ``values`` are not yet validated.
    """
    data = _part(values, "train", "data")
    if not isinstance(data, dict):
        return values
    where = ("train", "data")
    check_folder(data, _part(given, *where))
    changes = photo_defaults(data, _part(from_file, *where), _part(given, *where))
    return merge(values, {"train": {"data": changes}})


def with_equal_budgets(
    values: dict[str, Any], preset: Mapping[str, Any], *sources: Mapping[str, Any]
) -> dict[str, Any]:
    """As many runs for the baseline as trials, where the preset has it so and only those are given.

    ``values`` are not yet validated.
    """
    trials = str(values.get("trials"))
    given = {name for source in sources for name in source}
    equal = preset["tune_baseline"] == preset["trials"]
    if not equal or "trials" not in given or "tune_baseline" in given or not trials.isdecimal():
        return values
    return {**values, "tune_baseline": max(4, int(trials))}


def _part(values: object, *path: str) -> object:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _is_budget(epochs: object) -> bool:
    try:
        number = float(epochs) if isinstance(epochs, (str, int, float)) else math.nan
        return number >= 1 and number.is_integer()
    except ValueError:
        return False
