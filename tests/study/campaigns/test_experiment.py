"""Experiments: the grid, the table, and a real one that is killed in the middle."""

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console

from study.api import run_experiment
from study.campaigns.experiment_grid import (
    ExperimentConfig,
    baselines,
    groups,
    noisy_runs,
    own_names,
    paper,
    small,
)
from study.campaigns.experiment_result import report
from study.campaigns.experiment_tables import print_experiment, to_csv, to_markdown
from study.commands.experiment import read_experiment
from study.commands.study import main
from study.records.ledger_view import LedgerState, TrialRecord, read_ledger
from study.records.planned_run import BASELINE, PlannedRun
from tests.support.study_processes import check_whole
from trainables.code_identity import code_identity
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.models.registry import build_model
from trainables.noise.fork import baseline_digest
from trainables.settings import parse_config

EPOCHS = 5
QUICK: dict[str, Any] = {
    "data": {
        "dataset": "synthetic", "synthetic_train": 300, "synthetic_test": 60, "batch_size": 50,
    },
    "epochs": EPOCHS,
    "optimizer": {"lr_restart_period": EPOCHS},
    # Noise begins in epoch 2 or later, from each baseline's checkpoint.
    "noise": {
        "policy": "on_stagnation", "warmup_epochs": 2, "window": 2, "trigger_epochs": 1,
        "grad_plateau_threshold": 10.0, "magnitude_min": 0.5,
    },
}  # fmt: skip


def grid(**fields: Any) -> ExperimentConfig:
    return parse_config(ExperimentConfig, {"train": QUICK, **fields})


# --- the grid --------------------------------------------------------------------------------


def test_the_papers_grid_is_four_models_three_optimizers_four_rates_and_three_noises() -> None:
    config = paper()
    assert len(groups(config)) == 4 * 3 * 4
    assert len(baselines(config)) == 48
    assert len(noisy_runs(config)) == 96
    assert config.train.epochs == 300
    assert config.train.noise.policy == "on_stagnation"
    assert config.train.optimizer.lr_restart_period == 50


def test_momentum_multiplies_sgd_only() -> None:
    config = grid(optimizers=["SGD", "Adam"], momenta=[0, 0.9], distributions=["gaussian"])
    assert [run.key for run in (*baselines(config), *noisy_runs(config))] == [
        "BabyCNN-SGD-m0-lr0.01-s1-baseline-seed0",
        "BabyCNN-SGD-m0.9-lr0.01-s1-baseline-seed0",
        "BabyCNN-Adam-lr0.01-s1-baseline-seed0",
        "BabyCNN-SGD-m0-lr0.01-s1-gaussian-seed0",
        "BabyCNN-SGD-m0.9-lr0.01-s1-gaussian-seed0",
        "BabyCNN-Adam-lr0.01-s1-gaussian-seed0",
    ]


def test_the_runs_of_ones_own_optimizer_say_whose_source_they_have() -> None:
    own = "tests.support.own_recipes:SignMomentum"
    erase = "tests.support.own_recipes:erase"
    train = {**QUICK, "data": {**QUICK["data"], "augment": erase}}
    config = parse_config(
        ExperimentConfig, {"train": train, "optimizers": ["sgd", own], "momenta": [0, 0.9]}
    )
    assert config.optimizers == ("SGD", own)
    assert own_names(config) == {own: "optimizer", erase: "augment"}
    config = config.model_copy(
        update={"codes": {name: code_identity(name) for name in (own, erase)}}
    )
    runs = {run.name: apply_overrides(config.train, run.changes) for run in baselines(config)}
    assert {run.optimizer.optimizer: set(run.identities) for run in runs.values()} == {
        "SGD": {erase},
        own: {own, erase},
    }
    assert "BabyCNN-tests.support.own_recipes.SignMomentum-lr0.01-s1-baseline" in runs
    assert len(runs) == 3


def test_every_run_has_exactly_one_baseline() -> None:
    config = grid(
        classifiers=["BabyCNN", "TinyCNN"], optimizers=["SGD", "Adam"], momenta=[0, 0.9],
        lrs=[0.1, 0.1000001], subsets=[1, 0.5], seeds=[0, 7],
    )  # fmt: skip

    def digest(run: Any) -> str:
        return baseline_digest(
            apply_overrides(config.train, {"noise/policy": "on_stagnation", **run.overrides})
        )

    def group_of(run: PlannedRun) -> str:
        return run.name.rpartition("-")[0]

    own = {digest(run): run for run in baselines(config)}
    assert {group_of(run) for run in own.values()} == {group.label for group in groups(config)}
    assert len(own) == len(baselines(config)) == 2 * 3 * 2 * 2 * 2
    keys = {run.key for run in (*baselines(config), *noisy_runs(config))}
    assert len(keys) == 3 * len(own)
    for run in noisy_runs(config):
        baseline = own[digest(run)]
        assert (group_of(baseline), baseline.seed) == (group_of(run), run.seed)


