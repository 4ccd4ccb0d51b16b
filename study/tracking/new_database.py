"""Makes MLflow's database whole: half of one, as a kill would leave it, MLflow can never use."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


def make_database(path: Path) -> None:
    """Make an SQLite database for MLflow, unless there is one; OSError where that fails.

    MLflow makes it table by table, for seconds. So it is made elsewhere and put there at once. If
    another process has done so meanwhile, its own stays.
    """
    if path.exists() and path.stat().st_size:
        return
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory(prefix="noise-study-") as folder:
        made = Path(folder) / path.name
        uri = f"sqlite:///{made}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            # MLflow keeps the one that it made open.
            shutil.copyfile(made, waiting)
            _put(waiting, path)
        finally:
            waiting.unlink(missing_ok=True)


def _put(waiting: Path, path: Path) -> None:
    if path.exists():  # empty, as some tools make it
        with suppress(FileNotFoundError):
            if not path.stat().st_size:
                path.unlink()
    try:
        os.link(waiting, path)
    except FileExistsError:
        return
    except OSError:  # no links on this file system
        if not path.exists():
            waiting.replace(path)
