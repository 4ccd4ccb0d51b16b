"""What is looked at on each node of a cluster before anything starts."""

from pathlib import Path

import pytest

from study.tune.probe import look_from_node
from trainables.code_identity import code_identity

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
    assert look_from_node(str(token), "cpu", codes) == ("t", "")
    monkeypatch.chdir(there)
    content, problem = look_from_node(str(token), "cpu", codes)
    assert not content
    assert problem.startswith(f"{NAME}: code_of_ones_own_probed is not there, or another one")
    assert str(there) in problem
    (there / "code_of_ones_own_probed.py").write_text("def net(): return 1\n")
    assert look_from_node(str(token), "cpu", codes)[1] == problem
    assert look_from_node(str(token), "cuda", {})[1]
