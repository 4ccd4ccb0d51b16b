"""Code that only a file names is not run: not before it is named or trusted."""

import json
from pathlib import Path

import pytest

from trainables.code_identity import code_identity, remember_named
from trainables.code_trust import check_trusted, is_trusted, only_named, trust_file
from trainables.errors import InputError

NAME = "trusty_net:build"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module, and one for what its user trusts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "trusty_net.py").write_text("def build(n): pass\n")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def refused(words: list[str], name: str = NAME) -> str:
    with only_named(words), pytest.raises(InputError) as info:
        check_trusted(name)
    return str(info.value)


def test_a_program_is_not_asked():
    check_trusted(NAME)


def test_what_only_a_file_names_is_refused_with_the_file_and_the_remedy():
    remember_named("evil.yaml", {"train": {"model": {"classifier": NAME}}})
    message = refused(["run", "--config", "evil.yaml"])
    assert message.startswith("evil.yaml names")
    assert f"classifier = '{NAME}'" in message
    assert f"--trust {NAME}" in message
    assert not trust_file().exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--classifier", NAME],
        [f"-c={NAME}"],
        ["--classifiers", f"BabyCNN,{NAME}"],
        ["--trust", NAME],
    ],
)
def test_what_the_command_line_names_runs_and_is_remembered(words):
    with only_named(words):
        check_trusted(NAME)
    with only_named(["resume", "study"]):
        check_trusted(NAME)
    assert is_trusted(NAME, code_identity(NAME))


def test_trust_is_in_a_source_not_in_a_name(home):
    with only_named([NAME]):
        check_trusted(NAME)
    (home / "work" / "trusty_net.py").write_text("import os\ndef build(n): os._exit(1)\n")
    assert "not the one that you trusted before" in refused(["resume", "study"])
    assert "trusty_net:other" in refused(["resume", "study"], "trusty_net:other")


def test_after_a_command_nothing_is_named_any_more():
    with only_named(["--trust", NAME]):
        pass
    refused([])


@pytest.mark.parametrize("name", ["os:_exit", "trainables.models.registry:os._exit"])
def test_nothing_is_trusted_because_it_is_installed(name):
    assert name in refused(["resume"], name)


def test_what_the_controls_train_needs_no_trust():
    with only_named(["controls"]):
        check_trusted("trainables.models.control_networks:short_mlp")
    refused(["controls"], "trainables.models.control_networks:nn.Module")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"trusty_net:build": "yes"}', "\x00"])
def test_a_damaged_list_trusts_nothing_and_can_be_written_again(content):
    path = trust_file()
    path.parent.mkdir(parents=True)
    path.write_text(content)
    refused(["resume"])
    with only_named([NAME]):
        check_trusted(NAME)
    assert NAME in json.loads(path.read_text())


def test_a_list_that_cannot_be_written_stops_nothing(home):
    (home / "config").write_text("a file, not a folder")
    with only_named([NAME]):
        check_trusted(NAME)
    refused(["resume"])
