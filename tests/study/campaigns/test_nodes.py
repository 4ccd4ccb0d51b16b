"""A cluster that changes under a study: a node is taken away, another comes; MLflow breaks, too."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from study.config import StudyConfig
from study.records.ledger_view import read_ledger
from tests.support.clusters import add_worker, ray_cluster
from tests.support.faulty_models import let_go, places
from tests.support.runs import device_data
from tests.support.servers import broken_server, free_port, mlflow_server
from tests.support.study_processes import (
    check_whole,
    mlflow_runs,
    optuna_states,
    steps_in_mlflow,
    study_process,
    summary_of,
    wait_until,
)
from trainables.config import TrainConfig, apply_overrides
from trainables.loop import train_epochs
from trainables.metrics import objective_values
from trainables.settings import parse_config
from trainables.tasks.image_task import ImageTraining

EPOCHS, STEPS = 8, 11
GIVEN: list[dict[str, Any]] = [
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": magnitude}
    for magnitude in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5)
]


def config(storage: Path, tracking_uri: str) -> StudyConfig:
    data = {"dataset": "synthetic", "synthetic_train": 400, "synthetic_test": 100}
    train = {
        "data": {**data, "batch_size": 32},
        "epochs": EPOCHS,
        # The GPUs are logical ones.
        "device": "cpu",
        "model": {"classifier": "tests.support.faulty_models:held"},
        "optimizer": {"lr": 1e-4, "lr_restart_period": EPOCHS},
    }
    resources = {"cpus_per_trial": 0.25, "gpus_per_trial": 0.25, "max_concurrent": 5}
    # Each trial may fail once for itself; losing its node is no failure of its own.
    values = {"name": "s", "storage": str(storage), "baseline_seeds": 1, "max_failures": 1}
    values |= {"configs": GIVEN, "tracking_uri": tracking_uri, "train": train}
    values["objective"] = "best_val_accuracy"
    return parse_config(StudyConfig, values | resources)


def most_at_once(intervals: list[tuple[float, float]]) -> int:
    """How many of these intervals overlap at most."""
    return max(sum(a <= at <= b for a, b in intervals) for at, _ in intervals)


@pytest.mark.slow
def test_a_node_is_removed_another_added_and_mlflow_answers_only_at_the_end(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", str(tmp_path))
    shutil.copy(empty_database, tmp_path / "server.db")
    port = free_port()
    study = config(tmp_path / "studies", f"http://127.0.0.1:{port}")
    (tmp_path / "study.json").write_text(study.model_dump_json())
    folder = tmp_path / "studies" / "s"
    with ray_cluster(nodes=2) as cluster:
        words = ["run", "--config", str(tmp_path / "study.json"), "--address", cluster.address]
        words += ["--trust", study.train.model.classifier]
        with study_process(words) as process:
            with broken_server(port) as broken:
                wait_until(lambda: _trials_with(folder, epochs=3) >= 5, process)
                wait_until(lambda: broken.asked > 0, process)  # type: ignore[attr-defined]
                before, known = places(), _pids()
                # The node on which most of them train; how many epochs they have by then.
                busy = {node: len(pids) for (node, _), pids in before.items()}
                lost = max(busy, key=lambda node: busy[node])
                nodes = {node.node_id: node for node in cluster.worker_nodes}
                cluster.remove_node(nodes[lost], allow_graceful=False)
                # What fits on the other one goes on there, the rest waits for a new one.
                wait_until(lambda: _pids() > known, process)
                add_worker(cluster)
                wait_until(lambda: len(places()) == 3, process)
                # And a worker of one that was moved is killed: the first failure of its own.
                (moved, *_) = _pids() - known
                os.kill(moved, signal.SIGKILL)
                known, killed = _pids(), _steps_of(moved)
                wait_until(lambda: _pids() > known, process)
            with mlflow_server(tmp_path, port):
                let_go()
                output, _ = process.communicate(timeout=240)
                assert process.returncode == 0, output
                check(folder, study.train, f"http://127.0.0.1:{port}")
    after = places()
    assert {gpu for _, gpu in after} == {"0"}
    assert len({node for node, _ in after}) == 3
    shares = {
        place: most_at_once([(min(times), max(times)) for times in pids.values()])
        for place, pids in after.items()
    }
    assert 2 <= max(shares.values()) <= 4, shares
    trained = sum(len(times) for pids in after.values() for times in pids.values())
    done_on_lost = sum(len(times) for times in before[lost, "0"].values())
    # They went on from their checkpoints, and did not begin again.
    assert trained < (1 + len(GIVEN)) * EPOCHS * STEPS + done_on_lost + killed


@pytest.mark.slow
def test_the_head_of_the_cluster_dies_and_the_study_goes_on_with_another(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", str(tmp_path))
    shutil.copy(empty_database, tmp_path / "server.db")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    study = config(tmp_path / "studies", uri)
    (tmp_path / "study.json").write_text(study.model_dump_json())
    folder = tmp_path / "studies" / "s"
    trust = ["--trust", str(study.train.model.classifier)]
    with mlflow_server(tmp_path, port):
        with ray_cluster(nodes=1) as cluster:
            words = ["run", "--config", str(tmp_path / "study.json"), *trust]
            # Ray waits a minute for a head; half of that will do here.
            waits, lost = {"RAY_gcs_rpc_server_reconnect_timeout_s": "30"}, cluster.address
            with study_process([*words, "--address", lost], waits) as process:
                wait_until(lambda: _trials_with(folder, epochs=3) >= 4, process)
                for kind in cluster.head_node.all_processes.values():
                    for part in kind:
                        os.kill(part.process.pid, signal.SIGKILL)
                output, _ = process.communicate(timeout=240)
        assert process.returncode == 1, output
        assert f"the head of the cluster at {lost} does not answer" in output
        assert "go on with: noise-study resume s --storage" in output
        assert "Failed to connect to GCS" not in output
        assert "Traceback" not in output
        before = _trained()
        let_go()
        with ray_cluster(nodes=1) as cluster:
            words = ["resume", "s", "--storage", str(folder.parent), "--address", cluster.address]
            with study_process(words) as process:
                output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        check(folder, study.train, uri)
        check_whole(folder)
    # The baseline had ended: it is not trained again. Trials repeat what no checkpoint has.
    assert _trained() - before <= len(GIVEN) * EPOCHS * STEPS


def _trained() -> int:
    """How many training steps there were."""
    return sum(len(times) for pids in places().values() for times in pids.values())


def _steps_of(process: int) -> int:
    """How many training steps this process has done."""
    return sum(len(pids.get(process, ())) for pids in places().values())


def _pids() -> set[int]:
    return {pid for pids in places().values() for pid in pids}


def _trials_with(folder: Path, epochs: int) -> int:
    trials = read_ledger(folder / "ledger.jsonl").by_role("trial")
    return sum(len(trial.history) >= epochs for trial in trials)


def check(folder: Path, base: TrainConfig, uri: str) -> None:
    """Every trial is there once, with the values that it has when it is trained alone."""
    summary = summary_of(folder)
    assert [trial["state"] for trial in summary["trials"]] == ["complete"] * len(GIVEN)
    for trial, overrides in zip(summary["trials"], GIVEN, strict=True):
        run = apply_overrides(base, overrides)
        alone = list(train_epochs(ImageTraining(run, device_data(run))))
        assert trial["value"] == objective_values(alone)["best_val_accuracy"]
        assert trial["metrics"]["val_loss"] == alone[-1].val_loss
    assert optuna_states(folder) == ["COMPLETE"] * len(GIVEN)
    runs = mlflow_runs(folder, uri)
    assert len(runs) == 1 + 1 + len(GIVEN)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for trial in summary["trials"]:
        assert runs[trial["trial_id"]].info.run_id == trial["run_id"]
        assert steps_in_mlflow(folder, trial["run_id"], uri=uri) == list(range(1, EPOCHS + 1))
    check_whole(folder)
