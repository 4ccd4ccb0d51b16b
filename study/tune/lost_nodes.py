"""A lost node costs a trial nothing but the epochs since its last checkpoint.

Tune counts a lost node as a failure of the trial, as if it were a bug. On nodes that may be taken
away at any time (spot, preemptible), a long trial would fail after ``max_failures`` + 1 of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from study.tune.failures import failure_text
from study.tune.ray_patches import take_back_failure

_LOST = "The actor died because its node has died"
_LOOK_SECONDS = 1.0
_WAIT_SECONDS = 120.0
"""Ray declares a node dead after half a minute without a sign of life."""


def dead_nodes() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if not node["Alive"]]


@dataclass
class _Unsure:
    """A failure that a lost node may have caused."""

    trial: Trial
    node: str
    until: float


class ForgiveLostNodes(tune.Callback):
    """Takes back a failure that a lost node caused, if the trial got further than at the last one.

    So a trial that brings its node down again and again in the same epoch still fails. Often the
    connection to the worker breaks before Ray knows of the node, and the error says nothing about
    it. Such a failure is taken back once the node is known to be dead.
    """

    def __init__(self, dead: Callable[[], list[str]] = dead_nodes) -> None:
        """``dead`` gives the ids of dead nodes."""
        self._dead = dead
        self._reached: dict[str, int] = {}  # by Tune's trial id: epochs done when it was last lost
        self._unsure: list[_Unsure] = []
        self._looked = 0.0

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        last = trial.last_result or {}
        done = int(last.get("training_iteration", 0))
        if done <= self._reached.get(trial.trial_id, -1):
            return
        # On a cluster the trial reports "HOST ID", with the beginning of the node's id.
        node = str(last.get("node") or "").rpartition(" ")[2]
        if _LOST in failure_text(trial):
            take_back_failure(trial)
        elif node:
            self._unsure.append(_Unsure(trial, node, time.monotonic() + _WAIT_SECONDS))
        else:
            return
        self._reached[trial.trial_id] = done

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        now = time.monotonic()
        if not self._unsure or now < self._looked + _LOOK_SECONDS:
            return
        self._looked, dead = now, self._dead()
        open_cases, self._unsure = self._unsure, []
        for case in open_cases:
            if any(node.startswith(case.node) for node in dead):
                take_back_failure(case.trial)
            elif now < case.until:
                self._unsure.append(case)
