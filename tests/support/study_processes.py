"""Studies as processes of their own, to be interrupted and killed: start, watch, end, read."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from mlflow.tracking import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.campaigns.verify import verify_study
from study.records.storage import Storage

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds after which a process that does not do what is awaited fails its test."""

Process = subprocess.Popen[str]


@contextmanager
def study_process(
    words: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """``noise-study WORDS`` in a process group of its own; whatever is left of it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "study.commands.study", *words],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def wait_until(true: Callable[[], bool], process: Process | None = None) -> None:
    """Wait until something is so; fail if the process ends before."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.communicate()[0]}")
        time.sleep(0.02)


def count(ledger: Path, text: str) -> int:
    """How many lines of a ledger hold a text."""
    if not ledger.exists():
        return 0
    return sum(text in line for line in ledger.read_text().splitlines())


def family(pid: int) -> set[int]:
    """The process and all that descend from it, Ray's included."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that still run (what nobody has waited for yet has ended, too)."""
    left = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            left.add(pid)
    return left


def listening(pids: set[int]) -> set[str]:
    """The addresses on which these processes listen for TCP connections, as /proc spells them."""
    inodes = set()
    for pid in pids:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        inodes |= {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].split(":")[0])
    return found


def summary_of(folder: Path) -> dict[str, Any]:
    """The study's summary."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def check_whole(
    folder: Path,
    uri: str = "",
    *,
    over: bool = True,
    storage: Storage | None = None,
    confirmation_alone: bool = False,
) -> None:
    """Nothing of a study, or a grid, is missing, doubled or different, wherever it is recorded.

    Args:
        folder: its own.
        uri: MLflow's, if it is not the study's own.
        over: whether it has come to its end, with all of it in MLflow.
        storage: where it is kept, if that is an object store.
        confirmation_alone: its search was not trained, but written by a test.
    """
    found = verify_study(storage or folder.parent, folder.name, uri or None)
    findings, remarks = list(map(str, found.findings)), found.remarks
    if confirmation_alone:
        assert (folder / "confirm" / "ledger.jsonl").exists()
        findings = [line for line in findings if ": confirm: " in line]
        remarks = [line for line in remarks if line.startswith("confirm: ")]
    assert not findings, "\n".join(findings)
    assert found.runs
    if over:
        assert not remarks, "\n".join(remarks)


def optuna_states(folder: Path) -> list[str]:
    """The states of Optuna's trials, in order."""
    backend = JournalFileBackend(str(folder / "optuna.journal"))
    study = optuna.load_study(study_name=folder.name, storage=JournalStorage(backend))
    return [trial.state.name for trial in study.trials]


def mlflow_runs(folder: Path, uri: str = "") -> dict[str, Any]:
    """MLflow's runs of a study by trial, its own under ``""``; each trial has exactly one."""
    client = MlflowClient(uri or f"sqlite:///{folder.parent}/mlflow.db")
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    by_trial = {run.data.tags.get("trial_id", ""): run for run in runs}
    assert len(by_trial) == len(runs)
    return by_trial


def steps_in_mlflow(
    folder: Path, run_id: str, metric: str = "val_loss", uri: str = ""
) -> list[int]:
    """The steps for which MLflow has a metric, repeated ones included."""
    client = MlflowClient(uri or f"sqlite:///{folder.parent}/mlflow.db")
    return sorted(point.step for point in client.get_metric_history(run_id, metric))
