"""Optuna's journal after crashes: what is whole stays, what is torn goes, the lock too."""

import os
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage

from study.search.journal import BatchingJournal, repair_journal
from trainables.errors import InputError

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(path: Path) -> optuna.Study:
    return optuna.create_study(
        storage=JournalStorage(BatchingJournal(path)), study_name="s", load_if_exists=True
    )


def run_trials(path: Path, count: int) -> optuna.Study:
    study = open_study(path)
    for _ in range(count):
        trial = study.ask()
        trial.report(0.5, 1)
        study.tell(trial, trial.suggest_float("x", 0, 1))
    return study


def test_a_missing_journal_needs_nothing(tmp_path: Path) -> None:
    repair = repair_journal(tmp_path / "optuna.journal")
    assert (repair.entries, repair.bytes_cut, repair.lock_removed) == (0, 0, False)
    assert repair.describe() == ""
    assert not (tmp_path / "optuna.journal").exists()


def test_a_whole_journal_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    run_trials(path, 2)
    before = path.read_bytes()
    repair = repair_journal(path)
    assert path.read_bytes() == before
    assert (repair.entries, repair.bytes_cut) == (before.count(b"\n"), 0)


def test_without_repair_a_torn_line_loses_the_journal_for_ever(tmp_path: Path) -> None:
    """The reason for all this; should Optuna mend it, the repair can go."""
    path = tmp_path / "optuna.journal"
    run_trials(path, 1)
    path.write_bytes(path.read_bytes()[:-5])
    study = open_study(path)  # the torn line itself is not read yet
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|Invalid|Extra data"):
        study.ask()
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|Invalid|Extra data"):
        open_study(path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kept=st.floats(0, 1))
def test_cut_anywhere_it_is_usable_again(
    tmp_path_factory: pytest.TempPathFactory, kept: float
) -> None:
    path = tmp_path_factory.mktemp("journal") / "optuna.journal"
    run_trials(path, 2)
    content = path.read_bytes()
    size = round(kept * len(content))
    path.write_bytes(content[:size])

    repair = repair_journal(path)
    whole = content[: content.rfind(b"\n", 0, size) + 1]
    assert path.read_bytes() == whole
    assert repair.bytes_cut == size - len(whole)
    assert bool(repair.describe()) == (size > len(whole))
    assert len(run_trials(path, 1).trials) >= 1
    open_study(path)


@pytest.mark.parametrize("tail", [b"\0" * 40, b"\0" * 40 + b"\n", b'{"op_code":4}x\n', b"[1]\n"])
def test_a_last_line_that_is_no_entry_is_cut(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "optuna.journal"
    run_trials(path, 1)
    before = path.read_bytes()
    path.write_bytes(before + tail)
    assert repair_journal(path).bytes_cut == len(tail)
    assert path.read_bytes() == before


def test_damage_before_the_end_is_the_users_decision(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    run_trials(path, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0\0\0\n"
    damaged = b"".join(lines)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=rf"line 2 of {len(lines)} is damaged.*move it away"):
        repair_journal(path)
    assert path.read_bytes() == damaged


def test_a_dead_process_lock_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    run_trials(path, 1)
    # As Optuna makes it, and as a process leaves it that dies while it removes its own.
    os.symlink("optuna.journal", f"{path}.lock")
    os.symlink("gone/optuna.journal", f"{path}.lock1b4e28ba.rename")
    repair = repair_journal(path)
    assert repair.lock_removed
    assert "lock" in repair.describe()
    assert os.listdir(tmp_path) == ["optuna.journal"]


def test_a_batch_is_written_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    backend = BatchingJournal(path)
    study = optuna.create_study(storage=JournalStorage(backend), study_name="s")
    trial = study.ask()
    size = path.stat().st_size
    with backend.batch():
        for step in range(5):
            trial.report(step / 10, step)
        assert path.stat().st_size == size
    study.tell(trial, 1.0)
    assert study.trials[0].intermediate_values == {step: step / 10 for step in range(5)}
    assert open_study(path).trials[0].intermediate_values == study.trials[0].intermediate_values


def test_a_batch_that_fails_keeps_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    backend = BatchingJournal(path)
    study = optuna.create_study(storage=JournalStorage(backend), study_name="s")
    trial = study.ask()

    def say_and_fail() -> None:
        with backend.batch():
            trial.report(0.5, 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        say_and_fail()
    study.tell(trial, 1.0)
    assert open_study(path).trials[0].intermediate_values == {1: 0.5}
