import hashlib
import re
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from trainables.config import ModelConfig
from trainables.data_config import FIRST_SHAPE, ImageShape
from trainables.errors import InputError
from trainables.models.pretrained import (
    check_pretrained,
    check_stored,
    checked_weights,
    load_pretrained,
    load_weights,
    what_fits,
)
from trainables.models.registry import build_model
from trainables.models.stored_weights import unwrapped


@pytest.fixture
def download(tmp_path, monkeypatch):
    """Make torch.hub's download write ``download.state``, or raise ``download.error``."""

    class Download:
        state = None
        error = None
        calls = 0

        def __call__(self, url, dst, hash_prefix=None, progress=True):
            self.calls += 1
            assert url.startswith("https://download.pytorch.org/")
            if self.error is not None:
                raise self.error
            torch.save(self.state, dst)

    fake = Download()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.download_url_to_file", fake)
    return fake


def test_pretrained_tensors_that_fit_are_loaded_and_the_rest_named(download):
    torch.manual_seed(1)
    download.state = torchvision.models.resnet18(num_classes=1000).state_dict()
    model = build_model("resnet18", 10)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    report = load_pretrained(model, "resnet18")
    assert report.skipped == {
        "conv1.weight": "stored 64×3×7×7, the model's 64×3×3×3",
        "fc.weight": "stored 1000×512, the model's 10×512",
        "fc.bias": "stored 1000, the model's 10",
    }
    assert set(report.loaded) == set(before) - set(report.skipped)
    for key, tensor in model.state_dict().items():
        expected = before[key] if key in report.skipped else download.state[key]
        assert torch.equal(tensor, expected), key
    assert "119 tensors loaded" in report.summary()
    assert "conv1.weight" in report.summary()
    load_pretrained(build_model("resnet18", 10), "resnet18")
    assert download.calls == 1


def test_pretrained_files_may_hold_more_or_less_than_the_model(download):
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    del state["layer1.0.conv1.weight"]
    download.state = {**state, "aux.weight": torch.zeros(3)}
    report = load_pretrained(build_model("resnet18", 10), "resnet18")
    assert set(report.skipped) == {"aux.weight", "layer1.0.conv1.weight", "conv1.weight"}
    assert report.skipped["aux.weight"] == "not in the model"
    assert report.skipped["layer1.0.conv1.weight"] == "not in the file"


def test_pretrained_densenets_of_the_old_names_are_loaded(download):
    model = build_model("densenet121", 10)
    new = torchvision.models.densenet121(num_classes=1000).state_dict()
    # torchvision's files still have the names of torch 0.3.
    pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
    download.state = {pattern.sub(r"\1.\2.", key): tensor for key, tensor in new.items()}
    assert set(download.state) != set(new)
    report = load_pretrained(model, "densenet121")
    assert set(report.skipped) == {
        "features.conv0.weight",
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize(
    "error", [URLError("no route to host"), ConnectionResetError("reset"), RuntimeError("hash")]
)
def test_pretrained_offline_is_one_clear_message(download, tmp_path, error):
    download.error = error
    model = build_model("resnet18", 10)
    before = model.conv1.weight.clone()
    with pytest.raises(InputError) as info:
        load_pretrained(model, "resnet18")
    message = str(info.value)
    assert "\n" not in message
    assert "https://download.pytorch.org/models/resnet18" in message
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "resnet18") in message
    assert "--download-weights" in message
    assert torch.equal(model.conv1.weight, before)


def test_pretrained_weights_that_do_not_exist_are_refused(download):
    for name in ("BabyCNN", "TinyCNN", "SimpleCNN", "mine.nets:good"):
        with pytest.raises(InputError, match="no pre-trained weights"):
            check_pretrained(name)
        with pytest.raises(InputError, match="no pre-trained weights"):
            load_pretrained(nn.Linear(1, 1), name)
    check_pretrained("mobilenet_v2")
    assert download.calls == 0


# Weights from a file


@pytest.mark.parametrize(
    ("names", "unwrapped_names"),
    [
        (["a", "b"], [["a", "b"]]),
        (["module.a", "module.b"], [["module.a", "module.b"], ["a", "b"]]),
        (["_orig_mod.a"], [["_orig_mod.a"], ["a"]]),
        (["model.module.a"], [["model.module.a"], ["module.a"], ["a"]]),
        (["module.a", "b"], [["module.a", "b"]]),
        (["module.a", "model.b"], [["module.a", "model.b"]]),
    ],
    ids=["none", "all", "one tensor", "nested", "a lone name", "different ones"],
)
def test_only_what_wraps_every_name_is_taken_off(names, unwrapped_names) -> None:
    stored = {name: torch.zeros(1) for name in names}
    assert [list(each) for each in unwrapped(stored)] == unwrapped_names


