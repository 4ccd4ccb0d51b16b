"""``noise-study verify``: what is missing, doubled, different or damaged in a study's records."""

import shutil
from pathlib import Path

import pytest

from study.commands.study import main
from tests.support.trained_studies import write_whole_study


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A finished study with everything that belongs to it, and its confirmation."""
    storage = tmp_path_factory.mktemp("whole")
    shutil.copy(empty_database, storage / "mlflow.db")
    write_whole_study(storage, "whole")
    return storage


@pytest.fixture
def storage(recorded: Path, tmp_path: Path) -> Path:
    shutil.copytree(recorded, tmp_path / "studies")
    storage = tmp_path / "studies"
    offset = storage / "whole" / "mlflow.offset"
    for path in (offset, storage / "whole" / "confirm" / "mlflow.offset"):
        path.write_text(path.read_text().replace(str(recorded), str(storage)))
    return storage


def verify(storage: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = main(["verify", "whole", "--storage", str(storage)])
    told = capsys.readouterr()
    assert told.err == ""
    return code, told.out.splitlines()


def test_a_whole_study_is_whole_and_stays_as_it_is(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def files() -> dict[Path, bytes]:
        paths = (path for path in (storage / "whole").rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in paths}

    before = files()
    code, lines = verify(storage, capsys)
    assert (code, lines) == (0, ["whole: whole: 11 runs, nothing missing, doubled or different"])
    assert files() == before
