"""Several phases in one run of Tune: each takes over the workers of the one before.

A worker takes some seconds to start, most of them for the import of torch. A run of Tune ends all
of its workers with it; so a run goes on as long as there are phases, one after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from study.tune.early_stopping import WarmWorkers
from study.tune.failures import failure_reason
from study.tune.jobs import StatelessSearcher
from study.tune.limits import LimitedSearcher, Limits, NotKept
from study.tune.ray_patches import drop_dead_workers, keep_workers, started_processes
from trainables.trial_spec import TrialSpec
from trainables.tune_trainable import SpecInStore


@dataclass
class Stage:
    """A phase as Tune sees it.

    Attributes:
        spec: what the workers are told in it.
        failed: told the key of each run that failed for good, and the reason.
    """

    searcher: Searcher
    limits: Limits
    spec: TrialSpec
    scheduler: WarmWorkers = field(default_factory=WarmWorkers)
    failed: Callable[[str, str], None] = lambda key, reason: None


class Stages(NotKept, StatelessSearcher):
    """The searcher of a run of Tune: that of one stage, and when nothing of it runs, the next.

    ``follow`` ends the stage that is over, and gives the next one; None: there is none. What it
    raises ends the run, and is kept in ``error``: Tune would make a text of it.
    """

    def __init__(self, first: Stage, follow: Callable[[], Stage | None]) -> None:
        super().__init__(metric=None, mode=None)
        self._follow = follow
        self.error: Exception | None = None
        self._begin(first)

    def _begin(self, stage: Stage) -> None:
        self.now = stage
        self._limited = LimitedSearcher(stage.searcher, stage.limits)
        self._spec = SpecInStore.put(stage.spec)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next run of this stage, or the first of the next; None while there may be more."""
        while (given := self._limited.suggest(trial_id)) == Searcher.FINISHED:
            if self._limited.live_trials:
                return None
            try:
                stage = self._follow()
            except Exception as error:
                self.error = error
                stage = None
            if stage is None:
                return given
            self._begin(stage)
        return {**given, "spec": self._spec} if isinstance(given, dict) else given

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._limited.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._limited.on_trial_complete(trial_id, result, error)


class StagedScheduler(WarmWorkers):
    """Asks the scheduler of the stage that runs, and lets Tune have as many workers as that may.

    Tune asks for one worker after the other, each when the last has started, and ends all free ones
    but one, unless it is told how many trials run at once.
    """

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        self._stages = stages
        self._concurrent = self._kept = 0

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Before any worker is asked for."""
        self._follow(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        now = self._stages.now
        now.scheduler.stopping = now.limits.stopped
        chosen = now.scheduler.choose_trial_to_run(tune_controller)
        if chosen is not None:
            self._follow(tune_controller, chosen)
            if self._kept:
                # On this machine: to ask one on a lost node would take as long as Ray's patience.
                drop_dead_workers(tune_controller)
        return chosen

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return str(self._stages.now.scheduler.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._stages.now.scheduler.on_trial_complete(tune_controller, trial, result)

    def _follow(self, tune_controller: Any, trial: Trial) -> None:
        wanted = self._stages.now.limits.concurrent
        if wanted != self._concurrent:
            tune_controller.update_max_pending_trials(wanted)
            self._concurrent = wanted
        # Elsewhere a node may go with its free workers, which Tune would notice too late.
        kept = wanted if started_processes() else 0
        if kept != self._kept:
            keep_workers(tune_controller, trial, kept - self._kept)
            self._kept = kept


class TellsFailures(NotKept, tune.Callback):
    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._stages.now.failed(trial.config["key"], failure_reason(trial))
