"""A study searches for, and decides by, a metric of one's own: run, killed, confirmed, read."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.analysis import main as noise_analysis
from study.campaigns.confirmation import load_confirmation
from study.campaigns.verify import verify_study
from study.commands.study import main as noise_study
from study.records.folder import StudyFolder
from study.records.ledger_view import TrialRecord, read_ledger
from study.records.storage import Storage
from tests.support.study_processes import ROOT, count, study_process, wait_until

METRIC = """
from trainables.metric_config import metric

@metric("min", "euros", worst=5.0, margin=0.02)
def cost(logits, labels):
    wrong = logits.argmax(1) != labels
    return (wrong * (1.0 + labels)).mean()
"""
RANGES = [
    *("--range", "noise/signals=val_loss_plateau", "--range", "noise/plateau_delta=5"),
    *("--range", "noise/warmup_epochs=3"),
]
STUDY = [
    *("run", "--metric", "metric_of_mine:cost", "--objective", "tail_val_cost"),
    *("--decide-by", "final_test_cost", "--metric", "macro_f1", "--space", "adaptive_noise"),
    *("--dataset", "synthetic", "-c", "TinyCNN"),
    *("--synthetic-train", "240", "--synthetic-test", "100"),
    *("--epochs", "7", "--trials", "2", "--batch-size", "64", "--lr", "0.05"),
    *("--race-seeds", "1", "--baseline-seeds", "1", "--max-concurrent", "1"),
]


def trials(folder: Path, name: str) -> dict[str, TrialRecord]:
    ledger = StudyFolder.of(Storage.of(str(folder / "studies")), name).ledger
    return dict(read_ledger(ledger).trials)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metric_of_mine.py").write_text(METRIC)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("metric_of_mine", None)


@pytest.mark.slow
def test_a_metric_of_ones_own_from_the_search_to_the_report(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = ["--storage", str(work / "studies")]
    ledger = work / "studies" / "mine" / "ledger.jsonl"
    line = [*STUDY, *RANGES, "--name", "mine", *where]
    with study_process(line) as process:
        wait_until(lambda: count(ledger, '"trial":"trial-0001"') > 1, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert noise_study(["resume", "mine", *where]) == 0
    mine = trials(work, "mine")
    settings = [mine[f"trial-000{number}"].overrides for number in range(2)]
    (work / "settings.json").write_text(json.dumps(settings))
    again = [*STUDY, "--name", "whole", *where, "--fork", "never", "--configs", "settings.json"]
    assert noise_study(again) == 0
    whole = trials(work, "whole")
    assert mine.keys() == whole.keys()
    assert mine["trial-0000"].fork_epoch
    assert whole["trial-0000"].fork_epoch is None
    for key, record in mine.items():
        assert str(record.history) == str(whole[key].history)
        assert record.values == whole[key].values
        assert set(record.history[-1].own) == {"val_cost", "val_macro_f1"}
        assert "test_cost" not in record.values
    costs = [r.values["tail_val_cost"] for r in mine.values() if r.role == "trial"]
    summary = json.loads((work / "studies" / "mine" / "summary.json").read_text())
    assert summary["trials"][0]["value"] == min(costs)
    assert "Searched for tail_val_cost (in euros, less is better)" in ledger.read_text()

    words = ["confirm", "mine", *where, "--top", "1", "--seeds", "2"]
    assert noise_study(words) == 0
    confirmed = load_confirmation(str(work / "studies"), "mine")
    assert confirmed.margin.words == "0.02 euros"
    for verb in ("report", "export", "confirm"):
        assert noise_analysis([verb, "mine", *where]) == 0
    told: dict[str, Any] = json.loads((work / "studies/mine/confirm.json").read_text())
    assert told["decide_by"] == "final_test_cost"
    [trial] = told["trials"]
    row = trial["against_baseline"]["final_test_cost"]
    assert row["better"] == "lower"
    assert trial["against_baseline"]["final_test_macro_f1"]["better"] == "higher"
    assert "final_test_cost" in trial["placebo_effect"]
    pages = [*(work / "studies" / "mine").rglob("*.html"), *(work / "studies/mine").rglob("*.md")]
    assert any("final test cost" in page.read_text() for page in pages)
    assert any("lower is better" in page.read_text() for page in pages)
    table = (work / "studies" / "mine" / "export" / "trials.csv").read_text()
    assert "tail_val_cost" in table
    assert "final_val_macro_f1" in table
    assert not verify_study(str(work / "studies"), "mine").findings

    # Another source would be another metric.
    (work / "metric_of_mine.py").write_text(METRIC.replace("1.0 +", "2.0 +"))
    sys.modules.pop("metric_of_mine", None)
    before = ledger.read_text()
    capfd.readouterr()
    for again in (["resume", "mine", *where, "--trials", "+1"], line):
        assert noise_study(again) == 2
        assert "metric_of_mine" in capfd.readouterr().err
    assert ledger.read_text() == before
