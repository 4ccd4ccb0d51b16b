"""MLflow's database is there as a whole, or not at all."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from study.tracking.new_database import make_database
from study.tracking.store import MlflowStore
from tests.support.study_processes import wait_until


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
