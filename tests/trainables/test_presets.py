"""The presets against the tables that they come from, value by value."""

import pytest

from trainables.config import TrainConfig, setting_paths
from trainables.errors import InputError
from trainables.presets import paper, paper_as_run, readme, run_preset

# path → (the README's default, the report's value); a missing second value: the README's.
TABLE = {
    "data/dataset": ("cifar10",),
    "data/data_dir": ("./data/cifar10",),
    "data/download": (False,),
    "data/split": ("holdout", "reference"),
    "data/subset": (1.0,),
    "data/batch_size": (128, 256),
    "data/workers": (4, 6),
    "data/flip": (True,),
    "model/classifier": ("resnet18",),
    "model/download_weights": (False,),
    "optimizer/optimizer": ("SGD",),
    "optimizer/lr": (1e-2,),
    "optimizer/weight_decay": (1e-3, 1e-4),
    "optimizer/momentum": (0.9,),
    "optimizer/beta1": (0.9,),
    "optimizer/beta2": (0.999,),
    "optimizer/lr_restart_period": (50,),
    "noise/policy": ("on_stagnation",),
    "noise/magnitude": (0.01,),
    "noise/magnitude_min": (0.01,),
    "noise/magnitude_extra": (0.09, 0.04),
    "noise/schedule": ("constant", "cosine"),
    "noise/distribution": ("gaussian",),
    "noise/scaling": ("relative", "absolute"),
    "noise/layers": ((),),
    "noise/permanent": (False, True),
    "noise/patience": (5, None),
    "noise/window": (5, 10),
    "noise/warmup_epochs": (10, 70),
    "noise/overfit_epochs": (3,),
    "noise/plateau_delta": (1e-4,),
    "noise/grad_plateau_threshold": (0.05, 0.025),
    "noise/weight_update_threshold": (1e-4, 5e-4),
    "noise/trigger_epochs": (3, 1),
    "noise/max_injection_epochs": (10,),
    "noise/cooldown_min": (5, 3),
    "noise/cooldown_extra": (10, 7),
    "epochs": (100, 300),
    "seed": (0,),
    "threads": (1,),
    "precision": ("fp32",),
}


def value_at(config: TrainConfig, path: str) -> object:
    value: object = config
    for part in path.split("/"):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("path", TABLE)
def test_each_setting_of_readme_and_paper(path: str) -> None:
    assert value_at(readme(), path) == TABLE[path][0]
    assert value_at(paper(), path) == TABLE[path][-1]


def test_paper_as_run_swaps_warm_up_and_window_and_nothing_else() -> None:
    differing = {
        path: (value_at(paper(), path), value_at(paper_as_run(), path))
        for path in setting_paths()
        if value_at(paper(), path) != value_at(paper_as_run(), path)
    }
    assert differing == {"noise/warmup_epochs": (70, 10), "noise/window": (10, 70)}


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'paper'"):
        run_preset("papper")
