"""Fixtures of the studies' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.commands.study import main
from tests.support.servers import make_empty_database
from tests.support.single_runs import LONG, OFF, Artefacts, Run, train

EPOCHS = 6
TRIALS = 6
COMMAND = [
    "run",
    *("--name", "small", "--epochs", str(EPOCHS), "--trials", str(TRIALS)),
    *("--batch-size", "64", "--lr", "0.05", "--baseline-seeds", "2", "--seed", "3"),
    *("--space", "adaptive_noise_small", "--max-concurrent", "2", "--race-seeds", "1"),
    *("--objective", "best_val_accuracy"),
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


@pytest.fixture
def few_threads() -> Iterator[None]:
    """A single run may set the number of threads; the next test gets one again."""
    import torch

    yield
    torch.set_num_threads(1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``noise-train``, each time in a folder of its own."""
    numbers = iter(range(100))

    def start(*words: str) -> Artefacts:
        return train(tmp_path / f"run{next(numbers)}", *words)

    return start


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """The small run without noise, that others are compared with."""
    return train(tmp_path_factory.mktemp("plain"), *OFF)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    return train(tmp_path_factory.mktemp("whole"), *LONG)
