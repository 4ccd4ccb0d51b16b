"""Records in an object store: what is copied, in which order, what is fetched, who holds them."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from study.campaigns.housekeeping import clean_study
from study.campaigns.resume import resumed
from study.commands.study import main
from study.config import StudyConfig
from study.names import is_address
from study.records import remote_lock
from study.records.events import EndEvent, StartEvent, StudyEvent
from study.records.folder import StudyFolder, find_records
from study.records.ledger import Ledger
from study.records.ledger_view import read_ledger
from study.records.remote import LOCK, RemoteError, check_remote
from study.records.remote_copy import RemoteCopy
from study.records.storage import Storage, default_work_dir
from tests.support.runs import device_data
from tests.support.servers import ObjectStore, failing_store, free_port
from tests.support.study_processes import check_whole, mlflow_runs, study_process, wait_until
from trainables.config import apply_overrides
from trainables.errors import InputError
from trainables.loop import train_epochs
from trainables.object_store import ObjectPath
from trainables.settings import parse_config
from trainables.tasks.image_task import ImageTraining


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty place: a file system's, and a store's."""
    if request.param == "file":
        return (tmp_path / "store").as_uri()
    found: ObjectStore = request.getfixturevalue("store")
    return found.uri(f"bucket/{tmp_path.name}")


def begun(place: str, work_dir: Path, *, ended: int = 0) -> StudyFolder:
    """A study's records in a work folder, with some trials that have ended."""
    folder = StudyFolder.of(Storage.of(place, str(work_dir)), "s")
    with Ledger(folder.ledger) as ledger:
        ledger.append(StudyEvent("s", "uid", {}, time=1))
        for number in range(ended):
            ledger.append(EndEvent(f"trial-{number:04d}", "complete", time=2))
    config = parse_config(StudyConfig, {"name": "s", "storage": place, "work_dir": str(work_dir)})
    folder.write_config(config)
    return folder


def copy_of(folder: StudyFolder, **options: Any) -> RemoteCopy:
    assert folder.remote is not None
    return RemoteCopy(folder.path, folder.remote, **options)


def test_the_ledger_is_copied_last_and_only_its_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun((tmp_path / "store").as_uri(), tmp_path / "here", ended=1)
    whole = folder.ledger.read_bytes()
    folder.ledger.write_bytes(whole + b'{"crc":"12')
    for name in ("mlflow.offset", "optuna.journal", "summary.json", "best_config.json"):
        (folder.path / name).write_text("{}")
    (folder.path / "mlflow.offset.lock").touch()
    order: list[str] = []
    write = ObjectPath.write_bytes

    def noted(self: ObjectPath, content: bytes) -> None:
        order.append(self.name)
        write(self, content)

    monkeypatch.setattr(ObjectPath, "write_bytes", noted)
    copy = copy_of(folder)
    copy.copy()
    assert order[:2] == ["mlflow.offset", "optuna.journal"]
    assert order[-1] == "ledger.jsonl"
    assert set(order[2:-1]) == {"summary.json", "best_config.json", "study.json"}
    assert folder.remote is not None
    assert (folder.remote / "ledger.jsonl").read_bytes() == whole
    order.clear()
    copy.copy()
    assert order == []


def test_records_are_copied_after_each_end_of_a_trial_while_the_study_runs(
    place: str, tmp_path: Path
) -> None:
    folder = begun(place, tmp_path / "here")
    copy = copy_of(folder)
    copy.start()
    assert folder.remote is not None
    try:
        with Ledger(folder.ledger) as ledger:
            ledger.append(EndEvent("trial-0000", "complete", time=2))
            wait_for(lambda: _content(folder.remote) == folder.ledger.read_bytes())
            ledger.append(EndEvent("trial-0001", "complete", time=3))
            wait_for(lambda: _content(folder.remote) == folder.ledger.read_bytes())
    finally:
        assert copy.finish()


def _content(remote: ObjectPath | None) -> bytes:
    assert remote is not None
    try:
        return (remote / "ledger.jsonl").read_bytes()
    except FileNotFoundError:
        return b""


