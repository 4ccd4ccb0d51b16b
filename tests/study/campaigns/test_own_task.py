"""A study of a task of one's own: run, killed and resumed, forked or not, confirmed and read."""

import json
import math
import os
import signal
from pathlib import Path

import pytest

from analysis.commands.analysis import main as noise_analysis
from study.api import run_study
from study.campaigns.confirmation import load_confirmation
from study.campaigns.verify import verify_study
from study.commands.study import main as noise_study
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from study.records.storage import Storage
from tests.support import own_tasks
from tests.support.own_tasks import Line, task_config
from tests.support.study_processes import count, study_process, wait_until
from trainables.config import TrainConfig
from trainables.loop import Training, train_epochs
from trainables.settings import parse_config
from trainables.tasks.own_task import own_task

NOISY = (
    {
        "noise/signals": ["low_weight_update"],
        "noise/weight_update_threshold": 1e3,
        "noise/warmup_epochs": 3,
        "noise/window": 2,
        "noise/trigger_epochs": 1,
    },
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 0.1},
)
TASK = "tests.support.own_tasks:Line"


def study_of(kind: type, folder: Path, name: str, **changes: object) -> StudyConfig:
    values = {
        "name": name,
        "storage": str(folder),
        "train": task_config(kind),
        "configs": NOISY,
        "decide_by": "final_test_loss",
        "baseline_seeds": 1,
        **changes,
    }
    return StudyConfig(**values)


def ledger_of(folder: Path, name: str) -> LedgerState:
    return read_ledger(StudyFolder.of(Storage.of(str(folder)), name).ledger)


@pytest.mark.slow
def test_forked_trials_equal_those_from_epoch_0_in_every_metric(tmp_path: Path) -> None:
    run_study(study_of(Line, tmp_path, "forked"))
    run_study(study_of(Line, tmp_path, "whole", fork="never"))
    forked, whole = (ledger_of(tmp_path, name).trials for name in ("forked", "whole"))
    assert forked["trial-0000"].fork_epoch == 3
    assert whole["trial-0000"].fork_epoch is None
    for key in ("baseline-seed0", "trial-0000", "trial-0001"):
        assert str(forked[key].history) == str(whole[key].history)
        assert forked[key].values == whole[key].values
        config = parse_config(TrainConfig, dict(forked[key].config))
        alone = list(train_epochs(Training(config, own_task(config))))
        assert str(tuple(alone)) == str(forked[key].history)
    assert math.isnan(forked["trial-0000"].history[0].val_accuracy)
    assert "tail_val_worst" in forked["trial-0000"].paired_difference


@pytest.mark.slow
def test_what_is_not_repeatable_is_not_forked(tmp_path: Path) -> None:
    summary = run_study(study_of(own_tasks.GoesOnOtherwise, tmp_path, "odd"))
    assert any("not repeatable" in note and "switched off" in note for note in summary.notes)
    assert ledger_of(tmp_path, "odd").trials["trial-0000"].fork_epoch is None
    # The same command goes on with it.
    again = run_study(study_of(own_tasks.GoesOnOtherwise, tmp_path, "odd"))
    assert again.trials == summary.trials


@pytest.mark.slow
def test_a_study_by_commands_killed_resumed_confirmed_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    where = ["--storage", str(tmp_path)]
    words = ["run", "--task", TASK, "--name", "mine", *where, "--epochs", "20", "--trials", "3"]
    words += ["--race-seeds", "1", "--baseline-seeds", "1", "--objective", "tail_val_worst"]
    ledger = StudyFolder.of(Storage.of(str(tmp_path)), "mine").ledger
    with study_process(words) as process:
        wait_until(lambda: count(ledger, '"trial":"trial-000') > 3, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert len([r for r in ledger_of(tmp_path, "mine").by_role("trial") if r.finished]) < 3
    assert noise_study(["resume", "mine", *where]) == 0
    assert len(ledger_of(tmp_path, "mine").by_role("trial")) == 3
    assert noise_study(["confirm", "mine", *where, "--top", "1", "--seeds", "2"]) == 0
    confirmed = load_confirmation(str(tmp_path), "mine")
    assert confirmed.margin.words.endswith("squares")
    assert confirmed.finished
    assert len(confirmed.metrics) == 8
    for verb in ("report", "export", "confirm"):
        assert noise_analysis([verb, "mine", *where]) == 0
    told = json.loads((tmp_path / "mine" / "confirm.json").read_text())
    assert told["decide_by"] == "final_test_loss"
    table = (tmp_path / "mine" / "export" / "trials.csv").read_text()
    assert "tail_val_worst" in table
    assert "accuracy" not in table
    assert not verify_study(str(tmp_path), "mine").findings
