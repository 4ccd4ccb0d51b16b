"""A study with a recipe of its own: forked or not, killed and resumed, confirmed, exported."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.analysis import main as noise_analysis
from study.campaigns.verify import verify_study
from study.commands.study import main as noise_study
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from study.records.storage import Storage
from tests.support.study_processes import check_whole, count, study_process, wait_until
from trainables.config import TrainConfig
from trainables.loop import train_epochs
from trainables.settings import parse_config

OWN = "tests.support.own_recipes"
BASE = (
    *("--dataset", "digits", "--subset", "0.3", "-b", "32", "--epochs", "8", "--seed", "3"),
    *("--baseline-seeds", "1", "--max-concurrent", "1", "--race-seeds", "1"),
)
BUILT_IN = (
    *("--optimizer", "AdamW", "--lr", "0.002", "--lr-schedule", "one-cycle"),
    *("--lr-warmup-epochs", "1", "--clip-norm", "1", "--label-smoothing", "0.1"),
    *("--ema", "0.95", "--accumulate", "2", "--slice", "7", "--augment", "trivial"),
)
OWN_PARTS = (
    *("--optimizer", f"{OWN}:SignMomentum", "--lr", "0.001"),
    *("--lr-schedule", f"{OWN}:inverse_root", "--augment", f"{OWN}:erase"),
)
EAGER: dict[str, Any] = {
    "noise/warmup_epochs": 3,
    "noise/window": 2,
    "noise/trigger_epochs": 1,
    "noise/grad_plateau_threshold": 10.0,
}
GIVEN: tuple[dict[str, Any], ...] = (
    {**EAGER, "noise/magnitude_min": 0.5},
    {"noise/policy": "always", "noise/kind": "label", "noise/magnitude": 0.2},
    {**EAGER, "noise/warmup_epochs": 5, "noise/magnitude_min": 1.0},
)


def ledger_of(folder: Path, name: str) -> LedgerState:
    return read_ledger(StudyFolder.of(Storage.of(str(folder)), name).ledger)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [BUILT_IN, OWN_PARTS], ids=["built-in", "own"])
def test_killed_and_forked_trials_equal_those_from_epoch_0_in_every_metric(
    recipe: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    configs = tmp_path / "configs.json"
    configs.write_text(json.dumps(GIVEN))
    where = ["--storage", str(tmp_path)]

    def words(name: str, *more: str) -> list[str]:
        return ["run", "--name", name, *where, "--configs", str(configs), *BASE, *recipe, *more]

    ledger = tmp_path / "forked" / "ledger.jsonl"
    with study_process(words("forked")) as process:
        wait_until(lambda: count(ledger, '"trial":"trial-000') > 3, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert len([r for r in ledger_of(tmp_path, "forked").by_role("trial") if r.finished]) < 3
    assert noise_study(["resume", "forked", *where]) == 0
    assert noise_study(words("whole", "--fork", "never")) == 0
    forked, whole = (ledger_of(tmp_path, name).trials for name in ("forked", "whole"))
    assert forked.keys() == whole.keys()
    assert len(forked) == 4
    for key, record in forked.items():
        assert record.state == "complete"
        assert record.history == whole[key].history
        assert record.values == whole[key].values
    assert forked["trial-0000"].fork_epoch == 3
    assert forked["trial-0002"].fork_epoch == 5
    assert whole["trial-0000"].fork_epoch is None
    check_whole(tmp_path / "forked")
    # A run alone gives the very same.
    from tests.support.runs import training

    config = parse_config(TrainConfig, dict(forked["trial-0000"].config))
    assert tuple(train_epochs(training(config))) == forked["trial-0000"].history


@pytest.mark.slow
def test_a_baseline_with_a_recipe_of_its_own_is_tuned_confirmed_exported_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    where = ["--storage", str(tmp_path)]
    words = ["run", "--name", "mine", *where, *BASE, *OWN_PARTS, "--trials", "2"]
    assert noise_study([*words, "--tune-baseline", "4", "--ema", "0.9"]) == 0
    trials = ledger_of(tmp_path, "mine").trials
    tuned = [r for r in trials.values() if r.role == "tuning"]
    assert len(tuned) == 4
    assert len({r.config["optimizer"]["lr"] for r in tuned}) > 1
    assert {r.config["optimizer"]["optimizer"] for r in trials.values()} == {OWN_PARTS[1]}
    assert all(r.config["codes"] for r in trials.values())
    assert noise_study(["confirm", "mine", *where, "--top", "1", "--seeds", "2"]) == 0
    for verb in ("report", "export"):
        assert noise_analysis([verb, "mine", *where]) == 0
    assert not verify_study(str(tmp_path), "mine").findings
    # Nobody who did not name it runs it.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another user"))
    capsys.readouterr()
    assert noise_study(["resume", "mine", *where, "--trials", "+1"]) == 2
    said = capsys.readouterr().err
    assert "names code of its own" in said
    assert "--trust" in said
