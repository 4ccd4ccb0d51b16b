"""Searcher and trial scheduler under real Ray Tune, and after SIGKILL."""

import multiprocessing
import random
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from study.search.journal import repair_journal
from study.tune.connect import leave_ray
from study.tune.early_stopping import WarmWorkers
from tests.support.tune_searches import (
    EPOCHS,
    SPACE,
    curve,
    search,
    search_alone,
    short_trials,
)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    leave_ray()


def stored(folder: Path) -> list[FrozenTrial]:
    backend = JournalFileBackend(str(folder / "optuna.journal"))
    return optuna.load_study(study_name="s", storage=JournalStorage(backend)).get_trials()


def check(trial: FrozenTrial) -> None:
    """What Optuna was told is what the trial did."""
    whole = curve(trial.params)
    told = list(trial.intermediate_values.items())
    if trial.number == 2:
        assert (trial.state, told) == (TrialState.FAIL, [])
    elif trial.number in (3, 5):
        assert (trial.state, trial.value, told) == (TrialState.PRUNED, None, [])
    elif trial.number == 4:
        assert (trial.state, told) == (TrialState.COMPLETE, [(EPOCHS, whole[-1])])
    else:
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        assert told == list(enumerate(whole, start=1))[: len(told)]
        assert (trial.state == TrialState.COMPLETE) == (len(told) == EPOCHS)
        assert trial.value == told[-1][1]


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_search_on_tune(tmp_path: Path) -> None:
    scheduler = search(tmp_path, 12)
    trials = stored(tmp_path)
    assert len(trials) == 12
    for trial in trials:
        assert trial.params.keys() == SPACE.keys()
        check(trial)
    stopped = [t for t in trials if t.state == TrialState.PRUNED and t.number not in (3, 5)]
    # The diverged one ends by itself.
    assert scheduler.stopped == len(stopped) > 0
    assert all(t.last_step in scheduler.rungs.milestones for t in stopped)
    ended = {f"trial-{t.number:04d}" for t in trials if t.number not in (2, 3, 4, 5)}
    assert scheduler.rungs.recorded[3].keys() - {"trial-0005"} == ended


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_no_worker_is_thrown_away_that_is_about_to_be_there(tmp_path: Path) -> None:
    # On a busy machine the second may come too late for any.
    assert short_trials(tmp_path, WarmWorkers(), trials=12) <= 2


def test_killed_at_random_moments_it_ends_with_every_trial_once(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.tune_searches"])
    moments = random.Random(0)
    journal = tmp_path / "optuna.journal"
    wanted = 24
    finished: dict[int, FrozenTrial] = {}
    kills = 0
    while len(finished) < wanted:
        process = processes.Process(target=search_alone, args=(tmp_path, wanted))
        process.start()
        size = journal.stat().st_size if journal.exists() else 0
        while process.is_alive() and (not journal.exists() or journal.stat().st_size == size):
            time.sleep(0.001)
        process.join(moments.uniform(0, 0.25) if kills < 12 else None)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
        repair_journal(journal)
        trials = stored(tmp_path)
        assert [trials[number] for number in finished] == list(finished.values())
        finished = {trial.number: trial for trial in trials if trial.state.is_finished()}
    assert kills >= 5
    assert [trial.number for trial in stored(tmp_path)] == list(range(wanted))
    for trial in finished.values():
        check(trial)
