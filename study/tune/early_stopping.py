"""Early stopping that knows where a trial's noise began: asynchronous successive halving (ASHA).

A trial equals its baseline until its noise begins. Values from before say nothing about it, and
values from right after say little. Rungs count all epochs of training; a trial is judged only at
rungs past its own first noisy epochs, and reports from where on (``judged_from``).

ASHA: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.records.ledger_view import TrialRecord
from trainables.metrics import OBJECTIVES, EpochMetrics, objective_value

RUNGS_PER_REDUCTION = 3
"""Rungs while epochs grow by the reduction factor. Tune's own ASHA has one: it would never judge a
trial that forks after half of the budget."""


def milestones(first: int, epochs: int, reduction_factor: float) -> tuple[int, ...]:
    """The epochs at which trials are compared: about geometric, from ``first`` (at least 1) on.

    The budget itself is none of them: nothing is left to stop there.
    """
    ratio = reduction_factor ** (1 / RUNGS_PER_REDUCTION)
    rising: list[int] = []
    exact = float(max(1, first))
    while round(exact) < epochs:
        # Early ones, closer than an epoch, fall together.
        if not rising or round(exact) > rising[-1]:
            rising.append(round(exact))
        exact *= ratio
    return tuple(rising)


@dataclass
class Rungs:
    """The values recorded at each milestone (epochs completed), and the decision they allow.

    ``recorded``: milestone → trial key → value; higher is better. Knows nothing of Ray.
    """

    milestones: tuple[int, ...]
    epochs: int
    recorded: dict[int, dict[str, float]] = field(default_factory=dict)

    def judge(self, key: str, epochs_done: int, judged_from: int, value: float) -> bool:
        """Record a value where it counts; returns whether the trial may go on.

        A value counts at the highest milestone reached, if that is not before ``judged_from`` and
        the trial has no value there yet. With k of the n values there better, the trial goes on if
        k < ⌈n · milestone / next⌉: the share of trials falls as their epochs grow, so that each
        stage costs the same.

        The key stays when a trial is tried again or resumed; ``epochs_done`` includes those shared
        with the baseline; the value is finite, and higher is better.
        """
        reached = [milestone for milestone in self.milestones if milestone <= epochs_done]
        if not reached or reached[-1] < judged_from:
            return True
        rung = self.recorded.setdefault(reached[-1], {})
        if key in rung:
            return True
        rung[key] = value
        better = sum(other > value for other in rung.values())
        return better < math.ceil(len(rung) * reached[-1] / self._after(reached[-1]))

    def _after(self, milestone: int) -> int:
        later = (other for other in (*self.milestones, self.epochs) if other > milestone)
        return next(later)


class WarmWorkers(FIFOScheduler):
    """Gives a free worker to the newest trial that waits, not to the oldest.

    Tune starts a new worker for each trial that waits, the oldest first. If the oldest then takes a
    free worker, as in Tune's own order, its new one is thrown away, and the next trial waits for
    another to start. With trials that are shorter than such a start, or that end at once because
    their noise never begins, only one at a time would run for the rest of the search.
    """

    stopping: Collection[str] = ()
    """Keys of trials that a person wants to end."""

    reasons: Mapping[str, str] = MappingProxyType({})
    """Trial key → why it was stopped early, where there is more to say."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """A trial that was cut off before; else the newest; None if none waits."""
        if self.stopping:
            for trial in tune_controller.get_trials():
                # Tune can't end in order with a trial that was stopped before it ran.
                if trial.status == Trial.RUNNING and trial.config["key"] in self.stopping:
                    tune_controller.stop_trial(trial)
        # Tune lists trials in the order of their creation.
        waiting = [trial for trial in tune_controller.get_trials() if trial.status == Trial.PENDING]
        # Those come first: with fewer nodes than before, no new worker may fit for them.
        cut_off = [trial for trial in waiting if "training_iteration" in (trial.last_result or {})]
        return (cut_off[:1] or waiting[-1:] or [None])[0]


class StoppingRule(Protocol):
    """Whether trials may go on; it knows nothing of Ray."""

    def judge(self, key: str, epochs_done: int, judged_from: int, value: float) -> bool:
        """Whether the trial ``key`` may go on; it is not stopped before ``judged_from``.

        ``epochs_done`` includes those shared with the baseline; higher values are better.
        """


class EarlyStopping(WarmWorkers):
    """Stops the trials that a rule gives up, and diverged ones.

    A trial reports ``training_iteration`` (epochs completed), ``judged_from`` (missing or negative
    as long as its noise has not begun) and the objective.
    """

    rule: StoppingRule

    def __init__(self, objective: str, mode: str | None) -> None:
        """``mode``: of an objective that only a task of one's own has."""
        super().__init__()
        self._metric = objective
        self._sign = 1.0 if (mode or OBJECTIVES[objective]) == "max" else -1.0
        self.stopped = 0

    def value(self, history: Sequence[EpochMetrics]) -> float:
        """The objective of the epochs so far; higher is better."""
        return self._sign * objective_value(self._metric, history)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        if self._goes_on(trial.config["key"], result):
            return str(TrialScheduler.CONTINUE)
        self.stopped += 1
        return str(TrialScheduler.STOP)

    def _goes_on(self, key: str, result: Mapping[str, Any]) -> bool:
        value = float(result.get(self._metric, math.nan))
        if result.get("diverged") or not math.isfinite(value):
            return False
        judged_from = result.get("judged_from")
        if judged_from is None or judged_from < 0:
            return True
        done = int(result["training_iteration"])
        return self.rule.judge(key, done, int(judged_from), self._sign * value)


class ForkAwareASHA(EarlyStopping):
    """Stops trials that lag behind the others."""

    def __init__(
        self,
        objective: str,
        *,
        epochs: int,
        grace_period: int,
        reduction_factor: float,
        mode: str | None = None,
    ) -> None:
        """The rungs begin empty. While epochs grow by ``reduction_factor``, one in so many remains.

        Before ``grace_period`` epochs are completed no trial is stopped: it ends past the earliest
        epoch at which the search space lets noise begin.
        """
        super().__init__(objective, mode)
        self.rungs = Rungs(milestones(grace_period, epochs, reduction_factor), epochs)
        self.rule = self.rungs

    def replay(self, records: Mapping[str, TrialRecord], grace: int) -> None:
        """Fill the rungs from the ledger, as they were when it was written.

        Only trials compete. ``grace``: epochs after a trial's first noisy one, not judged.
        """
        for key, record in records.items():
            begins = record.first_injection_epoch
            if record.role != "trial" or begins is None:
                continue
            for index in range(record.shared_epochs, len(record.history)):
                row = record.history[index]
                done = row.epoch + 1
                if done in self.rungs.milestones and row.finite:
                    value = self.value(record.history[: index + 1])
                    self.rungs.judge(key, done, begins + 1 + grace, value)
