"""Artifacts that wait for MLflow are counted until they are stored."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from study.tracking.artifacts import Artifacts
from study.tracking.reader import File, Reader
from study.tracking.runs import MlflowRuns
from study.tracking.types import StoreRefusedError, StoreUnavailableError

AWAY, REFUSED, ODD, LATER = (File("trial-0000", f"{name}.png") for name in "abcd")


class Unwilling:
    """A store that says of each file why it can't be stored, and what is left meanwhile."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.artifacts: Artifacts | None = None
        self.left: list[list[File]] = []

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        assert self.artifacts is not None
        self.left.append(list(self.artifacts.left))
        if path.name in self.errors:
            raise self.errors[path.name]


def test_what_is_left_is_never_less_than_what_is_not_stored(tmp_path: Path) -> None:
    store = Unwilling()
    runs = cast("MlflowRuns", SimpleNamespace(ids={"trial-0000": "run"}, store=store))
    store.artifacts = artifacts = Artifacts(runs, tmp_path)
    files = [AWAY, REFUSED, ODD, LATER]
    for file in files:
        (tmp_path / str(file.path)).touch()
        store.errors[str(file.path)] = StoreUnavailableError("away")
        artifacts.store(file, Reader())
    assert artifacts.left == files

    # Another thread may ask at any moment of a new try.
    store.left.clear()
    assert not artifacts.try_again(Reader())
    assert store.left == [files] * 4
    assert artifacts.left == files

    store.errors = {
        str(AWAY.path): StoreUnavailableError("still away"),
        str(REFUSED.path): StoreRefusedError("too large"),
    }
    store.left.clear()
    assert artifacts.try_again(Reader())
    assert store.left == [files] * 4
    assert (artifacts.left, artifacts.error) == ([AWAY], "still away")
