"""timm's models by name: built, refused in one message, trained and forked."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from study.commands.test import main as noise_test
from tests.support.runs import (
    EAGER,
    baseline_config,
    run,
    same_weights,
    small_config,
    training,
)
from tests.support.single_runs import OFF, train
from trainables.checkpoint import decode, encode
from trainables.code_identity import is_own
from trainables.data_config import ImageShape
from trainables.errors import InputError
from trainables.loop import train_epochs
from trainables.models.pretrained import check_pretrained
from trainables.models.registry import build_model, check_classifier, check_layers


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


def test_it_is_forked_and_resumed_exactly() -> None:
    model = {"classifier": "timm:test_resnet"}
    config = small_config(EAGER, model=model)
    whole, end = run(config)
    begins = next(row.epoch for row in whole if row.injected)
    # Up to there it is the baseline, whose checkpoint it begins from.
    baseline = training(baseline_config(config))
    epochs = train_epochs(baseline)
    for _ in range(begins):
        next(epochs)
    forked = training(config)
    forked.load_state_dict(decode(encode(baseline.state_dict())))
    list(train_epochs(forked))
    assert begins > 0
    assert forked.history == whole
    assert same_weights(forked, end)


def test_it_is_trained_and_evaluated_by_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = build_model("timm:test_resnet", 1000)
    save_file(stored.state_dict(), tmp_path / "theirs.safetensors")
    words = ["-c", "timm:test_resnet", "--weights", str(tmp_path / "theirs.safetensors")]
    done = train(tmp_path, *OFF, *words, "--lr", "1e-6", "--save-as", "mine.pth")
    content = hashlib.sha256((tmp_path / "theirs.safetensors").read_bytes()).hexdigest()
    assert done.config["model"]["content"] == content
    begun = stored.state_dict()["conv1.0.weight"]
    weights = done.files.folder / "mine.pth"
    ended = torch.load(weights, weights_only=True)["model"]["conv1.0.weight"]
    assert torch.allclose(ended, begun, atol=1e-3)
    capsys.readouterr()
    assert noise_test(["-c", str(weights), "--json", "-g", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == done.final["test_accuracy"]
