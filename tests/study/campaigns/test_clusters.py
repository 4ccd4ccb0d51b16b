"""Studies on a cluster of several nodes, with a tracking server and an object store."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from study.api import run_study
from study.commands.study import main
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import TrialRecord, read_ledger
from study.records.storage import Storage
from study.tune.connect import WORKER_ENVIRONMENT, ray_session
from tests.support.clusters import ray_cluster
from tests.support.faulty_models import let_go, places
from tests.support.runs import EAGER, device_data
from tests.support.servers import ObjectStore, free_port, mlflow_server, object_store
from tests.support.study_processes import (
    ROOT,
    check_whole,
    mlflow_runs,
    steps_in_mlflow,
    study_process,
    summary_of,
    wait_until,
)
from trainables.code_trust import allow
from trainables.config import apply_overrides
from trainables.loop import train_epochs
from trainables.metrics import objective_values
from trainables.object_store import ObjectPath
from trainables.settings import parse_config
from trainables.tasks.image_task import ImageTraining

EPOCHS = 6
GIVEN: list[dict[str, Any]] = [
    {f"noise/{key}": value for key, value in (EAGER | {"warmup_epochs": warmup}).items()}
    | {"noise/magnitude_min": 0.2 * number}
    for number, warmup in enumerate((2, 2, 3, 3, 4, 4), start=1)
]
STRONG = {
    "noise/signals": ["val_loss_plateau"],
    "noise/plateau_delta": 1e9,
    "noise/magnitude_min": 3.0,
}
"""With it the noise is on the weights, and strong enough for a classifier to notice."""
FAR = """
import numpy as np
import torch
from parts_far.small import net

from trainables.metric_config import metric


def data():
    drawn = np.random.default_rng(0)
    labels = np.arange(400) % 2
    images = drawn.integers(0, 156, (400, 32, 32, 3)) + 100 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    return (images[:300], labels[:300]), (images[300:], labels[300:])


def plain(parameters, lr, weight_decay):
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)


def falling(step, steps_per_epoch, epochs, lr):
    return lr * (1 - step / (2 * steps_per_epoch * epochs))


def darker(images, generator):
    return images // 2


@metric("max", "share", worst=0.0)
def hits(logits, labels):
    return float((logits.argmax(1) == labels).float().mean())
