"""A node that is lost costs a trial nothing but the epochs since its last checkpoint.

Tune counts it as a failure of the trial, as if it were a bug: on nodes that may be taken away at
any time (spot, preemptible) a long trial would have failed after ``max_failures`` + 1 of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from study.tune.failures import failure_text

_LOST = "The actor died because its node has died"
_LOOK_SECONDS = 1.0
_WAIT_SECONDS = 120.0
"""Ray takes a node for dead after half a minute without a sign of life."""


def dead_nodes() -> list[str]:
    """Ray's ids of the nodes that were there once."""
    return [node["NodeID"] for node in ray.nodes() if not node["Alive"]]


@dataclass
class _Unsure:
    """A failure that may yet turn out to be the node's."""

    trial: Trial
    node: str
    until: float


class ForgiveLostNodes(tune.Callback):
    """Takes a failure back that was a lost node's, if the trial got on since the last one.

    That bounds it: a trial that brings its node down again and again in the same epoch is failed.
    Often the connection to the worker is gone before Ray knows of the node, so that the error says
    nothing about it: such a failure is taken back once the node is known to be dead.
    """

    def __init__(self, dead: Callable[[], list[str]] = dead_nodes) -> None:
        """``dead`` gives the ids of dead nodes."""
        self._dead = dead
        self._reached: dict[str, int] = {}  # by Tune's trial id: epochs done when it was last lost
        self._unsure: list[_Unsure] = []
        self._looked = 0.0

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Look at the error of a trial that is about to be tried again."""
        last = trial.last_result or {}
        done = int(last.get("training_iteration", 0))
        if done <= self._reached.get(trial.trial_id, -1):
            return
        # The trial says "HOST ID", with the beginning of the id, on a cluster.
        node = str(last.get("node") or "").rpartition(" ")[2]
        if _LOST in failure_text(trial):
            self._forgive(trial)
        elif node:
            self._unsure.append(_Unsure(trial, node, time.monotonic() + _WAIT_SECONDS))
        else:
            return
        self._reached[trial.trial_id] = done

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Look whether the nodes of failures that may be theirs are dead by now."""
        now = time.monotonic()
        if not self._unsure or now < self._looked + _LOOK_SECONDS:
            return
        self._looked, dead = now, self._dead()
        open_cases, self._unsure = self._unsure, []
        for case in open_cases:
            if any(node.startswith(case.node) for node in dead):
                self._forgive(case.trial)
            elif now < case.until:
                self._unsure.append(case)

    @staticmethod
    def _forgive(trial: Trial) -> None:
        # One that Ray itself takes for preempted is not counted in the first place.
        trial.run_metadata.num_failures = max(0, trial.run_metadata.num_failures - 1)
