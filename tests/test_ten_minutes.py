"""The sections "Ten minutes, from an empty folder": their files and commands, without training."""

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.campaigns.own_code import checked_with_code
from study.commands.run import study_config
from study.commands.study import main as noise_study
from study.records.folder import StudyFolder, storage_of
from trainables.code_trust import only_named

ROOT = Path(__file__).parents[1]
HEADING = "## Ten minutes, from an empty folder\n"
DOCUMENTS = sorted(path for path in (ROOT / "docs").glob("*.md") if HEADING in path.read_text())
_PARTS = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<content>.*?)^```$", re.M | re.S)


def section(document: Path) -> str:
    return document.read_text().partition(HEADING)[2].partition("\n## ")[0]


def files(text: str) -> dict[str, str]:
    """Name → content of each block that the line before it says to save."""
    parts = [part for part in _PARTS.finditer(text) if part["kind"] != "sh"]
    return {
        re.findall(r"[Ss]ave (?:it|this) as `([\w.]+)`", part["before"])[-1]: part["content"]
        for part in parts
    }


def commands(text: str) -> list[list[str]]:
    """What is typed, in order: in the text before a file, and in blocks of shell."""
    found = re.findall(r"run `(python [^`]+)`", text)
    for part in _PARTS.finditer(text):
        if part["kind"] == "sh":
            found += part["content"].replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in found]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of somebody who trusts nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path, modules = list(sys.path), set(sys.modules)
    yield folder
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == folder:
            del sys.modules[name]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_what_is_saved_and_typed_there_is_a_study(document: Path, work: Path) -> None:
    text = section(document)
    for name, content in files(text).items():
        (work / name).write_text(content)
    studied: set[str] = set()
    for program, *words in commands(text):
        match program, words[0]:
            case "python", script:
                runpy.run_path(script, run_name="__main__")
            case "noise-study", "check-data":
                assert noise_study(words) == 0
            case "noise-study", "run":
                with only_named(words):
                    config = study_config(words[1:])
                    checked_with_code(
                        config, StudyFolder.of(storage_of(config), config.name), False
                    )
                studied.add(config.name)
            case "noise-study" | "noise-analysis", "confirm" | "report":
                # tests/test_readme.py holds the options of these.
                assert words[1] in studied
            case _:
                pytest.fail(f"no such step is known here: {program} {words}")
    assert studied


def test_all_of_them_are_tried() -> None:
    assert len(DOCUMENTS) >= 4
    for document in DOCUMENTS:
        text = section(document)
        assert files(text) or "--range" in text
        assert any(words[:2] == ["noise-study", "run"] for words in commands(text))