def wait_for(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_store_that_is_away_costs_nothing_but_a_sentence(tmp_path: Path) -> None:
    folder = begun((tmp_path / "store").as_uri(), tmp_path / "here", ended=1)
    said: list[str] = []
    (tmp_path / "store").write_text("a file where the store should be")
    copy = copy_of(folder, say=said.append)
    assert not copy.finish()
    assert not copy.finish()
    assert len(said) == 1
    assert str(folder.path) in said[0]
    (tmp_path / "store").unlink()
    assert copy.finish()
    assert "again" in said[1]


@pytest.mark.slow
@pytest.mark.parametrize("done", [2, 4])
def test_a_store_that_fails_half_way_has_whole_records_and_gets_the_rest(
    done: int, store: ObjectStore, tmp_path: Path
) -> None:
    """``done``: requests that write which come through: the summary's upload breaks before its
    end, or the ledger's in its midst."""
    asked, failing = [0], [False]

    def due() -> bool:
        asked[0] += failing[0]
        return asked[0] > done

    with failing_store(store, due) as (broken, count):
        place = broken.uri(f"bucket/half-{done}")
        folder = begun(place, tmp_path / "here", ended=2)
        copy = copy_of(folder)
        copy.copy()
        before = folder.ledger.read_bytes()
        failing[0] = True
        with Ledger(folder.ledger) as ledger:
            ledger.append(EndEvent("trial-0002", "complete", time=3))
        folder.summary.write_text("{}" * 100_000)
        with pytest.raises(RemoteError):
            copy.copy()
        assert count()
        # Whoever takes the records over now has some whole state of them.
        direct = store.uri(f"bucket/half-{done}")
        other = StudyFolder.fetched(Storage.of(direct, str(tmp_path / "there")), "s")
        assert other.ledger.read_bytes() == before
        assert other.stored_config() is not None
        failing[0], asked[0] = False, -(10**9)
        copy.copy()
        for name in ("ledger.jsonl", "summary.json", "study.json"):
            stored = (ObjectPath(direct) / "s" / name).read_bytes()
            assert stored == (folder.path / name).read_bytes()


def test_another_machine_fetches_the_records_and_what_it_adds_wins(
    place: str, tmp_path: Path
) -> None:
    here = begun(place, tmp_path / "here", ended=1)
    (here.path / "mlflow.offset").write_text(json.dumps({"store": "sqlite:////here/mlflow.db"}))
    copy_of(here).copy()
    # What this machine has in hand, and could not copy any more.
    with Ledger(here.ledger) as ledger:
        ledger.append(EndEvent("trial-0007", "failed", time=3))
    here.fetch()
    assert read_ledger(here.ledger).offset > len(_content(here.remote))
    there = StudyFolder.of(Storage.of(place, str(tmp_path / "there")), "s")
    there.fetch()
    assert there.ledger.read_bytes() == _content(there.remote)
    # MLflow's database does not come along: it is filled again.
    assert not there.mlflow_offset.exists()
    with Ledger(there.ledger) as ledger:
        ledger.append(EndEvent("trial-0001", "complete", time=4))
    copy_of(there).copy()
    own = here.ledger.read_bytes()
    here.fetch()
    assert here.ledger.read_bytes() == there.ledger.read_bytes()
    (aside,) = (tmp_path / "here" / ".superseded").iterdir()
    assert (aside / "ledger.jsonl").read_bytes() == own
    assert [study.path.name for study in find_records(Storage.of(place, str(tmp_path / "x")))] == [
        "s"
    ]


def test_a_tracking_servers_offset_comes_along(tmp_path: Path) -> None:
    place = (tmp_path / "store").as_uri()
    here = begun(place, tmp_path / "here")
    here.mlflow_offset.write_text(json.dumps({"store": "http://127.0.0.1:5000", "offset": 7}))
    copy_of(here).copy()
    there = StudyFolder.fetched(Storage.of(place, str(tmp_path / "there")), "s")
    assert json.loads(there.mlflow_offset.read_text())["offset"] == 7


def holder(place: str, **values: Any) -> ObjectPath:
    """Somebody else's lock."""
    lock = ObjectPath(place) / "s" / LOCK
    known = {"token": "else", "pid": 1, "host": "elsewhere", "folder": "/f", "time": time.time()}
    lock.write_bytes(json.dumps(known | values).encode())
    return lock


def test_a_living_holder_elsewhere_is_named_and_a_dead_one_is_followed(
    place: str, tmp_path: Path
) -> None:
    folder = begun(place, tmp_path / "here")
    lock = holder(place)
    with (
        pytest.raises(InputError, match=r"process 1 on elsewhere, last seen \d+ s ago"),
        folder.locked(),
    ):
        pass
    assert lock.exists()
    holder(place, time=time.time() - remote_lock.STALE_SECONDS - 1)
    with folder.locked():
        assert json.loads(lock.read_bytes())["host"] == socket.gethostname()
    assert not lock.exists()
    # One that was killed on this machine needs no waiting: its local lock is free.
    holder(place, host=socket.gethostname(), folder=str(folder.path))
    with folder.locked():
        pass
    holder(place, host=socket.gethostname(), pid=2**22 + 1)
    with folder.locked():
        pass


def test_a_holder_of_which_the_last_sign_lies_in_the_future_is_watched(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock was set back by an hour: nobody waits for an hour, and no living one is followed."""
    monkeypatch.setattr(remote_lock, "BEAT_SECONDS", 0.4)
    folder = begun(place, tmp_path / "here")
    holder(place, time=time.time() + 3600)
    with folder.locked():
        pass
    # However late the next sign of life is written, and read, it is waited for.
    monkeypatch.setattr(remote_lock, "BEAT_SECONDS", 30.0)
    holder(place, time=time.time() + 3600)
    beating = threading.Timer(1.0, lambda: holder(place, time=time.time() + 3601))
    beating.start()
    with pytest.raises(InputError, match="process 1 on elsewhere"), folder.locked():
        pass
    beating.join()


def test_a_holder_gives_signs_of_life_and_one_that_lost_the_study_stops_copying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lock, "BEAT_SECONDS", 0.05)
    place = (tmp_path / "store").as_uri()
    folder = begun(place, tmp_path / "here", ended=1)
    lock = ObjectPath(place) / "s" / LOCK
    with folder.locked():
        first = json.loads(lock.read_bytes())["time"]
        wait_for(lambda: json.loads(lock.read_bytes())["time"] > first)

        def followed() -> bool:
            """Whether the other one holds it; a sign of life that was under way may undo that."""
            if json.loads(lock.read_bytes())["token"] != "else":
                holder(place)
            time.sleep(0.3)
            return bool(json.loads(lock.read_bytes())["token"] == "else")

        wait_for(followed)
        with pytest.raises(RemoteError, match="taken the study over"):
            copy_of(folder).copy()
    assert lock.exists()
    lock.unlink()
    with folder.locked():
        copy = copy_of(folder)
        copy.copy()
        # Another process followed while this one was away, and has ended by now.

        def let_go() -> bool:
            """Whether no sign of life follows; one that was under way puts the lock back."""
            lock.unlink(missing_ok=True)
            time.sleep(0.1)
            return not any(t.name == "storage-lock" for t in threading.enumerate())

        wait_for(let_go)
        with pytest.raises(RemoteError, match="taken the study over"):
            copy.copy()
    assert not any(thread.name == "storage-lock" for thread in threading.enumerate())


def test_checkpoints_that_nothing_needs_are_removed_from_the_store(
    place: str, tmp_path: Path
) -> None:
    folder = begun(place, tmp_path / "here", ended=1)
    copy_of(folder).copy()
    checkpoint = folder.checkpoints / "trial-0000" / "final.ckpt"
    assert isinstance(checkpoint, ObjectPath)
    checkpoint.write_bytes(b"12345")
    with Ledger(folder.ledger) as ledger:
        start = {"role": "trial", "seed": 0, "overrides": {}, "config": {}, "baseline": "b"}
        ledger.append(StartEvent("trial-0000", time=3, **start))
        ledger.append(EndEvent("trial-0000", "complete", time=4))
    said = clean_study(Storage.of(place, str(tmp_path / "here")), "s")
    assert "removed 1 checkpoints" in said
    assert not checkpoint.exists()


@pytest.mark.slow
def test_a_study_whose_machine_is_lost_goes_on_on_another(
    store: ObjectStore, tmp_path: Path
) -> None:
    given = [
        {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 0.02 * number}
        for number in range(1, 5)
    ]
    data = {"dataset": "synthetic", "synthetic_train": 300, "batch_size": 32}
    train = {"data": data, "epochs": 4, "optimizer": {"lr": 0.02, "lr_restart_period": 4}}
    values = {"name": "s", "configs": given, "baseline_seeds": 1, "max_concurrent": 1}
    config = parse_config(StudyConfig, values | {"train": train | {"device": "cpu"}})
    (tmp_path / "study.json").write_text(config.model_dump_json())
    uri = store.uri("bucket/lost")
    remote = ObjectPath(uri) / "s"
    words = ["run", "--config", str(tmp_path / "study.json"), "--work-dir", str(tmp_path / "here")]
    breaks: list[int] = []

    def due() -> bool:
        """Once a trial has ended, requests fail: checkpoints, records, whatever comes.

        The client tries each some fifty times.
        """
        ended = read_ledger(tmp_path / "here" / "s" / "ledger.jsonl").by_role("trial")
        if len(breaks) < 80 and any(record.finished for record in ended):
            breaks.append(1)
            return True
        return False

    with (
        failing_store(store, due) as (failing, _),
        study_process([*words, "--storage", failing.uri("bucket/lost")]) as process,
    ):
        wait_until(lambda: _content(remote).count(b'"type":"end"') >= 3, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert len(breaks) == 80
    assert (remote / LOCK).exists()
    done = _content(remote)
    there = tmp_path / "there"
    words = ["resume", "s", "--storage", uri, "--work-dir", str(there)]
    with study_process(words) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert _content(remote).startswith(done)
    assert (there / "s" / "ledger.jsonl").read_bytes() == _content(remote)
    records = read_ledger(there / "s" / "ledger.jsonl").by_role("trial")
    assert [record.state for record in records] == ["complete"] * len(given)
    for record, overrides in zip(records, given, strict=True):
        run = apply_overrides(config.train, overrides)
        assert list(record.history) == list(train_epochs(ImageTraining(run, device_data(run))))
    # What was recorded on the lost machine is in MLflow, too, once.
    runs = mlflow_runs(there / "s")
    assert len(runs) == 1 + 1 + len(given)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert store.secret not in output
    check_whole(there / "s", storage=Storage.of(uri, str(there)))


def test_secrets_are_asked_for_again_and_shown_nowhere(
    store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = store.uri("bucket/secret")
    folder = begun(uri, tmp_path / "here")
    copy_of(folder).copy()
    assert store.secret not in folder.config.read_text()
    config = resumed(Storage.of(uri, str(tmp_path / "there")), "s", {})
    assert config.storage == uri
    assert main(["run", "--config", str(folder.config)]) == 2
    error = capsys.readouterr().err
    assert "storage = s3://***@bucket/secret" in error
    assert "--storage" in error
    assert Storage.of(uri, "w").words == [
        "--storage",
        uri.replace(f"{store.user}:{store.secret}", "***"),
        "--work-dir",
        "w",
    ]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("zz://bucket/folder", "no place that pyarrow can open"),
        ("s3://me:hush/hush@bucket/x", "no place that pyarrow can open"),
    ],
)
def test_a_uri_that_means_nothing_is_refused(
    uri: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--storage", uri, "--work-dir", str(tmp_path / "w")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "hush" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_does_not_answer_is_refused(tmp_path: Path) -> None:
    uri = f"s3://me:hush@bucket/x?scheme=http&endpoint_override=127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=r"storage = s3://\*\*\*@bucket/x: ") as refused:
        check_remote(ObjectPath(uri))
    assert "hush" not in str(refused.value)


def test_a_work_folder_beside_a_plain_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--storage", str(tmp_path), "--work-dir", "w"]) == 2
    assert "leave --work-dir away" in capsys.readouterr().err


def test_mlflows_pages_need_a_database_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--storage", (tmp_path / "store").as_uri(), "--work-dir", str(tmp_path / "w")]
    assert main(["ui", *words]) == 2
    assert "noise-study sync NAME" in capsys.readouterr().err


def test_the_default_work_folder_depends_on_the_place_alone() -> None:
    one = default_work_dir("s3://a:b@bucket/x?region=eu")
    assert one == default_work_dir("s3://bucket/x/")
    assert one != default_work_dir("s3://bucket/y")
    assert "a:b" not in str(one)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("auto", True),
        ("10.0.0.1:6379", True),
        ("ray://head.example:10001", True),
        ("[::1]:6379", True),
        ("head", False),
        ("http://head:8265", False),
        ("ray://head", False),
    ],
)
def test_addresses(text: str, allowed: bool) -> None:
    assert is_address(text) is allowed
