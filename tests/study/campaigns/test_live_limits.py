"""A study is asked while it runs: limits that change, runs and studies that stop."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.commands.study import main
from study.config import StudyConfig
from study.records.ledger_view import LedgerState, read_ledger
from study.tune.connect import ray_session
from tests.support.study_processes import (
    alive,
    family,
    optuna_states,
    study_process,
    summary_of,
    wait_until,
)

BASE = (
    *("--dataset", "synthetic", "--synthetic-train", "2000", "--synthetic-test", "100"),
    *("--batch-size", "32", "--lr", "0.02", "--epochs", "30", "--space", "static_noise"),
    *("--baseline-seeds", "1", "--max-concurrent", "2", "--race-seeds", "1"),
)


def ledger(folder: Path) -> LedgerState:
    return read_ledger(folder / "ledger.jsonl")


def running(folder: Path, epochs: int = 2) -> list[str]:
    """The trials that run and have trained some epochs."""
    records = ledger(folder).by_role("trial")
    return [r.key for r in records if not r.finished and r.epochs_trained >= epochs]


@pytest.mark.slow
def test_a_study_does_what_it_is_asked_and_a_resume_keeps_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, place = tmp_path / "s", ["s", "--storage", str(tmp_path)]
    run = ["run", "--name", *place, "--trials", "12", *BASE]
    with study_process(run) as process:
        wait_until(lambda: bool(running(folder)), process)
        stopped = running(folder)[0]
        asked = time.monotonic()
        assert main(["stop", *place, "--trial", stopped]) == 0
        assert "stopped by hand" in capsys.readouterr().out
        wait_until(lambda: ledger(folder).trials[stopped].finished, process)
        assert time.monotonic() - asked < 30
        # What can't be is refused, and nothing changes.
        assert main(["set", *place, "--trials", "1"]) == 2
        assert "have begun already" in capsys.readouterr().err
        assert main(["stop", *place, "--trial", stopped]) == 2
        assert "has ended already (failed)" in capsys.readouterr().err
        assert main(["stop", *place, "--trial", "baseline-seed0"]) == 2
        assert json.loads((folder / "study.json").read_text())["trials"] == 12
        assert main(["set", *place, "--trials", "6", "--max-concurrent", "1"]) == 0
        assert "trials = 6 (it was 12)" in capsys.readouterr().out
        everyone = family(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_until(lambda: not alive(everyone))
    begun = [record.key for record in ledger(folder).by_role("trial")]
    assert 2 <= len(begun) <= 6
    with study_process(["resume", *place]) as process:
        wait_until(lambda: len(running(folder, 0)) > 0 and ended(folder) > 1, process)
        assert main(["stop", *place]) == 0
        assert process.wait(120) == 130
    assert main(["stop", *place]) == 2
    assert "the study is not running" in capsys.readouterr().err
    with study_process(["resume", *place]) as process:
        assert process.wait(240) == 0
    summary = summary_of(folder)
    states = {trial["trial_id"]: trial["state"] for trial in summary["trials"]}
    assert states.pop(stopped) == "failed"
    assert sorted(states.values()) == ["complete"] * 5
    [reason] = [t["reason"] for t in summary["trials"] if t["trial_id"] == stopped]
    assert reason.startswith("stopped by hand after ")
    assert sorted(optuna_states(folder)) == ["COMPLETE"] * 5 + ["FAIL"]
    # Nothing that was asked is left over, and what was done is on record.
    assert [*(folder / "requests").iterdir()] == []
    study = ledger(folder).study
    assert study is not None
    assert len([tag for tag in study.tags if tag.startswith("request.")]) == 3


def ended(folder: Path) -> int:
    return sum(record.finished for record in ledger(folder).by_role("trial"))
