"""A single run in MLflow."""

import signal
from pathlib import Path
from typing import Any

import pytest

from study.commands.train import main
from study.run import single_run as single_run_module
from tests.support.single_runs import EAGER, SMALL, artefacts

pytestmark = pytest.mark.usefixtures("few_threads")


@pytest.mark.slow
def test_a_tracked_run_is_in_mlflow_once_though_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    words = [*SMALL, *EAGER, "--checkpoint-dir", str(tmp_path / "runs"), "--tracking-uri", uri]
    save = single_run_module.save_state

    def stop(path: Path, state: Any) -> int:
        if len(state["history"]) == 3:
            signal.raise_signal(signal.SIGINT)
        return save(path, state)

    with monkeypatch.context() as patched:
        patched.setattr(single_run_module, "save_state", stop)
        assert main(words) == 130
    assert main([*words, "--resume"]) == 0
    done = artefacts(tmp_path / "runs")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("noise-train")
    (found,) = client.search_runs([experiment.experiment_id], "tags.role = 'trial'")
    assert found.data.metrics["test_accuracy"] == done.final["test_accuracy"]
    history = client.get_metric_history(found.info.run_id, "val_loss")
    stored = sorted((point.step, point.value) for point in history)
    assert stored == [(row["epoch"] + 1, row["val_loss"]) for row in done.epochs]
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert {"config.json", "noise.jsonl", "epoch_metrics.jsonl", "final_metrics.json"} <= names
    statuses = {run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert statuses == {"FINISHED"}
