"""What every campaign needs around its training."""

import errno
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as ProgressBars
from rich.progress import TaskID

from study.config import RunsConfig, StudyConfig
from study.errors import StudyFailedError
from study.records.folder import storage_of
from trainables.data.dataset import Dataset
from trainables.data.device_data import load_dataset

FLUSH_SECONDS = 60.0
"""How long a study that ends waits for MLflow; ``noise-study sync`` sends the rest later."""

FLUSH_SECONDS_AWAY = 10.0
"""The same where MLflow does not answer at the moment."""

STOPPING = "stopping; what is finished is kept. Once more ends it at once"


@contextmanager
def no_space_left(config: RunsConfig, how: str | None = None) -> Iterator[None]:
    """Turn a full disk into a message that says what to do.

    Args:
        config: what runs.
        how: how to go on with it; None: by ``noise-study resume``.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StudyFailedError(
            f"{config.name}: no space left on the disk "
            f"({error.filename or storage_of(config).folder}). What is finished is kept; make "
            f"room, then go on with: {how or resume_command(config)}"
        ) from error


def resume_command(config: RunsConfig) -> str:
    """What goes on with a study."""
    return shlex.join(["noise-study", "resume", config.name, *storage_of(config).words])


def read_images(config: StudyConfig, console: Console | None) -> Dataset:
    """The study's data set, read with a progress bar where there is a console."""
    if console is None:
        return load_dataset(config.train.data)
    with ProgressBars(console=console, transient=True) as bars:
        tasks: list[TaskID] = []

        def progress(done: int, total: int) -> None:
            if not tasks:
                tasks.append(bars.add_task("reading images", total=total))
            bars.update(tasks[0], completed=done)

        return load_dataset(config.train.data, progress)
