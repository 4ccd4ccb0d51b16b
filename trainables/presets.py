"""Presets of single runs: the settings of the reference implementation, as functions.

``readme`` holds the defaults of its README, ``paper`` the tables of its report as published, and
``paper_as_run`` what its published runs really used: their command line handed two arguments over
in the wrong order. Where the report's table has a list (models, learning rates …), a preset for
one run takes the README's value. The policy is ``on_stagnation``, the device the first GPU if
there is one.
"""

from collections.abc import Callable

from trainables.config import DataConfig, ModelConfig, TrainConfig, apply_overrides
from trainables.errors import InputError, nearest
from trainables.noise_config import NoiseConfig


def readme() -> TrainConfig:
    """The defaults of the reference's README: resnet18 on CIFAR-10, 100 epochs."""
    return TrainConfig(
        data=DataConfig(dataset="cifar10", data_dir="./data/cifar10"),
        model=ModelConfig(classifier="resnet18"),
        noise=NoiseConfig(policy="on_stagnation"),
        epochs=100,
        device="auto",
    )


def paper() -> TrainConfig:
    """The report's tables as published: 300 epochs, permanent noise in absolute units."""
    return apply_overrides(
        readme(),
        {
            "epochs": 300,
            "data/batch_size": 256,
            "data/workers": 6,
            "data/split": "reference",
            "optimizer/weight_decay": 1e-4,
            "noise/schedule": "cosine",
            "noise/permanent": True,
            "noise/scaling": "absolute",
            "noise/patience": None,
            "noise/window": 10,
            "noise/warmup_epochs": 70,
            "noise/grad_plateau_threshold": 0.025,
            "noise/weight_update_threshold": 5e-4,
            "noise/magnitude_extra": 0.04,
            "noise/trigger_epochs": 1,
            "noise/cooldown_min": 3,
            "noise/cooldown_extra": 7,
        },
    )


def paper_as_run() -> TrainConfig:
    """``paper`` with warm-up and window swapped, as the reference's published runs had them."""
    return apply_overrides(paper(), {"noise/window": 70, "noise/warmup_epochs": 10})


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "readme": readme,
    "paper": paper,
    "paper-as-run": paper_as_run,
}
"""The presets by their names on the command line."""


def run_preset(name: str) -> TrainConfig:
    if name not in PRESETS:
        raise InputError(f"preset = {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]()
