"""Small real studies for the analysis: trained by the loop, recorded in a ledger."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from search_spaces.calibration import as_written
from search_spaces.registry import get_space
from study.campaigns.confirm_plan import ConfirmConfig, config_file, confirm_folder, run_key
from study.campaigns.experiment_grid import ExperimentConfig, baselines, noisy_runs
from study.campaigns.experiment_result import report, result_files
from study.campaigns.experiment_tables import to_csv, to_markdown
from study.config import StudyConfig
from study.records.assumed import write_assumed
from study.records.events import (
    FIRST_STEP,
    EndEvent,
    EpochsEvent,
    StartEvent,
    StudyEndEvent,
    StudyEvent,
)
from study.records.folder import StudyFolder
from study.records.json_files import write_json
from study.records.ledger import Ledger
from study.records.ledger_view import read_ledger
from study.records.summary import summarise, winner_config
from tests.support.runs import baseline_config, training
from trainables.config import TrainConfig, apply_overrides
from trainables.data.image_sets import load_dataset
from trainables.loop import train_epochs
from trainables.metrics import EpochMetrics, objective_values
from trainables.noise.fork import annotate, baseline_digest

EPOCHS = 12
TIME = 1_800_000_000_000
BASE = TrainConfig.model_validate(
    {
        "epochs": EPOCHS,
        "data": {"subset": 0.3, "batch_size": 32},
        "optimizer": {"lr": 0.02, "lr_restart_period": EPOCHS},
    }
)
ADAPTIVE: dict[str, Any] = {
    "noise/policy": "on_stagnation",
    "noise/warmup_epochs": 3,
    "noise/window": 2,
    "noise/trigger_epochs": 1,
    "noise/max_injection_epochs": 2,
    "noise/cooldown_min": 1,
    "noise/cooldown_extra": 2,
}


@dataclass(frozen=True)
class Planned:
    """A trial to record: what it changes, and how it ends."""

    overrides: Mapping[str, Any]
    state: Any = "complete"
    epochs: int = EPOCHS
    reason: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


TRIALS = (
    Planned({**ADAPTIVE, "noise/signals": "grad_norm_plateau", "noise/magnitude_min": 0.1}),
    Planned({**ADAPTIVE, "noise/signals": "grad_norm_plateau", "noise/magnitude_min": 2.0}),
    Planned({**ADAPTIVE, "noise/signals": "low_weight_update", "noise/magnitude_min": 1.0}),
    Planned(
        {**ADAPTIVE, "noise/signals": "grad_norm_plateau", "noise/magnitude_min": 3.0},
        "pruned",
        10,
        "stopped early after 10 epochs",
    ),
    Planned(
        {**ADAPTIVE, "noise/signals": "grad_norm_plateau", "noise/magnitude_min": 0.5},
        "failed",
        5,
        "made to fail",
    ),
    Planned({**ADAPTIVE, "noise/signals": "val_loss_plateau", "noise/weight_ratio": 0.1}),
)
"""Complete ones (the third never injects), one stopped early, one failed."""


@cache
def history_of(text: str) -> tuple[EpochMetrics, ...]:
    """The epochs of a configuration (its JSON), really trained, once for each."""
    config = TrainConfig.model_validate_json(text)
    return tuple(train_epochs(training(config)))


def history(config: TrainConfig) -> tuple[EpochMetrics, ...]:
    """The epochs of a configuration."""
    return history_of(config.model_dump_json())


def write_study(
    storage: Path,
    name: str,
    *,
    trials: tuple[Planned, ...] = TRIALS,
    seeds: int = 2,
    over: bool = True,
    **settings: Any,
) -> StudyConfig:
    """Write a study's folder: its configuration and its ledger."""
    config = StudyConfig.model_validate(
        {
            "name": name,
            "storage": str(storage),
            "train": BASE.model_dump(mode="json"),
            "trials": max(1, len(trials)),
            "baseline_seeds": max(1, seeds),
            "space": "adaptive_noise_small",
            "objective": ["best_val_accuracy"],
            **settings,
        }
    )
    folder = StudyFolder.of(storage, name)
    folder.path.mkdir(parents=True)
    folder.write_config(config)
    with Ledger(folder.ledger) as ledger:
        values, objectives = config.model_dump(mode="json"), config.objective
        begun = StudyEvent(name, name, values, objectives, "?", first_step=FIRST_STEP, time=TIME)
        ledger.append(begun)
        for seed in range(seeds):
            _write_baseline(ledger, seed)
        for number, trial in enumerate(trials):
            _write_trial(ledger, number, trial)
        if over:
            ledger.append(StudyEndEvent("complete", best="trial-0000", time=TIME + 10**6))
    return config


