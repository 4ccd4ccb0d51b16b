"""What is looked at on each node of a cluster before anything starts."""

import hashlib
from pathlib import Path

import pytest
import torch

from study.tune.probe import codes_here, look_from_node, reason_and_remedy
from trainables.code_identity import code_identity
from trainables.config import ModelConfig, TrainConfig

NAME = "code_of_ones_own_probed:net"


def test_code_that_a_node_lacks_or_has_otherwise_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (here / "code_of_ones_own_probed.py").write_text("def net(): ...\n")
    monkeypatch.chdir(here)
    codes = {NAME: code_identity(NAME)}
    assert look_from_node(str(token), "cpu", codes, ModelConfig()) == ("t", "")
    monkeypatch.chdir(there)
    content, problem = look_from_node(str(token), "cpu", codes, ModelConfig())
    assert not content
    assert problem.startswith(f"{NAME}: code_of_ones_own_probed is not there, or another one")
    assert str(there) in problem
    (there / "code_of_ones_own_probed.py").write_text("def net(): return 1\n")
    assert look_from_node(str(token), "cpu", codes, ModelConfig())[1] == problem
    assert look_from_node(str(token), "cuda", {}, ModelConfig())[1]


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
    assert look_from_node(str(token), "cpu", {}, model) == ("t", "")
    torch.save({"a": torch.ones(1)}, file)
    assert "is not the file" in look_from_node(str(token), "cpu", {}, model)[1]
    file.unlink()
    assert "can't be read" in look_from_node(str(token), "cpu", {}, model)[1]


def test_a_node_is_asked_for_each_code_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code_of_ones_own_probed.py").write_text("def net(): ...\ndef cost(): ...\n")
    monkeypatch.chdir(tmp_path)
    names = {"model": {"classifier": NAME}, "measured": ["code_of_ones_own_probed:cost"]}
    codes = codes_here(TrainConfig.model_validate(names))
    assert codes.keys() == {NAME, "code_of_ones_own_probed:cost"}
    assert all(codes.values())
