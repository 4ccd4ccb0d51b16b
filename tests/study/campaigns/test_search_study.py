"""A study end to end: real Ray, real Optuna, real MLflow on SQLite, real training on digits."""

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console

from study.api import run_study
from study.campaigns.search_parts import early_stopping_note
from study.campaigns.search_result import print_result
from study.commands.study import main
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.indistinct import sharing_best
from study.records.summary import Summary
from tests.study.conftest import COMMAND, EPOCHS, TRIALS
from trainables.config import TrainConfig
from trainables.data.image_sets import load_dataset
from trainables.metrics import OBJECTIVES, STATISTICS
from trainables.noise.assumed import assumed_of
from trainables.settings import parse_config


@pytest.fixture(scope="module")
def storage(searched: Path) -> Path:
    """A storage folder in which the command has run one small study."""
    return searched


@pytest.fixture(scope="module")
def summary(storage: Path) -> dict[str, Any]:
    """Its summary."""
    found: dict[str, Any] = json.loads((storage / "small" / "summary.json").read_text())
    return found


def test_summary_has_every_trial_beside_the_baseline_of_its_seed(summary: dict[str, Any]) -> None:
    assert summary["study"] == "small"
    assert summary["objective"] == {"metric": "best_val_accuracy", "mode": "max"}
    assert [b["seed"] for b in summary["baseline"]] == [3, 4]
    assert len(summary["trials"]) == TRIALS
    assert {t["trial_id"] for t in summary["trials"]} == {f"trial-{i:04d}" for i in range(TRIALS)}
    baseline = summary["baseline"][0]
    for trial in summary["trials"]:
        assert trial["state"] in {"complete", "pruned"}
        assert trial["seed"] == 3
        assert set(trial["metrics"]) == {*STATISTICS, *OBJECTIVES}
        if trial["state"] == "complete":
            assert trial["epochs"] == EPOCHS
            assert trial["value"] == trial["metrics"]["best_val_accuracy"]
            assert trial["paired_difference"] == pytest.approx(trial["value"] - baseline["value"])
        if trial["first_injection_epoch"] is not None:
            assert trial["epochs_trained"] <= trial["epochs"]
            assert trial["epochs_trained"] >= trial["epochs"] - trial["first_injection_epoch"]
    complete = [t for t in summary["trials"] if t["state"] == "complete"]
    best = min(complete, key=lambda t: (-t["value"], t["metrics"]["tail_val_loss"], t["trial_id"]))
    assert summary["best"] == best["trial_id"]


ROWS = 24
"""A terminal's, with 80 columns."""


def test_the_end_says_where_the_result_is_and_what_to_type_next(storage: Path) -> None:
    folder = StudyFolder.of(storage, "small")
    config = folder.stored_config()
    assert config is not None
    config = config.model_copy(update={"storage": str(storage)})
    found = Summary.model_validate_json(folder.summary.read_text())
    said = _said_at_the_end(config, found)
    ahead = any(t.trial_id == found.best and t.paired_difference > 0 for t in found.trials)
    which = "first" if sharing_best(config, found.trials) else "best"
    offered = f"{which} configuration: noise-train --config {folder.best_config}\n"
    assert (offered in said) == ahead
    tried = "noise-study confirm small" if ahead else "noise-study resume small"
    for command in ("noise-study ui small", "noise-analysis report small", tried):
        assert f"  {command} --storage {storage}" in said
    assert len(said.splitlines()) <= ROWS
    assert "luck's share is unknown: no race (--race-seeds)\n" in said
    nothing = found.model_copy(update={"best": None, "trials": []})
    said = _said_at_the_end(config, nothing)
    assert "confirm" not in said
    assert f"  noise-study resume small --storage {storage} --trials +{TRIALS}\n" in said


def _said_at_the_end(config: StudyConfig, found: Summary) -> str:
    text = io.StringIO()
    print_result(Console(file=text, width=80), config, found)
    return text.getvalue()


def test_optuna_agrees_with_the_summary(storage: Path, summary: dict[str, Any]) -> None:
    backend = JournalFileBackend(str(storage / "small" / "optuna.journal"))
    study = optuna.load_study(study_name="small", storage=JournalStorage(backend))
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    assert len(study.trials) == TRIALS
    for frozen in study.trials:
        trial = summary["trials"][frozen.number]
        assert frozen.state.name == states[trial["state"]]
        assert frozen.params == trial["overrides"]
        if trial["state"] == "complete":
            assert frozen.value == trial["value"]
            shown = frozen.intermediate_values
            assert not shown or max(shown) == EPOCHS