def _write_baseline(ledger: Ledger, seed: int) -> None:
    config = baseline_config(BASE).model_copy(update={"seed": seed})
    rows = history(config)
    key = f"baseline-seed{seed}"
    values = config.model_dump(mode="json")
    ledger.append(
        StartEvent(key, "baseline", seed, {}, values, baseline_digest(config), time=TIME + seed)
    )
    ledger.append(EpochsEvent(key, rows, time=TIME + 10 + seed))
    ledger.append(
        EndEvent(
            key,
            "complete",
            values=objective_values(rows),
            epochs_trained=len(rows),
            seconds=2.0,
            time=TIME + 20 + seed,
        )
    )


def _write_trial(ledger: Ledger, number: int, trial: Planned) -> None:
    config = apply_overrides(BASE, trial.overrides)
    rows = history(config)[: trial.epochs]
    fork = next((row.epoch for row in rows if row.injected), len(rows))
    key, time = f"trial-{number:04d}", TIME + 1000 * (number + 1)
    overrides = dict(trial.overrides)
    ledger.append(
        StartEvent(
            key,
            "trial",
            0,
            overrides,
            config.model_dump(mode="json"),
            baseline_digest(config),
            time=time,
        )
    )
    shared = annotate(history(baseline_config(config))[:fork], config.noise, EPOCHS)
    assert shared == rows[:fork]
    if shared:
        ledger.append(EpochsEvent(key, shared, shared=True, time=time + 1))
    for row in rows[fork:]:
        ledger.append(EpochsEvent(key, (row,), time=time + 2 + row.epoch))
    ledger.append(
        EndEvent(
            key,
            trial.state,
            reason=trial.reason,
            values={} if trial.state == "failed" else objective_values(rows),
            epochs_trained=len(rows) - fork,
            fork_epoch=fork if fork < len(rows) else None,
            seconds=1.0,
            time=time + 900,
        )
    )


def write_confirmation(
    folder: StudyFolder, trial: str, seeds: Sequence[int], gains: Sequence[float] = ()
) -> None:
    """A confirmation's folder: its configuration and its ledger, the runs really trained.

    Args:
        folder: the study's.
        trial: the one that is confirmed.
        seeds: the fresh ones, consecutive.
        gains: the trial's test accuracy minus the baseline's, which is made up; none: zero.
    """
    chosen = TrainConfig.model_validate(read_ledger(folder.ledger).trials[trial].config)
    home = confirm_folder(folder)
    home.path.mkdir()
    config = ConfirmConfig(top=1, seeds=len(seeds), trials=(trial,), first_seed=seeds[0])
    write_json(config_file(folder), config.model_dump(mode="json"))
    with Ledger(home.ledger) as ledger:
        for seed, gain in zip(seeds, gains or [0.0] * len(seeds), strict=True):
            tried = chosen.model_copy(update={"seed": seed})
            for key, role, run, more in (
                (run_key("baseline", "", seed), "baseline", baseline_config(tried), 0.0),
                (run_key("confirm", trial, seed), "confirm", tried, gain),
            ):
                rows, values = history(run), run.model_dump(mode="json")
                ledger.append(StartEvent(key, role, seed, {}, values, "", time=TIME))
                ledger.append(EpochsEvent(key, rows, time=TIME))
                accuracy = 0.5 + seed / 100 + more
                tests = {"final_test_accuracy": accuracy, "test_accuracy": accuracy}
                ended = {**objective_values(rows), **tests}
                ledger.append(EndEvent(key, "complete", values=ended, time=TIME))