# --- the command line ------------------------------------------------------------------------


def test_axes_are_given_as_lists_and_the_restart_period_follows_the_budget() -> None:
    config, _ = read_experiment(
        ["--classifiers", "baby_cnn,TinyCNN", "--optimizers", "adam", "--lrs", "0.1,1e-3",
         "--seeds", "3,4", "--epochs", "20"]
    )  # fmt: skip
    assert config.classifiers == ("BabyCNN", "TinyCNN")
    assert config.optimizers == ("Adam",)
    assert config.lrs == (0.1, 0.001)
    assert config.seeds == (3, 4)
    assert config.train.optimizer.lr_restart_period == 20
    assert config.fork == "auto"


def test_the_papers_restart_period_is_the_papers() -> None:
    config, _ = read_experiment(["--preset", "paper", "--epochs", "90"])
    assert config.train.optimizer.lr_restart_period == 50


def test_a_stored_configuration_and_options_combine(tmp_path: Path) -> None:
    path = tmp_path / "experiment_config.json"
    path.write_text(small().model_dump_json())
    assert read_experiment(["--config", str(path)])[0] == small()
    config, _ = read_experiment(["--config", str(path), "--lrs", "0.5"])
    assert config == small().model_copy(update={"lrs": (0.5,)})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "papr"], "did you mean 'paper'"),
        (["--classifiers", "BabyCN"], "did you mean 'BabyCNN'"),
        (["--optimizers", "SGD,Adm"], "optimizers.1 (--optimizers) = 'Adm': did you mean 'Adam'"),
        (["--distributions", "gausian"], "did you mean 'gaussian'"),
        (["--lrs", "0.1,-1"], "lrs.1 (--lrs) = '-1': Input should be greater than 0"),
        (["--momenta", "1"], "momenta.0 (--momenta) = '1': Input should be less than 1"),
        (["--subsets", "0.001"], "data.subset = 0.001"),
        (["--seeds", "1,1"], "1 is given more than once"),
        (["--policy", "off"], "an experiment compares noise with the baseline"),
        (["--policy", "always", "--kind", "label"], "label noise has no distribution"),
        (["--epochs", "5"], "noise could never begin"),
        (["--noise-layer", "nowhere"], "nowhere"),
        (["--gpus-per-trial", "1"], "gpus_per_trial = 1"),
        (["--dataset", "cifar10", "--data-dir", "/nowhere"], "cifar10 is not there"),
        (["--classifier", "BabyCNN"], "did you mean --classifiers?"),
        (["--name", "a/b"], "name"),
    ],
)
def test_bad_input_is_answered_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", "--storage", str(tmp_path / "new"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_grid_reads_data_of_ones_own_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many points it checks, and subsets it has."""
    (tmp_path / "grids_data.py").write_text(
        "import numpy as np\ncalls = []\ndef data():\n    calls.append(0)\n"
        "    part = np.zeros((60, 8, 8, 3), np.uint8), np.arange(60) % 2\n    return part, part\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def stop(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr("study.campaigns.experiment.held", stop)
    data = {"dataset": "grids_data:data", "batch_size": 8, "image_size": 8}
    config = grid(
        storage=str(tmp_path), optimizers=["SGD", "Adam"], subsets=[1.0, 0.5],
        train={**QUICK, "model": {"classifier": "TinyCNN"}, "data": data},
    )  # fmt: skip
    with pytest.raises(InterruptedError):
        run_experiment(config)
    assert len(__import__("grids_data").calls) == 1


def test_an_empty_axis_is_refused() -> None:
    with pytest.raises(InputError, match=r"seeds = \[\]: give at least one"):
        grid(seeds=[])


def test_the_papers_grid_is_printed_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "--preset", "paper", "--print-config"]) == 0
    said = capsys.readouterr()
    assert parse_config(ExperimentConfig, json.loads(said.out)) == paper()
    assert "48 groups, 48 baselines and 96 runs with noise, 300 epochs each" in said.err


# --- the table -------------------------------------------------------------------------------


