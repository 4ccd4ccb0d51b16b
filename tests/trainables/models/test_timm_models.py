"""timm's models by name: built, refused in one message, studied."""

import sys
from pathlib import Path

import pytest
import torch

from study.api import run_study
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from study.records.storage import Storage
from trainables.code_identity import is_own
from trainables.config import DataConfig, ModelConfig, TrainConfig
from trainables.data_config import ImageShape
from trainables.errors import InputError
from trainables.models.registry import build_model, check_classifier, check_layers, check_pretrained


@pytest.mark.parametrize(
    "name", ["timm:test_resnet", "timm:test_vit", "timm:mobilenetv3_small_050"]
)
@pytest.mark.parametrize("shape", [ImageShape(32, 3), ImageShape(64, 1)])
def test_a_model_takes_the_images_that_it_is_built_for(name: str, shape: ImageShape) -> None:
    size = check_classifier(name, shape)
    assert size is not None
    torch.manual_seed(0)
    model = build_model(name, 7, shape)
    assert model.training
    assert model(torch.zeros(2, shape.channels, shape.size, shape.size)).shape == (2, 7)
    torch.manual_seed(0)
    for one, again in zip(
        model.parameters(), build_model(name, 7, shape).parameters(), strict=True
    ):
        assert torch.equal(one, again)


def test_it_is_no_code_of_ones_own() -> None:
    assert not is_own("timm:resnet18")
    assert is_own("mine:timm")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:resnet81", "timm has no such model; did you mean 'resnet18'?"),
        ("timm:", "timm has no such model"),
        ("timm:Ωμ", "timm has no such model"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        check_classifier(name)
    assert told in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_size_that_a_model_can_not_take_is_refused_beforehand() -> None:
    # Its patches are of 16 pixels.
    with pytest.raises(InputError, match=r"--image-size\) = 40.*can't take such images"):
        check_classifier("timm:test_vit", ImageShape(40, 3))


def test_layers_are_checked_and_weights_are_not_fetched() -> None:
    check_layers("timm:test_resnet", ["conv1"])
    with pytest.raises(InputError, match="nowhere"):
        check_layers("timm:test_resnet", ["nowhere"])
    with pytest.raises(InputError, match="only for torchvision's classifiers"):
        check_pretrained("timm:test_resnet")


def test_without_timm_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'noise-study\[timm\]'"):
        check_classifier("timm:resnet18")


LATE = {
    "noise/signals": ["low_weight_update"],
    "noise/weight_update_threshold": 1e3,
    "noise/warmup_epochs": 2,
    "noise/window": 2,
    "noise/trigger_epochs": 1,
}
"""Noise from the third epoch on."""


@pytest.mark.slow
def test_a_study_forks_it_exactly(tmp_path: Path) -> None:
    def ran(fork: str) -> LedgerState:
        config = StudyConfig(
            name=fork,
            storage=str(tmp_path),
            train=TrainConfig(
                data=DataConfig(dataset="digits", subset=0.1, batch_size=32),
                model=ModelConfig(classifier="timm:test_resnet"),
                epochs=4,
            ),
            configs=(LATE,),
            baseline_seeds=1,
            race_seeds=1,
            fork=fork,
        )
        run_study(config)
        return read_ledger(StudyFolder.of(Storage.of(str(tmp_path)), fork).ledger)

    forked, never = ran("auto"), ran("never")
    assert forked.trials["trial-0000"].fork_epoch == 2
    for key, trial in never.trials.items():
        assert trial.finished
        assert str(forked.trials[key].history) == str(trial.history)
        assert forked.trials[key].values == trial.values
