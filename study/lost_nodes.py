"""A node that is lost costs a trial nothing but the epochs since its last checkpoint.

Tune counts it as a failure of the trial, as if it were a bug: on nodes that may be taken away at
any time (spot, preemptible) a long trial would have failed after ``max_failures`` + 1 of them.
"""

from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from study.tracking import failure_text

_LOST = "The actor died because its node has died"


class ForgiveLostNodes(tune.Callback):
    """Takes a failure back that was a lost node's, if the trial got on since the last one.

    That bounds it: a trial that brings its node down again and again in the same epoch is failed.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}  # by Tune's trial id: epochs done when it was last lost

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Look at the error of a trial that is about to be tried again."""
        done = int((trial.last_result or {}).get("training_iteration", 0))
        if done <= self._reached.get(trial.trial_id, -1) or _LOST not in failure_text(trial):
            return
        self._reached[trial.trial_id] = done
        # One that Ray itself takes for preempted is not counted in the first place.
        trial.run_metadata.num_failures = max(0, trial.run_metadata.num_failures - 1)
