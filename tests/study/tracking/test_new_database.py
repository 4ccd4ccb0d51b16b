"""MLflow's database is there as a whole, or not at all."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from study.tracking.new_database import make_database
from study.tracking.store import MlflowStore
from tests.support.study_processes import wait_until


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one: there each process makes the tables."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "noise-study"


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


def test_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    make_database(path)
    assert {"experiments", "alembic_version"} <= tables(path)
    before = path.stat()
    make_database(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert os.listdir(tmp_path) == ["mlflow.db"]


def test_its_tables_are_kept_empty_and_begun_with(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "one.db")
    [kept] = cache.iterdir()
    with sqlite3.connect(kept) as database:
        assert database.execute("SELECT count(*) FROM experiments").fetchone() == (0,)
        # It is these that are begun with.
        database.execute("CREATE TABLE mark (here int)")
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    make_database(other / "two.db")
    assert tables(other / "two.db") == {*tables(tmp_path / "one.db"), "mark"}
    with sqlite3.connect(other / "two.db") as database:
        [where] = database.execute("SELECT artifact_location FROM experiments").fetchall()
    assert where == (str(other / "mlruns" / "0"),)
    assert MlflowStore(f"sqlite:///{other / 'two.db'}").experiment("one")
    assert os.listdir(other) == ["two.db"]


@pytest.mark.parametrize("damaged", [b"no database", None])
def test_what_is_kept_may_be_damaged_or_in_the_way(
    damaged: bytes | None, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_database(tmp_path / "one.db")
    [kept] = cache.iterdir()
    if damaged is None:
        shutil.rmtree(cache)
        cache.write_text("a file")
    else:
        kept.write_bytes(damaged)
    make_database(tmp_path / "two.db")
    assert tables(tmp_path / "two.db") == tables(tmp_path / "one.db")
    assert MlflowStore(f"sqlite:///{tmp_path / 'two.db'}").experiment("one")
    if damaged is not None:
        assert tables(kept) == tables(tmp_path / "one.db")


def making(path: Path) -> "subprocess.Popen[bytes]":
    code = (
        "from pathlib import Path; from study.tracking.new_database import make_database\n"
        f"make_database(Path({str(path)!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.slow
def test_two_at_once_end_with_one_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    both = [making(path) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert MlflowStore(f"sqlite:///{path}").experiment("one")
    assert os.listdir(tmp_path) == ["mlflow.db"]


@pytest.mark.slow
def test_a_kill_while_it_is_made_leaves_none_and_the_next_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with making(path) as process:

        def begun() -> bool:
            return any(file.stat().st_size for file in tmp_path.rglob("made.db"))

        wait_until(begun, process)
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    make_database(path)
    assert {"experiments", "alembic_version"} <= tables(path)