def test_mlflow_agrees_with_the_summary(storage: Path, summary: dict[str, Any]) -> None:
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = [run for run in runs if run.data.tags["role"] == "study"]
    assert len(runs) == 1 + 2 + TRIALS
    by_id = {run.info.run_id: run for run in runs}
    for trial in summary["trials"]:
        run = by_id[trial["run_id"]]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["trial_id"] == trial["trial_id"]
        assert run.data.tags["role"] == "trial"
        assert run.data.tags["status"] == trial["state"]
        for path, value in trial["overrides"].items():
            if not isinstance(value, str):
                assert json.loads(run.data.params[path]) == value
        for name in STATISTICS:
            points = client.get_metric_history(run.info.run_id, name)
            assert sorted(p.step for p in points) == list(range(1, trial["epochs"] + 1))
            last = max(points, key=lambda p: p.step)
            assert last.value == trial["metrics"][name]
        config = client.download_artifacts(run.info.run_id, "config.json")
        assert json.loads(Path(config).read_text())["seed"] == 3
    for baseline in summary["baseline"]:
        assert by_id[baseline["run_id"]].data.tags["role"] == "baseline"


def test_the_study_file_and_the_winner_are_configurations(
    storage: Path, summary: dict[str, Any]
) -> None:
    stored = json.loads((storage / "small" / "study.json").read_text())
    config = parse_config(StudyConfig, stored)
    assert config.train.optimizer.lr_restart_period == EPOCHS
    winner = parse_config(
        TrainConfig, json.loads((storage / "small" / "best_config.json").read_text())
    )
    best = next(t for t in summary["trials"] if t["trial_id"] == summary["best"])
    for path, value in best["overrides"].items():
        found = getattr(winner.noise, path.removeprefix("noise/"))
        assert found == value or "+".join(found) == value
    assert winner.noise.policy == "on_stagnation"
    assumed = assumed_of(storage / "small" / "best_config.json", None, EPOCHS)
    assert assumed.lr == winner.optimizer.lr
    images = len(load_dataset(winner.data).train_labels)
    assert assumed.steps_per_epoch == images // winner.data.batch_size
    assert len(assumed.history) == EPOCHS


