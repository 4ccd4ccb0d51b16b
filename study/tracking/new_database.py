"""Makes MLflow's database whole: half of one, as a kill would leave it, MLflow can never use."""

import os
import shutil
import tempfile
from pathlib import Path


def make_database(path: Path) -> None:
    """Make an SQLite database for MLflow, unless there is a file; OSError where that fails.

    MLflow makes it table by table, for seconds. So it is made elsewhere and put there at once. If
    another process has done so meanwhile, its own stays. An empty file is left to MLflow.
    """
    if path.exists():
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        made, copy = Path(folder) / "made.db", Path(folder) / path.name
        uri = f"sqlite:///{made}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        # MLflow keeps the one that it made open.
        shutil.copyfile(made, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(copy, path)
        except FileExistsError:
            return
        except OSError:  # no links on this file system
            if not path.exists():
                copy.replace(path)
