"""Presets of studies: functions that return a whole configuration."""

from collections.abc import Callable

from study.config import StudyConfig
from trainables.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from trainables.errors import InputError, nearest


def quickstart() -> StudyConfig:
    """A few minutes on two cores: BabyCNN on the embedded digits."""
    epochs = 30
    return StudyConfig(
        name="quickstart",
        trials=16,
        train=TrainConfig(
            data=DataConfig(dataset="digits", batch_size=64),
            model=ModelConfig(classifier="BabyCNN"),
            # A period of the whole budget: one cosine, with no restart that looks like a signal.
            optimizer=OptimizerConfig(lr=0.01, lr_restart_period=epochs),
            epochs=epochs,
        ),
    )


def cifar10() -> StudyConfig:
    """Hours on two cores: BabyCNN on CIFAR-10, forty trials of sixty epochs."""
    base = quickstart()
    data = DataConfig(dataset="cifar10", batch_size=256)
    optimizer = base.train.optimizer.model_copy(update={"lr_restart_period": 60})
    train = base.train.model_copy(update={"data": data, "epochs": 60, "optimizer": optimizer})
    return base.model_copy(update={"name": "cifar10", "train": train, "trials": 40})


PRESETS: dict[str, Callable[[], StudyConfig]] = {"quickstart": quickstart, "cifar10": cifar10}
"""All presets of studies by name."""


def get_preset(name: str) -> StudyConfig:
    """The preset called ``name``.

    Raises:
        InputError: with the nearest name.
    """
    if name not in PRESETS:
        raise InputError(f"preset = {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]()