def test_running_it_again_runs_nothing_and_changes_nothing(
    storage: Path, summary: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--storage", str(storage)]) == 0
    assert "complete already" in capsys.readouterr().out
    assert json.loads((storage / "small" / "summary.json").read_text()) == summary


def test_a_taken_name_is_refused_with_what_differs(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(p.name for p in (storage / "small").iterdir())
    code = main([*COMMAND, "--storage", str(storage), "--lr", "0.1"])
    assert code == 2
    message = capsys.readouterr().err
    assert "train/optimizer/lr = 0.1, stored: 0.05" in message
    assert sorted(p.name for p in (storage / "small").iterdir()) == before


def test_list_and_clean(
    storage: Path,
    summary: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Other tests need the checkpoints that are removed here.
    storage = Path(shutil.copytree(storage, tmp_path / "studies"))
    monkeypatch.setenv("COLUMNS", "60")  # too narrow for the table, but not for what is typed
    assert main(["list", "--storage", str(storage)]) == 0
    printed = capsys.readouterr().out
    assert "small" in printed
    assert str(summary["best"]) in printed
    assert main(["clean", "small", "--storage", str(storage)]) == 0
    assert "removed" in capsys.readouterr().out
    kept = [p.parent.name for p in (storage / "small" / "checkpoints").glob("*/*")]
    # The winner's weights, if it ever injected, and those of the baseline that it is compared with.
    assert "baseline-seed3" in kept
    assert set(kept) <= {summary["best"], "baseline-seed3"}


def _config(tmp_path: Path, **fields: Any) -> StudyConfig:
    values: dict[str, Any] = {
        "name": "given",
        "storage": str(tmp_path),
        "baseline_seeds": 1,
        "max_concurrent": 2,
        "early_stopping": False,
        "race_seeds": 1,
        "space": "adaptive_noise",
        "objective": "best_val_accuracy",
        "train": {
            "data": {"dataset": "synthetic", "synthetic_train": 400, "batch_size": 32},
            "epochs": 8,
            "optimizer": {"lr": 0.02, "lr_restart_period": 8},
        },
    }
    return parse_config(StudyConfig, values | fields)


GIVEN = (
    {"noise/warmup_epochs": 2, "noise/window": 2, "noise/trigger_epochs": 1,
     "noise/grad_plateau_threshold": 10.0, "noise/magnitude_min": 0.5},
    {"noise/warmup_epochs": 5, "noise/window": 2, "noise/trigger_epochs": 1,
     "noise/grad_plateau_threshold": 10.0, "noise/magnitude_min": 0.5},
    # Needs seven epochs without a better training loss, of which there are at most seven.
    {"noise/warmup_epochs": 0, "noise/window": 2, "noise/trigger_epochs": 1,
     "noise/signals": ["stuck"], "noise/patience": 5},
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 0.05},
)  # fmt: skip


def _comparable(summary: Summary) -> list[dict[str, Any]]:
    kept = {"trial_id", "state", "seed", "value", "paired_difference", "epochs", "overrides",
            "first_injection_epoch", "metrics"}  # fmt: skip
    return [trial.model_dump(include=kept) for trial in summary.trials]


def test_given_configurations_forked_and_not_are_bit_identical(tmp_path: Path) -> None:
    """Runs through Python, as a user's own script would."""
    forked = run_study(_config(tmp_path, configs=GIVEN))
    whole = run_study(_config(tmp_path, name="whole", configs=GIVEN, fork="never"))
    assert _comparable(forked) == _comparable(whole)
    assert [t.overrides for t in forked.trials] == list(GIVEN)
    assert [t.first_injection_epoch for t in forked.trials] == [2, 5, None, 0]
    assert [t.epochs_trained for t in forked.trials] == [6, 3, 0, 8]
    assert [t.epochs_trained for t in whole.trials] == [8, 8, 8, 8]
    assert [t.never_injected for t in forked.trials] == [False, False, True, False]
    never = forked.trials[2]
    assert never.value == forked.baseline[0].value
    assert never.paired_difference == 0.0
    for name in ("given", "whole"):
        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        for trial in forked.trials if name == "given" else whole.trials:
            assert trial.run_id is not None
            points = client.get_metric_history(trial.run_id, "val_loss")
            assert sorted(p.step for p in points) == list(range(1, 9))


def test_a_diverged_trial_fails_with_its_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    configs = (
        {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 1e30,
         "noise/permanent": True},
        GIVEN[0],
    )  # fmt: skip
    summary = run_study(_config(tmp_path, configs=configs))
    diverged, fine = summary.trials
    assert diverged.state == "failed"
    assert diverged.reason is not None
    assert "diverged" in diverged.reason
    assert diverged.epochs == 1
    assert fine.state == "complete"
    assert summary.best == fine.trial_id
    backend = JournalFileBackend(str(tmp_path / "given" / "optuna.journal"))
    study = optuna.load_study(study_name="given", storage=JournalStorage(backend))
    assert [t.state.name for t in study.trials] == ["PRUNED", "COMPLETE"]
    assert not any(math.isfinite(v) for v in study.trials[0].intermediate_values.values())


@pytest.mark.parametrize(
    ("rule", "objective", "said"),
    [
        ("asha", "tail_val_loss", ""),
        ("asha", "best_val_accuracy", ""),
        ("paired", "tail_val_loss", ""),
        ("paired", "best_val_accuracy", "in best_val_accuracy it may stop the best trial more"),
        ("asha", "best_val_accuracy,tail_val_loss", "no trial is stopped early"),
    ],
)
def test_what_is_said_of_early_stopping(
    tmp_path: Path, rule: str, objective: str, said: str
) -> None:
    fields = {"early_stopping": True, "early_stopping_rule": rule, "objective": objective}
    note = early_stopping_note(_config(tmp_path, **fields))
    assert said in note
    assert bool(note) == bool(said)


def test_two_objectives_give_lists_and_no_early_stopping(tmp_path: Path) -> None:
    summary = run_study(
        _config(
            tmp_path,
            objective="best_val_accuracy,generalization_gap",
            early_stopping=True,
            space="static_noise",
            trials=3,
        )
    )
    assert summary.objective.metric == ["best_val_accuracy", "generalization_gap"]
    assert isinstance(summary.best, list)
    assert all(isinstance(t.value, list) and t.state == "complete" for t in summary.trials)
    assert any("no trial is stopped early" in note for note in summary.notes)


@pytest.mark.slow
def test_the_time_budget_ends_a_study(tmp_path: Path) -> None:
    train = {
        "data": {"dataset": "synthetic", "synthetic_train": 4000, "batch_size": 32},
        "epochs": 3,
        "model": {"classifier": "TinyCNN"},
        "optimizer": {"lr_restart_period": 3},
    }
    begun = _config(tmp_path, train=train, space="static_noise", trials=1)
    run_study(begun)
    # The baseline is there: however slow the machine, the budget is the search's alone.
    summary = run_study(begun.model_copy(update={"trials": 500, "time_budget": 20.0}))
    assert 1 <= len(summary.trials) < 500
    assert all(t.state in {"complete", "pruned"} for t in summary.trials)
    assert any("time budget" in note for note in summary.notes)


@pytest.mark.slow
def test_a_budget_that_the_baseline_uses_up_leaves_no_time_for_trials(tmp_path: Path) -> None:
    config = _config(tmp_path, time_budget=0.5, trials=500, space="static_noise")
    summary = run_study(config)
    assert len(summary.baseline) == 1
    assert (summary.trials, summary.best) == ([], None)
    assert any("--time-budget" in note for note in summary.notes)
    # Static noise begins at once: nothing forks, so that the baseline keeps nothing for it.
    assert not list((tmp_path / "given" / "checkpoints").glob("baseline-*/epoch-*"))