def write_run(folder: Path, config: TrainConfig) -> Path:
    """The folder of a single run, as ``noise-train`` leaves it; returns it."""
    from study.records.json_files import json_line

    folder.mkdir(parents=True)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    lines = [json_line({**row.to_dict(), "val_per_class": {}}) for row in history(config)]
    (folder / "epoch_metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


def write_whole_study(
    storage: Path, name: str, *, trials: tuple[Planned, ...] = TRIALS, **settings: Any
) -> StudyConfig:
    """A study with all that belongs to it, confirmed: journal, results, checkpoints, MLflow."""
    from study.search.searcher import StudySearcher
    from study.tracking.addresses import artifact_root, resolve_uri
    from study.tracking.store import MlflowStore
    from study.tracking.sync import sync
    from trainables.checkpoint import save_state

    config = write_study(storage, name, trials=trials, **settings)
    folder = StudyFolder.of(storage, name)
    state = read_ledger(folder.ledger)
    assert state.study is not None
    spec = get_space(config.space)
    space = as_written(spec, spec.distributions(config.train))
    write_json(folder.space, {"space": config.space, **space.to_json()})
    StudySearcher(
        name,
        folder.journal,
        space.distributions,
        conditions=space.conditions,
        objectives=config.objective,
        epochs=EPOCHS,
        given=[trial.overrides for trial in trials],
        records={record.key: record for record in state.by_role("trial")},
    )
    for key in ("trial-0000", "baseline-seed0"):
        run = training(TrainConfig.model_validate(state.trials[key].config))
        assert tuple(train_epochs(run)) == state.trials[key].history
        path = folder.path / "checkpoints" / key / "final.ckpt"
        save_state(path, {**run.state_dict(), "start_epoch": 0})
    write_confirmation(folder, "trial-0000", [2, 3])
    confirmation = confirm_folder(folder)
    with Ledger(confirmation.ledger) as ledger:
        values = config.model_dump(mode="json")
        ledger.append(StudyEvent(f"{name}-confirm", f"{name}-c", values, ("test_accuracy",), "?"))
        ledger.append(StudyEndEvent("complete"))
    uri = resolve_uri(None, storage)
    store = MlflowStore(uri, artifact_root(uri, storage))
    run_ids = sync(folder.ledger, folder.mlflow_offset, store).run_ids
    assert sync(confirmation.ledger, confirmation.mlflow_offset, store).error is None
    summary = summarise(config, state, run_ids)
    write_json(folder.summary, summary.model_dump(mode="json"))
    winner = winner_config(summary, state)
    assert winner is not None
    write_json(folder.best_config, winner.model_dump(mode="json"))
    write_assumed(folder, config, winner, state, load_dataset(winner.data))
    return config


def write_grid(storage: Path, name: str) -> ExperimentConfig:
    """A grid with all that belongs to it: two rates, a baseline and two noises each; MLflow."""
    from study.tracking.addresses import artifact_root, resolve_uri
    from study.tracking.store import MlflowStore
    from study.tracking.sync import sync

    noise = BASE.noise.model_copy(update={"policy": "on_stagnation", "warmup_epochs": 3})
    train = BASE.model_copy(update={"noise": noise})
    config = ExperimentConfig(name=name, storage=str(storage), train=train, lrs=(0.02, 0.05))
    folder = StudyFolder.of(storage, name)
    write_json(folder.experiment, config.model_dump(mode="json"))
    values = config.model_dump(mode="json")
    with Ledger(folder.ledger) as ledger:
        begun = StudyEvent(name, name, values, ("final_val_accuracy",), "?", time=TIME)
        ledger.append(replace(begun, first_step=FIRST_STEP))
        for planned in (*baselines(config), *noisy_runs(config)):
            run = apply_overrides(train, planned.overrides)
            rows, digest = history(run), baseline_digest(run)
            as_json = run.model_dump(mode="json")
            start = (planned.key, planned.role, planned.seed, planned.overrides, as_json, digest)
            ledger.append(StartEvent(*start, time=TIME))
            ledger.append(EpochsEvent(planned.key, rows, time=TIME))
            ended = objective_values(rows)
            ledger.append(EndEvent(planned.key, "complete", values=ended, time=TIME))
        ledger.append(StudyEndEvent("complete", time=TIME + 10**6))
    uri = resolve_uri(None, storage)
    store = MlflowStore(uri, artifact_root(uri, storage))
    run_ids = sync(folder.ledger, folder.mlflow_offset, store).run_ids
    result = report(config, read_ledger(folder.ledger), run_ids)
    markdown, table, stored = result_files(folder)
    markdown.write_text(to_markdown(result))
    table.write_text(to_csv(result))
    write_json(stored, result.model_dump(mode="json"))
    return config


def copied_study(storage: Path, to: Path) -> Path:
    """A copy of a storage folder, as if what is in it had been written there."""
    shutil.copytree(storage, to)
    for path in to.rglob("mlflow.offset"):
        path.write_text(path.read_text().replace(str(storage), str(to)))
    return to