def _write(path: Path, found: object) -> ModelConfig:
    torch.save(found, path)
    return ModelConfig(classifier="BabyCNN", weights=str(path))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": {f"module.{k}": t for k, t in state.items()}},
        lambda state: {"model_state_dict": {f"model._orig_mod.{k}": t for k, t in state.items()}},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    ],
    ids=["bare", "data-parallel", "lightning-and-compiled", "checkpoint"],
)
def test_weights_of_a_file_are_loaded_whatever_wraps_their_names(tmp_path: Path, wrapped) -> None:
    torch.manual_seed(1)
    state = build_model("BabyCNN", 10).state_dict()
    config = checked_weights(_write(tmp_path / "w.pt", wrapped(state)), FIRST_SHAPE)
    torch.manual_seed(2)
    model = build_model("BabyCNN", 10)
    report = load_weights(model, config)
    assert report.skipped == {}
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert str(tmp_path / "w.pt") in report.summary()


def test_weights_of_other_classes_and_colours_are_loaded_as_far_as_they_fit(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = build_model("BabyCNN", 100).state_dict()
    config = checked_weights(_write(tmp_path / "w.pt", state), ImageShape(32, 1))
    model = build_model("BabyCNN", 10, ImageShape(32, 1))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    report = load_weights(model, config)
    assert set(report.skipped) == {"fc1.weight", "fc1.bias"}
    assert torch.equal(model.fc1.weight, before["fc1.weight"])
    assert torch.equal(model.conv1.weight, state["conv1.weight"].sum(1, keepdim=True))


def test_what_fits_is_told_without_reading_the_file_again(tmp_path: Path) -> None:
    """It may be large, and is hashed whenever it is read."""
    grey = ImageShape(32, 1)
    file = tmp_path / "w.pt"
    config = checked_weights(_write(file, build_model("BabyCNN", 100).state_dict()), grey)
    loaded = load_weights(build_model("BabyCNN", 10, grey), config)
    file.unlink()
    assert what_fits(config, grey, 10) == loaded
    assert what_fits(config, grey, 100).skipped == {}


def test_timms_weights_are_read_from_safetensors(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    stored = timm.create_model("test_resnet", pretrained=False, num_classes=1000)
    save_file(stored.state_dict(), tmp_path / "model.safetensors")
    config = ModelConfig(classifier="timm:test_resnet", weights=str(tmp_path / "model.safetensors"))
    shape = ImageShape(64, 1)
    model = build_model("timm:test_resnet", 10, shape)
    report = load_weights(model, checked_weights(config, shape))
    assert set(report.skipped) == {"fc.weight", "fc.bias"}
    first = stored.state_dict()["conv1.0.weight"].sum(1, keepdim=True)
    assert torch.equal(model.state_dict()["conv1.0.weight"], first)


def test_a_file_that_was_changed_since_it_was_recorded_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    model = build_model("BabyCNN", 10)
    recorded = checked_weights(_write(file, model.state_dict()), FIRST_SHAPE)
    assert recorded.content == hashlib.sha256(file.read_bytes()).hexdigest()
    check_stored(recorded)
    _write(file, build_model("BabyCNN", 10).state_dict())
    for use in (
        check_stored,
        lambda config: checked_weights(config, FIRST_SHAPE),
        lambda config: load_weights(model, config),
    ):
        with pytest.raises(InputError, match=r"--weights.*not the file that .*model\.content"):
            use(recorded)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "can't be read: No such file"),
        (b"", "can't be read as weights"),
        (b"PK\x03\x04 no archive", "can't be read as weights"),
        ([1, 2], r"holds no model's weights \(a list\)"),
        ({"a": torch.zeros(2)}, r"none of its 1 tensors \(a, …\).*BabyCNN"),
        ({"conv1.weight": torch.zeros(2)}, "none of its 1 tensors"),
        ({"state_dict": {"a": 1}}, "holds no model's weights"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_with_the_remedy(
    tmp_path: Path, content: object, told: str
) -> None:
    file = tmp_path / "w.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(InputError, match=told) as refused:
        checked_weights(ModelConfig(classifier="BabyCNN", weights=str(file)), FIRST_SHAPE)
    assert "\n" not in str(refused.value)
    assert "model.weights (--weights)" in str(refused.value)


def test_a_damaged_safetensors_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 40)
    for name, told in (("w.safetensors", "as safetensors"), ("", "can't be read: ")):
        config = ModelConfig(classifier="BabyCNN", weights=str(tmp_path / name))
        with pytest.raises(InputError, match=told):
            checked_weights(config, FIRST_SHAPE)


def test_a_counter_alone_is_no_weight_of_the_classifier(tmp_path: Path) -> None:
    torch.save({"bn1.num_batches_tracked": torch.tensor(3)}, tmp_path / "w.pt")
    config = ModelConfig(classifier="resnet18", weights=str(tmp_path / "w.pt"))
    with pytest.raises(InputError, match="none of its 1 tensors"):
        checked_weights(config, FIRST_SHAPE)


@pytest.mark.parametrize("path", ["", "a\0b", "~nobody_such/w.pt"])
def test_paths_that_can_not_be_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="--weights"):
        checked_weights(ModelConfig(classifier="BabyCNN", weights=path), FIRST_SHAPE)


def test_nothing_in_a_file_of_weights_is_executed(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    with pytest.raises(InputError, match="can't be read as weights"):
        checked_weights(_write(tmp_path / "w.pt", {"a": Runs()}), FIRST_SHAPE)
    assert not (tmp_path / "ran").exists()


def test_two_sources_of_weights_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match=r"--weights.*--download-weights"):
        ModelConfig(classifier="resnet18", weights="w.pt", download_weights=True)
