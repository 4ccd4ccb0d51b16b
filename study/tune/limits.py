"""What limits a phase while it runs: trials, trials at once, time, and runs to stop."""

import logging
from collections.abc import Callable, MutableSet
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

log = logging.getLogger(__name__)


@dataclass
class Limits:
    """What Tune may do; who changes a field changes it for the phase that runs.

    Attributes:
        samples: how many runs are handed out.
        concurrent: runs at once. Fewer than run now: those that run come to their end.
        time_left: seconds; None: no limit.
        stopped: keys of runs that are to end, shared by all calls of a process.
        over: whether nothing more can be handed out, as Tune was told.
    """

    samples: int
    concurrent: int
    time_left: Callable[[], float | None] = lambda: None
    stopped: MutableSet[str] = field(default_factory=set)
    over: bool = False


class NotKept:
    """Tune writes what it is given to a file; nobody reads it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class LimitedSearcher(NotKept, ConcurrencyLimiter):
    """Hands out what a searcher has, within limits that may change.

    Tune's own number of samples is fixed when it begins. So Tune is told of no limit, and that the
    search is over only when nothing runs any more: until then more may be asked for.
    """

    def __init__(self, searcher: Searcher, limits: Limits) -> None:
        super().__init__(searcher, max_concurrent=limits.concurrent)
        self._limits = limits
        self._handed = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next run; None while there may be more later."""
        limits = self._limits
        self.max_concurrent = limits.concurrent
        given: dict[str, Any] | str | None = None
        while given is None and self._handed < limits.samples:
            before = getattr(self.searcher, "passed_over", 0)
            given = super().suggest(trial_id)
            passed = getattr(self.searcher, "passed_over", 0) - before
            self._handed += passed
            if not passed:
                break
        if given is None and self._handed >= limits.samples and not self.live_trials:
            given = str(Searcher.FINISHED)
        limits.over = given == Searcher.FINISHED
        self._handed += isinstance(given, dict)
        return given

    def get_state(self) -> dict[str, Any]:
        """Nothing is kept for Tune: a study goes on by its own records."""
        return {}


class TimeIsOver(NotKept, tune.Stopper):
    """Ends everything when no time is left within the limits of now."""

    def __init__(self, limits: Callable[[], Limits]) -> None:
        self._limits = limits

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._limits().time_left() == 0.0


class EachStep(NotKept, tune.Callback):
    """Calls a function about ten times a second, in the driver's loop; its errors end nothing."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        try:
            self._act()
        except Exception:
            log.exception("a request to the study could not be acted on; the study goes on")


class Began(NotKept, tune.Callback):
    """Calls a function whenever a worker has started and begins with a trial."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._act()
