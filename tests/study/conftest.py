"""Fixtures of the studies' tests."""

from pathlib import Path

import pytest

from study.commands.study import main
from tests.support.servers import make_empty_database

EPOCHS = 6
TRIALS = 6
COMMAND = [
    "run",
    *("--name", "small", "--epochs", str(EPOCHS), "--trials", str(TRIALS)),
    *("--batch-size", "64", "--lr", "0.05", "--baseline-seeds", "2", "--seed", "3"),
    *("--space", "adaptive_noise_small", "--max-concurrent", "2"),
]
"""A small study: a search on digits."""


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder in which the command has run that study."""
    folder = tmp_path_factory.mktemp("studies")
    assert main([*COMMAND, "--storage", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them; copy it."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    make_empty_database(path)
    return path
