"""Fixtures of the studies' tests."""

from pathlib import Path

import pytest

from tests.study.servers import make_empty_database


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them; copy it."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    make_empty_database(path)
    return path
