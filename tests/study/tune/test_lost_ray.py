"""Ray dies under a study, or outlives its driver: each is really killed."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from study.config import StudyConfig
from study.records.ledger_view import read_ledger
from tests.support.faulty_models import let_go, places
from tests.support.study_processes import (
    Process,
    alive,
    check_whole,
    family,
    mlflow_runs,
    study_process,
    wait_until,
)
from trainables.settings import parse_config

CLASSIFIER = "tests.support.faulty_models:held"
GIVEN = [
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": magnitude}
    for magnitude in (2.0, 2.5)
]
RAY_WAITS = 60
"""Seconds that helpers of a raylet try to reach a head that is gone: a constant of Ray's."""


def config(storage: Path) -> StudyConfig:
    data = {"dataset": "synthetic", "synthetic_train": 400, "synthetic_test": 100}
    train = {
        "data": {**data, "batch_size": 32},
        "epochs": 8,
        "model": {"classifier": CLASSIFIER},
        "optimizer": {"lr": 1e-4, "lr_restart_period": 8},
    }
    values = {"name": "s", "storage": str(storage), "baseline_seeds": 1, "race_seeds": 1}
    return parse_config(StudyConfig, values | {"configs": GIVEN, "train": train})


def pids() -> set[int]:
    """The workers that have trained."""
    return {pid for times in places().values() for pid in times}


def latest() -> int:
    """The worker that trained last."""
    last = {pid: max(times) for place in places().values() for pid, times in place.items()}
    return max(last, key=lambda pid: last[pid])


def trial_reports(folder: Path) -> bool:
    trials = read_ledger(folder / "ledger.jsonl").by_role("trial")
    return any(len(trial.history) > trial.shared_epochs for trial in trials)


def running_trial(process: Process, known: set[int]) -> None:
    """Wait for a worker that trains and was not known."""
    wait_until(lambda: bool(pids() - known), process)


def named(process: Process, name: str) -> int:
    """The process of that name that the driver started."""
    for pid in family(process.pid):
        # One that has just ended has none.
        with suppress(OSError):
            if name in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
    raise AssertionError(f"no {name}")


@pytest.mark.slow
def test_a_worker_ray_itself_and_the_driver_are_killed(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", str(tmp_path))
    storage, folder = tmp_path / "studies", tmp_path / "studies" / "s"
    storage.mkdir()
    shutil.copy(empty_database, storage / "mlflow.db")
    (tmp_path / "study.json").write_text(config(storage).model_dump_json())
    run = ["run", "--config", str(tmp_path / "study.json"), "--trust", CLASSIFIER]
    resume = ["resume", "s", "--storage", str(storage)]

    with study_process(run) as process:
        wait_until(lambda: trial_reports(folder), process)
        known = pids()
        os.kill(latest(), signal.SIGKILL)
        wait_until((folder / "ray.log").exists, process)
        running_trial(process, known)
        processes = family(process.pid)
        os.kill(named(process, "gcs_server"), signal.SIGKILL)
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output
    assert "its worker died; it goes on in another one from its last checkpoint" in output
    assert "a process of Ray's on this machine has died" in output
    assert f"go on with: noise-study resume s --storage {storage}" in output
    assert "Traceback" not in output
    assert "(raylet)" not in output
    assert "ActorDiedError" in (folder / "ray.log").read_text()
    wait_until(lambda: not alive(processes))
    assert {run.info.status for run in mlflow_runs(folder).values()} <= {"KILLED", "FINISHED"}

    with study_process(resume) as process:
        running_trial(process, pids())
        processes = family(process.pid)
        process.kill()
        killed = time.monotonic()
        wait_until(lambda: not alive(processes))
        assert time.monotonic() - killed < RAY_WAITS

    let_go()
    with study_process(resume) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    check_whole(folder)
