"""A failure that the study handles is told in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from study.tune.failures import failure_reason
from study.tune.limits import NotKept

_DIED = ("The actor died", "The actor is unavailable")
"""How the text of a failure begins that is the worker's own end, or its node's."""


class SaysRetries(NotKept, tune.Callback):
    """Says of a trial that failed, and is not given up, what happened and what is done."""

    def __init__(self, say: Callable[[str], None], file: Path) -> None:
        """``file``: where Ray's own text is."""
        self._say = say
        self._file = file

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        reason = failure_reason(trial)
        if reason.startswith(_DIED):
            what = "its worker died; it goes on in another one from its last checkpoint"
        else:
            what = f"{reason}; it is tried again from its last checkpoint"
        self._say(f"{trial.config['key']}: {what} (Ray's text: {self._file})")
