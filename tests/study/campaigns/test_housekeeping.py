"""The list of studies: one that is damaged hides no other."""

from pathlib import Path

import pytest

from study.campaigns.experiment_grid import ExperimentConfig
from study.commands.study import main
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.json_files import write_json


def listed(storage: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The lines of the table by name."""
    assert main(["list", "--storage", str(storage)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    return {words[0]: words[1] for words in lines if len(words) == 2}


def test_a_damaged_study_is_listed_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("mine", "broken", "other"):
        folder = StudyFolder.of(tmp_path, name)
        folder.path.mkdir()
        folder.write_config(StudyConfig(name=name))
    (tmp_path / "broken" / "ledger.jsonl").mkdir()
    (tmp_path / "other" / "study.json").write_text("{")
    grid = StudyFolder.of(tmp_path, "grid")
    grid.path.mkdir()
    write_json(grid.experiment, ExperimentConfig(name="grid").model_dump(mode="json"))
    found = listed(tmp_path, capsys)
    assert found["mine"].split()[:3] == ["empty", "BabyCNN,", "digits"]
    assert found["broken"].startswith("damaged")
    assert found["other"].startswith("damaged")
    assert found["grid"].split()[:2] == ["empty", "grid:"]
