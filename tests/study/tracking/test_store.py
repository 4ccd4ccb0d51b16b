"""The store: what goes into MLflow comes out of it, sent once or twice; secrets stay outside."""

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from study.tracking.addresses import artifact_root, resolve_uri, view_link
from study.tracking.store import MlflowStore
from study.tracking.types import STUDY_RUN, MetricPoint, StoreRefusedError, StoreUnavailableError
from study.tracking.ui import pages_of, serve_ui, ui_command, ui_environment
from tests.support.ledgers import UID
from tests.support.servers import free_port
from tests.support.study_processes import alive, family, wait_until
from trainables.errors import InputError
from trainables.uris import redact_uri


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> MlflowStore:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = resolve_uri(None, tmp_path)
    return MlflowStore(uri, artifact_root(uri, tmp_path))


def new_run(store: MlflowStore, key: str = "trial-0000", **tags: str) -> tuple[str, str]:
    experiment = store.experiment("study")
    tags = {"study_id": UID, "role": "trial", "trial_id": key, **tags}
    return experiment, store.create_run(experiment, key, tags, 1000)


def rows(store: MlflowStore, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as database:
        return database.execute(query).fetchall()


def test_values_come_back_and_sending_twice_adds_nothing(store: MlflowStore) -> None:
    _, run_id = new_run(store)
    values = [0.1 + 0.2, math.nan, math.inf, -math.inf, 1e-300, 0.0]
    points = [MetricPoint("val_loss", v, 5000 + step, step) for step, v in enumerate(values)]
    for _ in range(2):
        store.log(run_id, metrics=points, params={"noise/patience": "3"}, tags={"value": "0.5"})
        store.log_dataset(run_id, "digits", {"dataset": "digits"})
    found = store.metric_history(run_id, "val_loss")
    assert [(p.step, p.time) for p in found] == [(p.step, p.time) for p in points]
    assert math.isnan(found[1].value)
    # SQL has no infinity: MLflow stores the largest number.
    assert [p.value for p in found[2:4]] == [sys.float_info.max, -sys.float_info.max]
    assert (found[0].value, found[4].value) == (0.1 + 0.2, 1e-300)
    run = store.run(run_id)
    assert run.data.params == {"noise/patience": "3"}
    assert run.data.tags["value"] == "0.5"
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["digits"]
    assert rows(store, "select count(*) from metrics") == [(6,)]


def test_mlflows_limits_are_kept(store: MlflowStore) -> None:
    _, run_id = new_run(store)
    points = [MetricPoint(f"m{i % 5}", float(i), 1, i // 5) for i in range(2500)]
    params = {f"p{i}": "x" * 9000 if i == 7 else str(i) for i in range(250)}
    tags = {f"t{i}": "y" * 9000 if i == 7 else str(i) for i in range(250)}
    store.log(run_id, metrics=points, params=params, tags=tags)
    assert rows(store, "select count(*) from metrics") == [(2500,)]
    run = store.run(run_id)
    assert len(run.data.params) == 250
    assert run.data.params["p249"] == "249"
    assert run.data.params["p7"].endswith("x…")
    assert run.data.tags["t249"] == "249"
    assert run.data.tags["t7"].endswith("y…")


def test_status_artifacts_and_search(store: MlflowStore, tmp_path: Path) -> None:
    experiment, run_id = new_run(store)
    parent = store.create_run(
        experiment, "study", {"study_id": UID, "role": "study", "study": "study"}, 900
    )
    new_run(store, study_id="somebody else's")
    store.log_text(run_id, "{}", "config.json")
    file = tmp_path / "report.html"
    file.write_text("<p>")
    store.log_file(parent, file, "plots")
    store.set_status(run_id, "FINISHED", 2000)
    found = store.find_runs(experiment, UID)
    assert {key: (run.run_id, run.status) for key, run in found.items()} == {
        "trial-0000": (run_id, "FINISHED"),
        STUDY_RUN: (parent, "RUNNING"),
    }
    assert store.run(run_id).info.end_time == 2000
    store.set_status(run_id, "RUNNING")
    assert store.find_runs(experiment, UID)["trial-0000"].status == "RUNNING"
    artifacts = tmp_path / "mlartifacts" / "study"
    assert (artifacts / run_id / "artifacts" / "config.json").read_text() == "{}"
    assert (artifacts / parent / "artifacts" / "plots" / "report.html").exists()
    study = store.run(parent)
    assert (study.data.tags["study"], study.data.tags["study_id"]) == ("study", UID)
    assert study.info.start_time == 900


def test_a_run_made_twice_becomes_one(store: MlflowStore) -> None:
    experiment, first = new_run(store)
    _, second = new_run(store)
    _, third = new_run(store)
    store.log(second, metrics=[MetricPoint("m", 1.0, 1, 0)])
    assert store.find_runs(experiment, UID)["trial-0000"].run_id == second
    alive = rows(store, "select run_uuid from runs where lifecycle_stage = 'active'")
    assert alive == [(second,)]
    assert {first, third}.isdisjoint({second})


def test_a_deleted_experiment_is_restored(store: MlflowStore) -> None:
    experiment, _ = new_run(store)
    store.connection.client.delete_experiment(experiment)
    assert store.experiment("study") == experiment
    assert store.find_experiment("study") == experiment
    assert store.find_experiment("nothing") is None


def test_refusals_and_absences_are_told_apart(store: MlflowStore, tmp_path: Path) -> None:
    _, run_id = new_run(store)
    with pytest.raises(StoreRefusedError):
        store.log("0" * 32, tags={"a": "b"})
    store.log(run_id, params={"p": "1"})
    with pytest.raises(StoreRefusedError):
        store.log(run_id, params={"p": "2"})
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreUnavailableError):
        MlflowStore(f"sqlite:///{blocked}/mlflow.db").experiment("study")
    nobody = MlflowStore(f"http://user:hunter2@127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError) as error:
        nobody.experiment("study")
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(nobody)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://host:5000/x", "http://host:5000/x"),
        ("http://me:hunter2@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://me:hunter2@db/x", "postgresql+psycopg2://***@db/x"),
        ("https://host/x?token=hunter2&a=1", "https://host/x?token=***&a=1"),
        ("s3://b/k?AWS_SECRET=1&X-Amz-Signature=1", "s3://b/k?AWS_SECRET=***&X-Amz-Signature=***"),
        ("http://me:p@ss@host/x", "http://***@host/x"),
        ("http://host/a@b?monkey=1", "http://host/a@b?monkey=***"),
        ("a sentence with key=3 and sig=4", "a sentence with key=3 and sig=4"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("no uri at all, but see http://a:b@c", "no uri at all, but see http://***@c"),
    ],
)
def test_secrets_are_redacted(uri: str, expected: str) -> None:
    assert redact_uri(uri) == expected


def test_uris_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri(None, Path("studies")) == f"sqlite:///{tmp_path}/studies/mlflow.db"
    assert resolve_uri("sqlite:///a.db", tmp_path) == f"sqlite:///{tmp_path}/a.db"
    assert resolve_uri("sqlite:////x/a.db", tmp_path) == "sqlite:////x/a.db"
    assert resolve_uri("http://h:1", tmp_path) == "http://h:1"
    assert artifact_root("http://h:1", tmp_path) is None
    assert artifact_root("sqlite:////x/a.db", tmp_path) == "file:///x/mlartifacts"
    assert artifact_root("postgresql://db/x", tmp_path) == f"file://{tmp_path}/mlartifacts"
    for wrong in ("mlruns", "file:///x/mlruns", "localhost:5000", "htp://h"):
        with pytest.raises(InputError, match="tracking_uri"):
            resolve_uri(wrong, tmp_path)


def test_importing_the_store_does_not_import_mlflow() -> None:
    code = (
        "import sys, study.tracking.store, study.tracking.projector; "
        "print([name for name in ('ray', 'mlflow', 'optuna', 'pandas') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert output.strip() == b"[]"


_WATCH_CONNECTIONS = """
import os, socket, sys
from pathlib import Path
asked = []
real_connect, real_lookup = socket.socket.connect, socket.getaddrinfo
socket.socket.connect = lambda s, a: asked.append(a) or real_connect(s, a)
socket.getaddrinfo = lambda *a, **k: asked.append(a) or real_lookup(*a, **k)
from study.tracking.addresses import artifact_root, resolve_uri, view_link
from study.tracking.store import MlflowStore
from study.tracking.types import MetricPoint
uri = resolve_uri(None, Path(sys.argv[1]))
store = MlflowStore(uri, artifact_root(uri, Path(sys.argv[1])))
run = store.create_run(store.experiment("study"), "run", {}, 1)
store.log(run, metrics=[MetricPoint("m", 1.0, 1, 0)])
store.log_text(run, "x", "x.txt")
store.set_status(run, "FINISHED", 2)
import time; time.sleep(1)
print(asked)
"""


def test_no_other_host_is_contacted(tmp_path: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    # MLflow is silent under tests anyway; here it must not know that it is tested.
    told = ("PYTEST", "CI", "GITHUB", "MLFLOW", "DO_NOT_TRACK", "BUILDKITE", "JENKINS", "TRAVIS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(told)}
    output = subprocess.run(
        [sys.executable, "-c", _WATCH_CONNECTIONS, str(tmp_path)],
        capture_output=True,
        check=True,
        env=environment,
    )
    assert output.stdout.strip() == b"[]"


def test_the_pages_command_holds_no_secret(tmp_path: Path) -> None:
    uri = "postgresql://me:hunter2@db/x"
    command = " ".join(ui_command("127.0.0.1", 5000))
    assert "hunter2" not in command
    assert "--host 127.0.0.1" in command
    # No line for each file that the pages ask for.
    assert "--log-level warning" in command
    environment = ui_environment(uri, tmp_path)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == f"file://{tmp_path}/mlartifacts"


def test_a_study_is_opened_at_its_table_of_runs(tmp_path: Path) -> None:
    uri = resolve_uri(None, tmp_path)
    with pytest.raises(InputError, match="MLflow has no study of this name"):
        pages_of(uri, "mine")
    store = MlflowStore(uri)
    experiment = store.experiment("mine")
    assert pages_of(uri, "mine") == view_link(experiment)
    # An experiment made by an earlier version says so from now on, too.
    with store.connection.calling() as client:
        client.delete_experiment_tag(experiment, "mlflow.experimentKind")
    assert store.experiment("mine") == experiment
    with store.connection.calling() as client:
        kind = client.get_experiment(experiment).tags["mlflow.experimentKind"]
    assert kind == "custom_model_development"


_SERVE = """
import sys
from pathlib import Path
from study.tracking.addresses import resolve_uri
from study.tracking.ui import serve_ui
folder = Path(sys.argv[1])
sys.exit(serve_ui(resolve_uri(None, folder), folder, port=int(sys.argv[2])))
"""


@pytest.mark.slow
def test_the_pages_are_served_on_this_machine_only(tmp_path: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(tmp_path), str(port)], start_new_session=True
    ) as process:
        try:
            page = _wait_for(f"http://127.0.0.1:{port}/", process)
            assert b"MLflow" in page
            with pytest.raises(InputError, match=f"port = {port}"):
                serve_ui(resolve_uri(None, tmp_path), tmp_path, port=port)
            servers = family(process.pid)
            process.terminate()
            assert process.wait(30) == 0
            wait_until(lambda: not alive(servers))
        finally:
            for left in alive(family(process.pid)):
                os.kill(left, signal.SIGKILL)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> bytes:
    for _ in range(240):
        assert process.poll() is None
        try:
            with urllib.request.urlopen(address, timeout=5) as page:
                content: bytes = page.read()
                return content
        except OSError:
            time.sleep(0.5)
    raise AssertionError("no answer")


def test_a_server_needs_no_pages_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="open it in a browser"):
        serve_ui("http://me:hunter2@host:5000", tmp_path)