"""
"""All that a run may name, which no node has."""
DATA = {"dataset": "synthetic", "synthetic_train": 300, "synthetic_test": 100, "batch_size": 32}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """A cluster and what it needs.

    Attributes:
        cluster: a head without cores, two nodes with a GPU each, and a third, which has no GPU and
            sees nothing of what this process sees in ``hidden``.
        client: the address of the client's server.
        hidden: the folder.
        hides: whether it does not see it; that needs the right to mount.
    """

    cluster: Cluster
    client: str
    hidden: Path
    hides: bool


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folder in which classifiers that wait say so, known to all of the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTS", str(tmp_path_factory.mktemp("faults")))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, faults: None) -> Iterator[Place]:
    hidden = tmp_path_factory.mktemp("hidden")
    port = free_port()
    with ray_cluster(nodes=2, ray_client_server_port=port) as cluster:
        # Who may not give a process its own mounts has a third node like the others.
        hides = not subprocess.run(["unshare", "--mount", "true"], check=False).returncode
        mount = f"mount -t tmpfs tmpfs {hidden} && " if hides else ""
        command = (
            f"{mount}exec {sys.executable} -m ray.scripts.scripts start "
            f"--address={cluster.address} --num-cpus=1 --num-gpus=0 --block "
            f"--object-store-memory={100 * 2**20}"
        )
        node = subprocess.Popen(
            [*(["unshare", "--mount"] if hides else []), "sh", "-c", command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            nodes = cluster.global_state.node_table
            wait_until(lambda: sum(node["Alive"] for node in nodes()) == 4)
            yield Place(cluster, f"ray://127.0.0.1:{port}", hidden, hides)
        finally:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store("bucket") as found:
        yield found


def study(*, classifier: str = "BabyCNN", **values: Any) -> StudyConfig:
    train = {
        "model": {"classifier": classifier},
        "data": DATA,
        "epochs": EPOCHS,
        "device": "cpu",
        "optimizer": {"lr": 0.02, "lr_restart_period": EPOCHS},
    }
    shared = {"baseline_seeds": 1, "cpus_per_trial": 0.25, "gpus_per_trial": 0.25, "train": train}
    shared |= {"race_seeds": 1, "objective": "best_val_accuracy"}
    return parse_config(StudyConfig, shared | values)


def trials_in(folder: Path) -> list[TrialRecord]:
    """The trials of a study, without its baselines."""
    return read_ledger(folder / "ledger.jsonl").by_role("trial")


def most_at_once(records: list[TrialRecord]) -> int:
    """How many of these runs were under way at the same moment."""
    return max(
        sum(other.started <= record.started < (other.ended or 0) for other in records)
        for record in records
    )


def test_a_study_uses_both_nodes_and_gives_the_numbers_of_one_machine(
    place: Place, tmp_path: Path, empty_database: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "server.db")
    with mlflow_server(tmp_path, free_port()) as uri:
        # Noise holds them until both nodes train: else one whose workers are slow to start would
        # be left without a trial, for Tune gives what waits for it to a worker that has finished.
        config = study(
            name="two",
            storage=str(tmp_path / "shared"),
            configs=[given | STRONG for given in GIVEN],
            classifier="tests.support.faulty_models:gathered",
        )
        config = config.model_copy(update={"tracking_uri": uri, "max_concurrent": 6})
        (tmp_path / "study.json").write_text(config.model_dump_json())
        folder = tmp_path / "shared" / "two"
        # As ray job submit says where the cluster is.
        environment = {"RAY_ADDRESS": place.cluster.address}
        words = ["run", "--config", str(tmp_path / "study.json")]
        words += ["--trust", config.train.model.classifier]
        with study_process(words, environment) as run:
            # The baseline's process and five at once, of which four fit on one node.
            wait_until(lambda: sum(map(len, places().values())) >= 6, run)
            assert not any(trial.ended for trial in trials_in(folder))
            let_go()
            output, _ = run.communicate(timeout=280)
        assert run.returncode == 0, output
        assert "4 cores on 2 nodes" in output
        assert "4 trials share a GPU" in output
        check_placement(folder, place.cluster)
        check_values(folder, config, uri)


def check_placement(folder: Path, cluster: Cluster) -> None:
    """Trials ran on both nodes that have a GPU, at most four at once on each."""
    trials = trials_in(folder)
    by_node: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        by_node.setdefault(trial.tags["node"].split()[-1], []).append(trial)
    assert set(by_node) == {node.node_id[:8] for node in cluster.worker_nodes}
    assert all(most_at_once(records) <= 4 for records in by_node.values())
    # Forked: what a trial shares with the baseline was not trained again, on either node.
    assert all(0 < trial.shared_epochs < EPOCHS for trial in trials)


def check_values(folder: Path, config: StudyConfig, uri: str) -> None:
    """Bit for bit those of the same configurations trained here; MLflow has each run once."""
    summary = summary_of(folder)
    runs = mlflow_runs(folder, uri)
    assert len(runs) == 1 + 1 + len(GIVEN)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for trial, overrides in zip(summary["trials"], config.configs or (), strict=True):
        run = apply_overrides(config.train, {"noise/policy": "on_stagnation", **overrides})
        alone = list(train_epochs(ImageTraining(run, device_data(run))))
        assert trial["state"] == "complete"
        assert trial["value"] == objective_values(alone)["best_val_accuracy"]
        assert trial["metrics"]["val_loss"] == alone[-1].val_loss
        found = runs[trial["trial_id"]]
        assert found.info.run_id == trial["run_id"]
        assert found.data.tags["node"]
        assert found.data.metrics["val_loss"] == alone[-1].val_loss
        assert steps_in_mlflow(folder, trial["run_id"], uri=uri) == list(range(1, EPOCHS + 1))
    check_whole(folder)


def test_a_study_through_the_client_takes_its_code_along_and_lives_in_an_object_store(
    place: Place, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, here = store.uri("bucket/studies"), tmp_path / "here"
    # A module and a package that no node has.
    (tmp_path / "code" / "parts_far").mkdir(parents=True)
    (tmp_path / "code" / "net_far.py").write_text(FAR)
    (tmp_path / "code" / "parts_far" / "__init__.py").touch()
    (tmp_path / "code" / "parts_far" / "small.py").write_text(
        "from trainables.models.networks import BabyCNN\n\n\n"
        "def net(num_classes):\n    return BabyCNN(num_classes)\n"
    )
    config = study(name="far", configs=GIVEN[::3])
    (tmp_path / "study.json").write_text(config.model_dump_json())
    given = ["--config", str(tmp_path / "study.json"), "--address", place.client]
    words = ["run", *given, "--storage", uri, "--work-dir", str(here)]
    words += ["--classifier", "net_far:net", "--dataset", "net_far:data"]
    words += ["--optimizer", "net_far:plain", "--lr-schedule", "net_far:falling"]
    words += ["--augment", "net_far:darker", "--metric", "net_far:hits"]
    with study_process(words, {"PYTHONPATH": f"{tmp_path / 'code'}:{ROOT}"}) as run:
        output, _ = run.communicate(timeout=280)
    assert run.returncode == 0, output
    remote = ObjectPath(uri) / "far"
    records = {path.name for path in remote.files()}
    assert {"ledger.jsonl", "summary.json", "study.json", "mlflow.db", "optuna.journal"} <= records
    for name in ("ledger.jsonl", "summary.json"):
        assert (remote / name).read_bytes() == (here / "far" / name).read_bytes()
    assert "lock" not in records
    trials = trials_in(here / "far")
    assert all(0 < trial.shared_epochs < EPOCHS for trial in trials)
    assert (remote / "checkpoints" / "trial-0000" / "final.ckpt").stat().st_size > 0
    assert not (here / "far" / "checkpoints").exists()
    # On another machine, which has nothing of it: the records come first, then nothing is left.
    there = tmp_path / "there"
    monkeypatch.syspath_prepend(tmp_path / "code")
    recorded = StudyFolder.of(Storage.of(str(here)), "far").stored_config()
    assert recorded is not None
    assert len(recorded.train.own_names) == 5
    for name in (*recorded.train.own_names.values(), "net_far:hits"):
        allow(name)
    summary = run_study(
        recorded.model_copy(
            update={"storage": uri, "work_dir": str(there), "address": place.cluster.address}
        )
    )
    values = {trial.key: trial.values["best_val_accuracy"] for trial in trials}
    assert {trial.trial_id: trial.value for trial in summary.trials} == values
    assert len(read_ledger(there / "far" / "ledger.jsonl").trials) == 3
    assert len(mlflow_runs(there / "far")) == 1 + 1 + len(trials)
    check_whole(there / "far", storage=Storage.of(uri, str(there)))
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    contents = [path.read_bytes() for path in kept]
    contents += [path.read_bytes() for path in remote.files()] + [output.encode()]
    assert not any(store.secret.encode() in content for content in contents)


@pytest.mark.parametrize("command", ["run", "experiment"])
def test_what_other_nodes_do_not_see_is_refused_at_once(
    place: Place, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = sorted(place.hidden.rglob("*"))
    words = [command, "--address", place.cluster.address, "--storage", str(place.hidden / "s")]
    assert main([*words, "--tracking-uri", f"sqlite:///{place.hidden}/m.db"]) == 2
    error = capsys.readouterr().err
    assert "cluster has 4 nodes" in error
    assert "mlflow server" in error
    if not place.hides:
        pytest.skip("no right to hide a folder from a node")
    for tracking in ([], ["--tracking-uri", "http://127.0.0.1:1"]):
        assert main([*words, *tracking]) == 2
        error = capsys.readouterr().err
        assert f"does not see {place.hidden / 's'}" in error
        assert "s3://" in error
    assert sorted(place.hidden.rglob("*")) == before


def test_a_device_that_the_nodes_lack_is_refused(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--address", place.cluster.address, "--storage", str(tmp_path / "s")]
    words += ["--tracking-uri", "http://127.0.0.1:1", "--gpus-per-trial", "0.5"]
    assert main([*words, "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert "device = 'cuda'" in error
    assert "on node" in error
    assert main([*words, "--gpus-per-trial", "2"]) == 2
    assert "no trial fits" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_workers_start_with_the_environment_that_training_wants(place: Place) -> None:
    with ray_session(study(address=place.cluster.address)):
        environment = ray.get(ray.remote(num_gpus=0.25)(lambda: dict(os.environ)).remote())
    assert WORKER_ENVIRONMENT.items() <= environment.items()
