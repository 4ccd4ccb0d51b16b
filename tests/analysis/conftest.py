"""Fixtures of the analysis' tests: one storage folder with small real studies."""

from pathlib import Path

import pytest

from analysis.reading import StudyView, load_study
from tests.support.trained_studies import write_study


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with the study ``small``; tests add no file to that study."""
    folder = tmp_path_factory.mktemp("analysed")
    write_study(folder, "small")
    return folder


@pytest.fixture(scope="session")
def small(storage: Path) -> StudyView:
    """The study ``small``."""
    return load_study(storage, "small")
