"""Fixtures of the tests of MLflow."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.tracking.projector import LedgerProjector
from tests.support.mlflow_places import Place


@pytest.fixture
def place(tmp_path: Path, empty_database: Path) -> Place:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Place(tmp_path)


@pytest.fixture
def patient() -> Iterator[list[LedgerProjector]]:
    """Projectors that are stopped at the end."""
    started: list[LedgerProjector] = []
    yield started
    for projector in started:
        projector.stop()
