"""What is looked at on each node of a cluster before anything starts."""

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from study.tune.probe import codes_here, look_from_node, reason_and_remedy, streamed_of
from trainables.code_identity import code_identity
from trainables.config import ModelConfig, TrainConfig
from trainables.data.image_sets import load_dataset
from trainables.data.streamed import StreamedImages

NAME = "code_of_ones_own_probed:net"
OWN = TrainConfig.model_validate({"model": {"classifier": NAME}, "device": "cpu"})
PLAIN = TrainConfig(device="cpu")


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forget what this process imported of one's own, and where it looked for it."""
    path = list(sys.path)

    def forget() -> None:
        monkeypatch.delitem(sys.modules, NAME.partition(":")[0], raising=False)
        monkeypatch.setattr(sys, "path", list(path))

    forget()
    return forget


def test_code_that_a_node_lacks_or_has_otherwise_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another_process: Callable[[], None]
) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (here / "code_of_ones_own_probed.py").write_text("def net(): ...\n")
    monkeypatch.chdir(here)
    codes = {NAME: code_identity(NAME)}
    assert look_from_node(str(token), codes, OWN) == ("t", "")
    another_process()
    monkeypatch.chdir(there)
    content, problem = look_from_node(str(token), codes, OWN)
    assert not content
    assert problem.startswith(f"{NAME}: code_of_ones_own_probed is not there, or another one")
    assert str(there) in problem
    (there / "code_of_ones_own_probed.py").write_text("def net(): return 1\n")
    assert look_from_node(str(token), codes, OWN)[1] == problem
    elsewhere = PLAIN.model_copy(update={"device": "cuda"})
    assert look_from_node(str(token), {}, elsewhere)[1]


@pytest.mark.usefixtures("another_process")
@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"model": {"classifier": NAME}}, f"classifier = '{NAME}': importing"),
        ({"measured": [NAME]}, f"metric = '{NAME}': importing"),
        ({"data": {"dataset": NAME, "stream": True}}, f"dataset = '{NAME}': importing"),
        # The driver gives the images: nothing there needs the library.
        ({"data": {"dataset": NAME}}, ""),
    ],
)
def test_a_library_that_code_of_ones_own_misses_on_a_node_is_told(
    named: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    file = tmp_path / "code_of_ones_own_probed.py"
    file.write_text("import no_such_library_anywhere\n\ndef net(): ...\n")
    monkeypatch.chdir(tmp_path)
    train = TrainConfig.model_validate({"device": "cpu", **named})
    problem = look_from_node("token", codes_here(train), train)[1]
    assert problem.startswith(said)
    assert ("no_such_library_anywhere" in problem) is bool(said)


def test_a_node_without_timm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)
    train = TrainConfig.model_validate({"model": {"classifier": "timm:resnet10t"}, "device": "cpu"})
    assert "timm can't be imported" in look_from_node("token", {}, train)[1]


_IMAGES = np.random.default_rng(0).integers(0, 256, (80, 8, 8), np.uint8)


def streamed_data() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    labels = np.arange(40) % 2
    return (_IMAGES[:40], labels), (_IMAGES[40:], labels)


def test_streamed_data_that_a_node_lacks_or_has_otherwise_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.chdir(tmp_path)
    name = f"{__name__}:streamed_data"
    data = {"dataset": name, "image_size": 8, "channels": 1, "stream": True, "batch_size": 8}
    train = TrainConfig.model_validate({"data": data, "device": "cpu"})
    [images] = streamed_of([load_dataset(train.data)])
    assert look_from_node("token", {}, train, [images]) == ("t", "")

    def elsewhere() -> StreamedImages:
        """As another process has it, which has not opened it yet."""
        monkeypatch.setattr("trainables.data.streamed._open", OrderedDict())
        return images

    monkeypatch.setattr(sys.modules[__name__], "_IMAGES", 255 - _IMAGES)
    assert "gives other images" in look_from_node("token", {}, train, [elsewhere()])[1]

    def gone() -> None:
        raise FileNotFoundError("no such folder")

    monkeypatch.setattr(sys.modules[__name__], "streamed_data", gone)
    problem = look_from_node("token", {}, train, [elsewhere()])[1]
    assert name in problem
    assert "no such folder" in problem


def test_what_helps_is_said_beside_the_reason() -> None:
    gone = OSError("Failed to download runtime_env file package gcs://_ray_pkg_e9.zip from the GCS")
    assert "give the same command again" in reason_and_remedy(gone)
    for missing in (ImportError("no module named study"), TimeoutError()):
        assert "install it there" in reason_and_remedy(missing)


def test_weights_that_a_node_lacks_or_has_otherwise_are_told(tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "w.pt"
    token.write_text("t")
    torch.save({"a": torch.zeros(1)}, file)
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    model = ModelConfig(weights=str(file), content=content)
    train = PLAIN.model_copy(update={"model": model})
    assert look_from_node(str(token), {}, train) == ("t", "")
    torch.save({"a": torch.ones(1)}, file)
    assert "is not the file" in look_from_node(str(token), {}, train)[1]
    file.unlink()
    assert "can't be read" in look_from_node(str(token), {}, train)[1]


def test_a_node_is_asked_for_each_code_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code_of_ones_own_probed.py").write_text("def net(): ...\ndef cost(): ...\n")
    monkeypatch.chdir(tmp_path)
    names = {"model": {"classifier": NAME}, "measured": ["code_of_ones_own_probed:cost"]}
    codes = codes_here(TrainConfig.model_validate(names))
    assert codes.keys() == {NAME, "code_of_ones_own_probed:cost"}
    assert all(codes.values())