def _record(run: Any, accuracy: float, state: Any = "complete") -> TrialRecord:
    row = EpochMetrics(0, 0.5, 0.9, 0.6, accuracy, 1.0, 0.1, 0.01)
    return TrialRecord(
        key=run.key, role=run.role, seed=run.seed, overrides={}, config={}, baseline="",
        history=(row,), state=state, reason="" if state == "complete" else "diverged: x",
    )  # fmt: skip


def test_differences_are_paired_by_seed_and_failed_runs_take_no_part() -> None:
    config = grid(seeds=[0, 1, 2], distributions=["uniform"])
    base, noisy = baselines(config), noisy_runs(config)
    records = [_record(run, value) for run, value in zip(base, (0.5, 0.6, 0.9), strict=True)]
    records += [_record(run, value) for run, value in zip(noisy[:2], (0.6, 0.8), strict=True)]
    records.append(_record(noisy[2], math.nan, "failed"))
    result = report(config, LedgerState(None, {r.key: r for r in records}))
    own, noise = result.table
    assert (own.noise, own.complete) == (BASELINE, 3)
    assert own.figures["val_accuracy"].mean == pytest.approx(2 / 3)
    assert own.differences["difference"].n == 0
    assert (noise.complete, noise.failed, noise.unfinished) == (2, 1, 0)
    assert noise.figures["gap"].mean == pytest.approx(0.9 - 0.7)
    found = noise.differences["difference"]
    assert (found.mean, found.n) == (pytest.approx(0.15), 2)
    assert found.sd == pytest.approx(math.sqrt(0.005))
    assert [(run.key, run.reason) for run in result.failed] == [(noisy[2].key, "diverged: x")]
    assert result.best == noisy[1].key


def test_a_failed_baseline_leaves_its_group_without_a_difference() -> None:
    config = grid(distributions=["uniform"], lrs=[0.1, 0.01])
    base, noisy = baselines(config), noisy_runs(config)
    records = [_record(base[0], math.nan, "failed"), _record(noisy[0], 0.7), _record(base[1], 0.4)]
    result = report(config, LedgerState(None, {r.key: r for r in records}))
    failed, alone, _, to_do = result.table
    assert failed.failed == 1
    assert alone.figures["val_accuracy"].mean == 0.7
    assert alone.differences["difference"].mean is None
    assert to_do.unfinished == 1
    text = to_markdown(result)
    assert "1 failed" in text
    assert "1 to do" in text
    assert "diverged: x" in text
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert [row["noise"] for row in rows] == ["baseline", "uniform"] * 2
    assert (rows[1]["val_accuracy_mean"], rows[1]["difference_mean"]) == ("0.7", "")


def test_the_terminals_table_fits_eighty_columns_with_figures_whole(tmp_path: Path) -> None:
    config = grid(classifiers=["SimpleCNN"], optimizers=["SGD", "Adam"], lrs=[0.0001], seeds=[0, 1])
    runs = (*baselines(config), *noisy_runs(config))
    state = LedgerState(None, {r.key: _record(r, 0.5 + i / 100) for i, r in enumerate(runs)})
    console = Console(width=80, record=True, file=io.StringIO())
    print_experiment(console, report(config, state))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    line = next(line for line in text.splitlines() if "SGD 0.9" in line)
    assert line.split() == [
        "SimpleCNN", "SGD", "0.9", "0.0001", "baseline", "2",
        "0.9000", "0.5050", "0.5000", "0.6000", "0.3950", "–",
    ]  # fmt: skip


