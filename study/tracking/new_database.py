"""Makes MLflow's database whole: half of one, as a kill would leave it, MLflow can never use."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from trainables.files import write_atomically
from trainables.paths import cache_folder


def make_database(path: Path) -> None:
    """Make an SQLite database for MLflow, unless there is a file; OSError where that fails.

    MLflow makes it table by table, for seconds. So it is made elsewhere and put there at once, from
    empty tables that are kept in this user's cache. If another process has done so meanwhile, its
    own stays. An empty file is left to MLflow.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        copy = Path(folder) / path.name
        # MLflow keeps the one that it made open.
        shutil.copyfile(_made(Path(folder)), copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(copy, path)
        except FileExistsError:
            return
        except OSError:  # no links on this file system
            if not path.exists():
                copy.replace(path)


def _made(folder: Path) -> Path:
    """A database that MLflow has made, and opened, in this folder."""
    from mlflow import __version__

    kept = cache_folder() / f"mlflow-{__version__}.db"
    with suppress(Exception):
        begun = folder / "begun.db"
        shutil.copyfile(kept, begun)
        _open(begun)
        return begun
    # There is none, or it is damaged.
    made = folder / "made.db"
    _open(made)
    with suppress(OSError, sqlite3.Error):
        write_atomically(kept, _without_rows(made, folder / "empty.db"))
    return made


def _open(path: Path) -> None:
    """Let MLflow make what is missing: all tables, and in them an experiment of its own."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{path}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)


def _without_rows(made: Path, empty: Path) -> bytes:
    """A database without MLflow's own experiment, which knows the folder it was made in."""
    shutil.copyfile(made, empty)
    with closing(sqlite3.connect(empty)) as database, database:
        database.execute("DELETE FROM experiments")
    return empty.read_bytes()
