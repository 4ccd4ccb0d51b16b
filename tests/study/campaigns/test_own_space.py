"""A study of a space of one's own, with ranges: run, killed, resumed without the code, and read."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.analysis import main as noise_analysis
from search_spaces.ranged import CANNOT_BEGIN
from study.campaigns.verify import verify_study
from study.commands.study import main as noise_study
from study.records.folder import StudyFolder
from study.records.ledger_view import TrialRecord, read_ledger
from study.records.storage import Storage
from tests.support.study_processes import ROOT, count, study_process, wait_until

SPACE = """
from optuna.distributions import FloatDistribution, IntDistribution

def around(base):
    return {
        "description": "when training is stuck",
        "dimensions": {
            "noise/signals": ["stuck", "val_loss_plateau"],
            "noise/patience": IntDistribution(0, 1),
            "noise/plateau_delta": FloatDistribution(0.5, 5.0, log=True),
            "noise/warmup_epochs": IntDistribution(0, base.epochs + 1),
            "noise/window": 2,
            "noise/trigger_epochs": 1,
        },
        "conditions": {
            "noise/patience": {"noise/signals": "stuck"},
            "noise/plateau_delta": {"noise/signals": "val_loss_plateau"},
        },
        # The second begins too late, with the range of the command line.
        "opening": [
            {"noise/signals": "val_loss_plateau", "noise/plateau_delta": 5.0,
             "noise/warmup_epochs": 3},
            {"noise/signals": "stuck", "noise/patience": 1, "noise/warmup_epochs": 9},
        ],
    }
"""

RANGES = [
    *("--range", "noise/magnitude_min=0.05..0.5:log", "--range", "noise/schedule=constant"),
    *("--range", "noise/warmup_epochs=3,9"),
]
STUDY = [
    *("run", "--space", "space_of_mine:around", *RANGES, "--dataset", "synthetic", "-c", "TinyCNN"),
    *("--synthetic-train", "240", "--synthetic-test", "100"),
    *("--epochs", "8", "--trials", "4", "--batch-size", "64", "--lr", "0.05"),
    *("--race-seeds", "1", "--baseline-seeds", "1", "--max-concurrent", "1"),
]


def trials(folder: Path, name: str) -> dict[str, TrialRecord]:
    ledger = StudyFolder.of(Storage.of(str(folder / "studies")), name).ledger
    return {record.key: record for record in read_ledger(ledger).by_role("trial")}


def recorded(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "studies" / name / "summary.json").read_text())
    return found


@pytest.mark.slow
def test_it_goes_on_is_confirmed_and_read_without_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "space_of_mine.py").write_text(SPACE)
    where = ["--storage", str(tmp_path / "studies")]
    ledger = tmp_path / "studies" / "mine" / "ledger.jsonl"
    with study_process(
        [*STUDY, "--name", "mine", *where], {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    ) as process:
        wait_until(lambda: count(ledger, '"trial":"trial-0002"') > 3, process)
        os.killpg(process.pid, signal.SIGKILL)
    # From here on nobody needs the code: the study has what it returned.
    (tmp_path / "space_of_mine.py").unlink()
    assert noise_study(["resume", "mine", *where]) == 0
    killed = trials(tmp_path, "mine")
    assert killed.keys() == {f"trial-000{number}" for number in range(4)}
    trained = [record for record in killed.values() if record.state == "complete"]
    (tmp_path / "settings.json").write_text(json.dumps([r.overrides for r in trained]))
    other = [STUDY[0], *STUDY[3 + len(RANGES) :], *where, "--space", "noise"]
    again = [*other, "--name", "whole", "--fork", "never"]
    assert noise_study([*again, "--configs", str(tmp_path / "settings.json")]) == 0
    for record, alone in zip(trained, trials(tmp_path, "whole").values(), strict=True):
        assert str(record.history) == str(alone.history)
        assert record.values == alone.values
    for record in killed.values():
        assert record.overrides["noise/schedule"] == "constant"
        assert 0.05 <= record.overrides["noise/magnitude_min"] <= 0.5
        assert ("noise/patience" in record.overrides) == (
            record.overrides["noise/signals"] == "stuck"
        )
    assert killed["trial-0000"].fork_epoch == 3
    assert killed["trial-0000"].state == "complete"
    # The opening's second point begins too late: pruned at once, with its reason, and counted.
    late = {key: r for key, r in killed.items() if r.overrides["noise/warmup_epochs"] == 9}
    assert "trial-0001" in late
    for record in late.values():
        assert (record.state, record.history) == ("pruned", ())
        assert record.reason.startswith(f"{CANNOT_BEGIN}: epochs = 8: noise could never begin")
    notes = recorded(tmp_path, "mine")["notes"]
    assert any(f"{len(late)} of 4 trials were pruned before they were trained" in n for n in notes)
    assert any("points drawn from the space noise can't begin" in note for note in notes)

    assert noise_study(["resume", "mine", *where, "--trials", "+1"]) == 0
    assert len(trials(tmp_path, "mine")) == 5
    assert noise_study(["confirm", "mine", *where, "--top", "1", "--seeds", "2"]) == 0
    for verb in ("report", "export", "confirm"):
        assert noise_analysis([verb, "mine", *where]) == 0
    assert not verify_study(str(tmp_path / "studies"), "mine").findings

    capfd.readouterr()
    assert noise_study([*other, "--name", "mine", "--range", "noise/window=3"]) == 2
    assert "stored: 'space_of_mine:around'" in capfd.readouterr().err
