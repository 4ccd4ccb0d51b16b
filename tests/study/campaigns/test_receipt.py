"""Going on with a finished study: a look where nothing was touched, else everything as before."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from study.campaigns.finished import is_untouched, kept_summary
from study.commands.study import main
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from study.records.remote import DATABASE
from study.records.requests import Request, RequestBox
from tests.study.conftest import TRIALS
from tests.support.study_processes import check_whole, mlflow_runs, optuna_states

HEAVY = {"torch", "ray", "mlflow", "pandas", "scipy.stats"}


@pytest.fixture
def finished(searched: Path, tmp_path: Path) -> StudyFolder:
    """A finished study in a place of its own, where it was gone on with once."""
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    assert main(["resume", "small", "--storage", str(tmp_path)]) == 0
    folder = StudyFolder.of(tmp_path, "small")
    assert is_kept(folder)
    return folder


@pytest.mark.slow
def test_where_nothing_was_touched_nothing_is_imported_and_nothing_written(
    finished: StudyFolder,
) -> None:
    before, result = _files(finished), json.loads(finished.summary.read_text())
    said = _resumed(finished)
    assert "small: complete already, nothing is left to run" in said
    assert f"{result['best']}: " in said
    assert said.endswith("imported:")
    assert _files(finished) == before


@pytest.mark.slow
def test_another_store_gets_everything_and_more_trials_are_trained(finished: StudyFolder) -> None:
    storage = finished.path.parent
    words = ["resume", "small", "--storage", str(storage)]
    other = f"sqlite:///{storage}/other.db"
    assert main([*words, "--tracking-uri", other]) == 0
    assert len(mlflow_runs(finished.path, other)) == 1 + 2 + TRIALS
    assert is_kept(finished)
    assert main([*words, "--trials", "+1"]) == 0
    assert len(json.loads(finished.summary.read_text())["trials"]) == TRIALS + 1
    assert is_kept(finished)


@pytest.mark.slow
def test_where_mlflows_database_is_gone_it_gets_everything_again(finished: StudyFolder) -> None:
    (finished.path.parent / DATABASE).unlink()
    assert "mlflow" in _resumed(finished).partition("imported:")[2]
    check_whole(finished.path)


def _resumed(folder: StudyFolder) -> str:
    """What is said by another process that goes on with a study, and what it imported."""
    words = ["resume", folder.path.name, "--storage", str(folder.path.parent)]
    code = (
        "import sys\n"
        "from study.commands.study import main\n"
        f"code = main({words!r})\n"
        f"print('imported:', *sorted({HEAVY!r} & set(sys.modules)))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def is_kept(folder: StudyFolder) -> bool:
    """Whether going on with it would take only a look."""
    config = folder.stored_config()
    assert config is not None
    config = config.model_copy(update={"storage": str(folder.path.parent)})
    if not is_untouched(folder, config):
        return False
    return kept_summary(folder, config, read_ledger(folder.ledger)) is not None


def _files(folder: StudyFolder) -> dict[str, bytes]:
    """What lies in a study's folder, and was not made by whoever holds it."""
    files = [path for path in folder.path.iterdir() if path.is_file() and path != folder.lock]
    return {path.name: path.read_bytes() for path in files}


def _cut_journal(folder: StudyFolder) -> None:
    """As after a kill between the ledger's last line and Optuna."""
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    folder.journal.write_bytes(b"".join(lines[:-1]))


def _another_result(folder: StudyFolder) -> None:
    folder.summary.write_text(folder.summary.read_text().replace("small", "other"))


CHANGES: dict[str, Callable[[StudyFolder], object]] = {
    "no summary": lambda folder: folder.summary.unlink(),
    "another summary": _another_result,
    "a journal cut short": _cut_journal,
    "nothing known of MLflow": lambda folder: folder.mlflow_offset.unlink(),
    "no receipt": lambda folder: folder.receipt.unlink(),
    "a receipt without end": lambda folder: folder.receipt.write_text("[" * 100_000),
    "a request that nobody answered": lambda folder: RequestBox(folder.path).put(
        Request({"max_concurrent": 1})
    ),
    "a damaged receipt": lambda folder: folder.receipt.write_bytes(b"\xff["),
    "an empty receipt": lambda folder: folder.receipt.write_text("{}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=[*CHANGES])
def test_where_something_was_all_is_looked_at_and_as_it_was(
    finished: StudyFolder, change: Callable[[StudyFolder], object]
) -> None:
    result, storage = json.loads(finished.summary.read_text()), finished.path.parent
    change(finished)
    assert not is_kept(finished)
    assert main(["resume", "small", "--storage", str(storage)]) == 0
    assert _without_ids(json.loads(finished.summary.read_text())) == _without_ids(result)
    assert {"RUNNING", "WAITING"}.isdisjoint(optuna_states(finished.path))
    assert len(mlflow_runs(finished.path)) == 1 + 2 + TRIALS
    check_whole(finished.path)
    assert is_kept(finished)


def _without_ids(values: object) -> object:
    """MLflow gives its runs other ones where it has to make them anew."""
    if isinstance(values, dict):
        return {key: _without_ids(each) for key, each in values.items() if key != "run_id"}
    return [_without_ids(each) for each in values] if isinstance(values, list) else values
