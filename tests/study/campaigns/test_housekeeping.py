"""The list of studies: one that is damaged hides no other, and verdicts are listed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from study.campaigns import housekeeping
from study.campaigns.experiment_grid import ExperimentConfig
from study.commands.study import main
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.json_files import write_json
from tests.study.campaigns.test_search_result import summary, trial
from trainables.errors import InputError


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


@pytest.mark.parametrize(
    ("verdicts", "shown"),
    [
        (None, "–"),
        ({"trial-0000": "better"}, "better"),
        # The best one's alone.
        ({"trial-0001": "better", "trial-0000": "undecided"}, "undecided"),
        ({"trial-0001": "worse", "trial-0002": "equivalent"}, "trial-0001 worse, trial-0002 equi"),
        (InputError("no such trial"), "damaged: no such trial"),
    ],
)
def test_the_verdict_on_the_best_trial_is_listed(
    verdicts: dict[str, str] | InputError | None,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = StudyFolder.of(tmp_path, "mine")
    folder.path.mkdir()
    folder.write_config(StudyConfig(name="mine"))
    write_json(folder.summary, summary(trial(0), trial(1)).model_dump(mode="json"))

    def confirmation(*_: object) -> object:
        if isinstance(verdicts, InputError):
            raise verdicts
        return verdicts

    def judged(found: dict[str, str]) -> dict[str, SimpleNamespace]:
        return {name: SimpleNamespace(word=word) for name, word in found.items()}

    monkeypatch.setattr(housekeeping, "confirmation_of", confirmation)
    monkeypatch.setattr(housekeeping, "by_verdict", judged)
    (line,) = housekeeping.list_studies(tmp_path)
    assert (line.best, line.gain) == ("trial-0000", "-1.4500")
    assert line.confirmed.startswith(shown)