def test_a_failed_run_breaks_no_names_in_the_terminals_table() -> None:
    config = grid(optimizers=["SGD"], lrs=[0.02, 1e30], seeds=[0, 1], distributions=["gaussian"])
    runs = (*baselines(config), *noisy_runs(config))
    records = [
        _record(r, 0.5 + i / 9, "failed" if r.overrides["optimizer/lr"] > 1 else "complete")
        for i, r in enumerate(runs)
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    print_experiment(console, report(config, LedgerState(None, {r.key: r for r in records})))
    table = console.export_text().partition("Figures of")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert (table.count("BabyCNN "), table.count("baseline "), table.count("gaussian ")) == (
        4,
        2,
        2,
    )
    assert table.count("failed ") == 2


# --- real ones -------------------------------------------------------------------------------


def _mlflow_runs(storage: Path, name: str) -> list[Any]:
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=200))


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again_every_run_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "grid.json"
    digits = {"dataset": "digits", "batch_size": 50}
    file.write_text(json.dumps({"train": QUICK | {"data": digits}, "subsets": [0.3]}))
    command = [
        sys.executable, "-m", "study.commands.study", "experiment", "--config", str(file),
        "--storage", str(tmp_path), "--name", "grid", "--classifiers", "BabyCNN,TinyCNN",
        "--optimizers", "SGD,Adam", "--seeds", "0", "--max-concurrent", "2",
    ]  # fmt: skip
    ledger = tmp_path / "grid" / "ledger.jsonl"
    with subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        # In the second phase, with runs that have ended, that are running, and that wait.
        while process.poll() is None:
            noisy = read_ledger(ledger).by_role("trial")
            if any(r.finished for r in noisy) and any(r.history for r in noisy if not r.finished):
                break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    killed = read_ledger(ledger)
    before = {r.key: r.history for r in killed.trials.values() if r.finished}
    assert 4 < len(before) < 12
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr

    result = json.loads((tmp_path / "grid" / "experiment.json").read_text())
    keys = [run["key"] for run in result["runs"]]
    assert len(keys) == len(set(keys)) == 12
    assert {run["state"] for run in result["runs"]} == {"complete"}
    noisy = [run for run in result["runs"] if run["noise"] != "baseline"]
    assert len(noisy) == 8
    assert all(run["epochs_trained"] < run["epochs"] == EPOCHS for run in noisy), "not forked"
    assert [row["complete"] for row in result["table"]] == [1] * 12
    state = read_ledger(ledger)
    assert set(state.trials) == set(keys)
    assert all(state.trials[key].history == history for key, history in before.items())

    runs = _mlflow_runs(tmp_path, "grid")
    (parent,) = [run for run in runs if run.data.tags["role"] == "study"]
    children = [run for run in runs if run is not parent]
    assert sorted(run.data.tags["trial_id"] for run in children) == sorted(keys)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run["run_id"] for run in result["runs"]} == {run.info.run_id for run in children}
    names = {f.path for f in MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").list_artifacts(
        parent.info.run_id)}  # fmt: skip
    assert {"experiment.md", "experiment.csv", "experiment.json"} <= names
    check_whole(tmp_path / "grid")


@pytest.mark.slow
def test_a_failing_group_stops_nothing_and_a_grid_may_grow(tmp_path: Path) -> None:
    torch.save(build_model("BabyCNN", 100).state_dict(), weights := tmp_path / "w.pt")
    fields: dict[str, Any] = {
        "train": {**QUICK, "model": {"weights": str(weights)}},
        "storage": str(tmp_path),
        "lrs": [0.02, 1e30],
        "distributions": ["gaussian"],
        "subsets": [1.0, 0.5],
        "max_concurrent": 2,
    }
    result = run_experiment(grid(**fields))
    states = {(row.lr, row.subset, row.noise): row.complete for row in result.table}
    assert [bool(states[0.02, s, n]) for s in (1, 0.5) for n in (BASELINE, "gaussian")] == [
        True
    ] * 4
    assert not any(count for (lr, _, _), count in states.items() if lr == 1e30)
    assert len(result.failed) == 4
    assert all("diverged" in run.reason for run in result.failed)
    assert result.notes[0] == (
        f"runs of BabyCNN start from 2 tensors of {weights}; not loaded: fc1.weight (stored "
        "100×2048, the model's 10×2048), fc1.bias (stored 100, the model's 10)"
    )
    folder = tmp_path / "experiment"
    config = TrainConfig.model_validate(
        read_ledger(folder / "ledger.jsonl")
        .trials["BabyCNN-SGD-m0.9-lr0.02-s0.5-gaussian-seed0"]
        .config
    )
    assert (config.data.subset, config.optimizer.lr) == (0.5, 0.02)

    size = (folder / "ledger.jsonl").stat().st_size
    with pytest.raises(InputError, match="stored: 5"):
        run_experiment(grid(**{**fields, "train": {**fields["train"], "epochs": 6}}))
    with pytest.raises(InputError, match=r"lrs = \[0.02\], stored: \[0.02, 1e\+30\]"):
        run_experiment(grid(**{**fields, "lrs": [0.02]}))
    assert (folder / "ledger.jsonl").stat().st_size == size

    grown = run_experiment(grid(**{**fields, "distributions": ["gaussian", "uniform"]}))
    assert len(grown.runs) == len(result.runs) + 4
    old = {run.key: run for run in result.runs}
    assert all(old.get(run.key, run).figures == run.figures for run in grown.runs)
    new = [run for run in grown.runs if run.noise == "uniform" and run.lr == 0.02]
    assert all(run.state == "complete" and run.epochs_trained < run.epochs for run in new)
    check_whole(folder)
