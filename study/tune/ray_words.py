"""Ray's own texts about failures that the study handles go to a file."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from study.tune.ray_patches import messages_pass

_MESSAGES = (
    "A worker died or was killed while executing a task",
    "Raylet is terminated",
    "The node with node id",
)
"""How Ray's messages begin that tell of dead workers and nodes. Its other messages are shown."""

_TUNE = "ray.tune.execution.tune_controller"
_FAILED = "Trial task failed for trial"


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
