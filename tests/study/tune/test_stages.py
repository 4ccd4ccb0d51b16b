"""Phases in one run of Tune: one after the other, on the same workers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.search import Searcher

from study.config import StudyConfig
from study.records.planned_run import PlannedRun
from study.tune.connect import ray_session
from study.tune.jobs import ListSearcher
from study.tune.limits import Limits
from study.tune.ray_patches import fit
from study.tune.stages import Stage, StagedScheduler, Stages, TellsFailures
from trainables.trial_spec import TrialSpec


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session(StudyConfig()):
        yield


def stage(name: str, runs: int, **more: Any) -> Stage:
    planned = [PlannedRun("trial", f"{name}-{number}", 0) for number in range(runs)]
    spec = TrialSpec(base=name, policy="off", checkpoint_root="", datasets={})
    return Stage(ListSearcher(planned), Limits(runs, 2), spec, **more)


def told(given: Any) -> str:
    """The base configuration that a worker finds by what a run was given."""
    return str(ray.get(given["spec"].reference).base)


def test_a_stage_begins_when_nothing_of_the_last_one_runs() -> None:
    later = [stage("b", 1)]
    stages = Stages(stage("a", 2), lambda: later.pop() if later else None)
    first, second = stages.suggest("1"), stages.suggest("2")
    assert (told(first), told(second)) == ("a", "a")
    assert stages.suggest("3") is None
    stages.on_trial_complete("2")
    assert stages.suggest("3") is None
    assert stages.now.spec.base == "a"
    stages.on_trial_complete("1")
    assert told(stages.suggest("3")) == "b"
    assert stages.suggest("4") is None
    stages.on_trial_complete("3")
    assert stages.suggest("4") == Searcher.FINISHED
    assert stages.error is None


def test_a_searcher_that_ends_before_its_samples_does_not_end_what_runs() -> None:
    first = stage("a", 1)
    first.limits.samples = 5
    stages = Stages(first, lambda: None)
    stages.suggest("1")
    assert stages.suggest("2") is None
    stages.on_trial_complete("1")
    assert stages.suggest("2") == Searcher.FINISHED


def test_what_follows_may_raise_and_ends_the_run() -> None:
    def broken() -> Stage | None:
        raise LookupError("no end is recorded")

    stages = Stages(stage("a", 1), broken)
    stages.suggest("1")
    stages.on_trial_complete("1")
    assert stages.suggest("2") == Searcher.FINISHED
    assert str(stages.error) == "no end is recorded"


def test_a_failure_is_told_to_the_stage_that_runs() -> None:
    heard: list[tuple[str, str]] = []
    stages = Stages(stage("a", 1, failed=lambda *what: heard.append(what)), lambda: None)
    trial = SimpleNamespace(
        config={"key": "a-0"},
        get_pickled_error=lambda: None,
        error_file=None,
        pickled_error_file=None,
    )
    TellsFailures(stages).on_trial_error(0, [], trial)
    assert [key for key, _ in heard] == ["a-0"]


class Says(tune.Trainable):
    """Reports where it runs, and what it was told."""

    def setup(self, config: dict[str, Any]) -> None:
        self.told = told(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.told = told(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "told": self.told, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None

    def load_checkpoint(self, checkpoint: Any) -> None:
        raise AssertionError


def run(stages: Stages, scheduler: StagedScheduler, callback: tune.Callback, folder: Path) -> None:
    """All stages with Tune itself, on workers that say where they run."""
    fit(
        trainable=Says,
        tune_config=tune.TuneConfig(
            search_alg=stages, scheduler=scheduler, num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder), callbacks=[callback, TellsFailures(stages)], verbose=0
        ),
    )


@pytest.mark.slow
def test_with_tune_itself_all_stages_use_the_same_two_workers(tmp_path: Any) -> None:
    """After a stage with one trial at a time, one worker more starts, and none later."""
    later = [stage("d", 4), stage("c", 1), stage("b", 4)]
    first = stage("a", 1)
    first.limits.concurrent = 1
    stages = Stages(first, lambda: later.pop() if later else None)
    seen: list[tuple[str, str, int]] = []
    at_once: set[int] = set()

    class Noted(StagedScheduler):
        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            at_once.add(tune_controller._max_pending_trials)
            return super().choose_trial_to_run(tune_controller)

    class Watch(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            last = trial.last_result
            seen.append((trial.config["key"][0], last["told"], last["pid"]))

    run(stages, Noted(stages), Watch(), tmp_path)
    assert [(name, spec) for name, spec, _ in seen] == [(n, n) for n in "abbbbcdddd"]
    assert len({pid for _, _, pid in seen}) <= 2
    # As many workers are asked for at a time as a stage may have; Tune's own number would be 1.
    assert at_once == {1, 2}


@pytest.mark.slow
def test_a_free_worker_that_dies_costs_no_trial(tmp_path: Path) -> None:
    """It is killed while another trial still runs, and would be given the next one."""
    later = [stage("b", 2)]
    stages = Stages(stage("a", 2), lambda: later.pop() if later else None)
    ended: list[str] = []

    class Kills(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            ended.append(trial.config["key"])
            if trial.config["key"].startswith("a"):
                os.kill(trial.last_result["pid"], signal.SIGKILL)

    run(stages, StagedScheduler(stages), Kills(), tmp_path)
    assert sorted(ended) == [f"{name}-{number}-seed0" for name in "ab" for number in range(2)]
