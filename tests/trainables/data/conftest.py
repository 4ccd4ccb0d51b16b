"""Fixtures of the tests of data sets."""

from pathlib import Path

import pytest

from tests.support.data_sets import write_images


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos")
