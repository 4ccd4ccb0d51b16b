"""A failure that the study handles is told in a sentence; Ray's own text goes to a file."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from study.tune.failures import failure_reason
from study.tune.limits import NotKept
from study.tune.ray_patches import messages_pass

_MESSAGES = (
    "A worker died or was killed while executing a task",
    "Raylet is terminated",
    "The node with node id",
)
"""How Ray's messages begin that tell of dead workers and nodes. Its other messages are shown."""

_TUNE = "ray.tune.execution.tune_controller"
_FAILED = "Trial task failed for trial"
_DIED = ("The actor died", "The actor is unavailable")
"""How the text of a failure begins that is the worker's own end, or its node's."""


@contextmanager
def ray_words_in(file: Path) -> Iterator[None]:
    """Inside, Ray's texts about failures of trials go to a file; without room, nowhere."""

    def write(text: str) -> None:
        with suppress(OSError), file.open("a", encoding="utf-8", errors="replace") as log:
            log.write(f"{text.rstrip()}\n")

    def passes(message: str) -> bool:
        if message.startswith(_MESSAGES):
            write(message)
            return False
        return True

    logger, failures = logging.getLogger(_TUNE), _TrialFailures(write)
    logger.addFilter(failures)
    try:
        with messages_pass(passes):
            yield
    finally:
        logger.removeFilter(failures)


class _TrialFailures(logging.Filter):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith(_FAILED):
            return True
        self._write(logging.Formatter("%(asctime)s %(message)s").format(record))
        return False


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
