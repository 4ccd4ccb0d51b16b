"""Limits that change while Tune runs: how many runs, how many at once, until when."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import optuna
import pytest
from optuna.trial import FrozenTrial
from ray import tune
from ray.tune.search import Searcher

from study.config import StudyConfig
from study.records.planned_run import PlannedRun
from study.tune.connect import ray_session
from study.tune.early_stopping import WarmWorkers
from study.tune.jobs import ListSearcher
from study.tune.limits import EachStep, LimitedSearcher, Limits, TimeIsOver
from tests.support.tune_searches import Reasons, Replay, open_search


def limited(limits: Limits, runs: int = 9) -> LimitedSearcher:
    return LimitedSearcher(
        ListSearcher([PlannedRun("trial", f"trial-{number:04d}", 0) for number in range(runs)]),
        limits,
    )


def handed(searcher: LimitedSearcher, *tune_ids: str) -> list[bool]:
    return [isinstance(searcher.suggest(tune_id), dict) for tune_id in tune_ids]


def test_more_runs_may_be_asked_for_until_nothing_runs() -> None:
    limits = Limits(samples=2, concurrent=3)
    searcher = limited(limits)
    assert handed(searcher, "a", "b", "c") == [True, True, False]
    searcher.on_trial_complete("a")
    # One runs still: Tune is not told that it is over.
    assert searcher.suggest("c") is None
    assert not limits.over
    limits.samples = 3
    assert handed(searcher, "c", "d") == [True, False]
    searcher.on_trial_complete("b")
    searcher.on_trial_complete("c")
    assert searcher.suggest("d") == Searcher.FINISHED
    assert limits.over


def test_fewer_at_once_lets_those_that_run_come_to_their_end() -> None:
    limits = Limits(samples=9, concurrent=2)
    searcher = limited(limits)
    assert handed(searcher, "a", "b", "c") == [True, True, False]
    limits.concurrent = 1
    searcher.on_trial_complete("a")
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("b")
    assert handed(searcher, "c", "d") == [True, False]
    limits.concurrent = 3
    assert handed(searcher, "d", "e", "f") == [True, True, False]


def test_a_list_that_is_at_its_end_is_over() -> None:
    limits = Limits(samples=9, concurrent=9)
    assert handed(limited(limits, runs=1), "a", "b") == [True, False]
    assert limits.over


def test_time_ends_all_when_none_is_left() -> None:
    left: list[float | None] = [None]
    limits = Limits(1, 1, time_left=lambda: left[0])
    stopper = TimeIsOver(lambda: limits)
    assert not stopper("a", {})
    assert not stopper.stop_all()
    left[0] = 0.5
    assert not stopper.stop_all()
    left[0] = 0.0
    assert stopper.stop_all()


def test_a_run_that_a_person_ends_is_stopped_once_and_not_before_it_runs() -> None:
    stopped: list[Any] = []
    trials = [
        one_of_tunes("trial-0000", "RUNNING"),
        one_of_tunes("trial-0001", "RUNNING"),
        one_of_tunes("trial-0002", "PENDING"),
    ]

    def stop(trial: Any) -> None:
        stopped.append(trial)
        trial.status = "TERMINATED"

    controller = SimpleNamespace(get_trials=lambda: trials, stop_trial=stop)
    scheduler = WarmWorkers()
    scheduler.stopping = {"trial-0001", "trial-0002", "trial-0009"}
    for _ in range(2):
        assert scheduler.choose_trial_to_run(controller) is trials[2]
    assert stopped == trials[1:2]


def one_of_tunes(key: str, status: str) -> Any:
    return SimpleNamespace(config={"key": key}, status=status, last_result={})


def test_what_tune_writes_to_a_file_can_be_written() -> None:
    """Tune pickles what it is given; a limit may hold a whole campaign, with threads and locks."""
    unpicklable = SimpleNamespace(generator=(number for number in range(3)))
    limits = Limits(1, 1, time_left=lambda: unpicklable.generator and 1.0)
    for given in (
        limited(limits),
        TimeIsOver(lambda: limits),
        EachStep(lambda: unpicklable.generator),
    ):
        cloudpickle.dumps(given)


def test_an_error_of_what_is_done_in_each_step_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def act() -> None:
        raise ZeroDivisionError("a bug")

    EachStep(act).on_step_begin(0, [])
    assert "could not be acted on" in caplog.text


def stored(folder: Path) -> list[FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    return study.get_trials()


@pytest.mark.slow
def test_with_tune_itself(tmp_path: Path) -> None:
    """Trials are added and stopped while Tune runs; one was to stop before it began."""
    limits = Limits(samples=3, concurrent=1, stopped={"trial-0001"})
    searcher = open_search(tmp_path, stopped=limits.stopped)
    scheduler = WarmWorkers()
    scheduler.stopping = limits.stopped
    at_once: list[int] = []

    class Watch(tune.Callback):
        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            at_once.append(sum(one.status == "RUNNING" for one in trials))
            if trial.config["key"] == "trial-0000":
                limits.samples = 8
            if trial.config["key"] == "trial-0006":
                limits.stopped.add("trial-0006")

    with ray_session(StudyConfig()):
        tuner = tune.Tuner(
            Replay,
            tune_config=tune.TuneConfig(
                search_alg=LimitedSearcher(searcher, limits),
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path / "tune"),
                stop=TimeIsOver(lambda: limits),
                callbacks=[Reasons(searcher), Watch()],
                verbose=0,
            ),
        )
        tuner.fit()
    assert searcher.finalise() == 0
    states = [trial.state.name for trial in stored(tmp_path)]
    # Trials 2, 3 and 5 end as those of the search always do.
    assert states == [
        "COMPLETE",
        "FAIL",
        "FAIL",
        "PRUNED",
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "COMPLETE",
    ]
    assert set(at_once) == {1}


class PassesOver(ListSearcher):
    """Records its runs of seed 1 itself."""

    def suggest(self, trial_id: str) -> Any:
        if self._waiting and self._waiting[0].seed:
            self._waiting.pop(0)
            self.passed_over += 1
            return None
        return super().suggest(trial_id)


def test_what_is_passed_over_counts_as_handed_out() -> None:
    seeds = (1, 0, 1, 1, 0, 1, 0)
    runs = [PlannedRun("trial", f"trial-{n:04d}", seed) for n, seed in enumerate(seeds)]
    searcher = LimitedSearcher(PassesOver(runs), Limits(samples=6, concurrent=2))
    # The third would be the seventh: one and four are handed out, four are passed over.
    assert handed(searcher, "a", "b", "c") == [True, True, False]
    searcher.on_trial_complete("a")
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("b")
    assert searcher.suggest("c") == Searcher.FINISHED


def test_a_search_of_which_nothing_can_be_trained_ends() -> None:
    runs = [PlannedRun("trial", f"trial-{number:04d}", 1) for number in range(3)]
    searcher = LimitedSearcher(PassesOver(runs), Limits(samples=3, concurrent=2))
    assert searcher.suggest("a") == Searcher.FINISHED
