"""What lies in a study's folder, looked at before it is used.

Everything follows from the ledger. A study whose ledger is gone beside what follows from it would
be trained again from its start, without a word.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from study.records.events import StudyEvent
from study.records.ledger import read_chunk
from trainables.errors import InputError
from trainables.object_store import Location


def check_files(files: Iterable[Path], folders: Iterable[Location]) -> None:
    """Refuse what is there and is no readable file, or no folder, where the study has one."""
    for path in files:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise InputError(f"{path}: {what}, where a file of the study belongs; move it away")
        if mode is not None and not os.access(path, os.R_OK):
            raise InputError(f"{path}: can't be read (no permission); allow it (chmod u+r)")
    for place in folders:
        mode = _mode(place) if isinstance(place, Path) else None
        if mode is not None and not stat.S_ISDIR(mode):
            raise InputError(f"{place}: no folder, where the study has one; move it away")


def _mode(path: Path) -> int | None:
    """None where nothing is there."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); move it away") from None


def first_study_event(ledger: Path) -> StudyEvent | None:
    """The event that says which study it is; None if it is not written yet, or lost."""
    for chunk in _chunks(ledger):
        for event in chunk:
            if isinstance(event, StudyEvent):
                return event
    return None


def _chunks(ledger: Path) -> Iterator[tuple[object, ...]]:
    offset = 0
    while (chunk := read_chunk(ledger, offset, max_bytes=1 << 18)).lines:
        yield chunk.events
        offset = chunk.offset


def has_records(ledger: Path) -> bool:
    """Whether anything in a ledger can be read."""
    return any(events for events in _chunks(ledger))


def holds_something(path: Location) -> bool:
    """Whether a file is there, or a file in a folder's folders."""
    if isinstance(path, Path) and not path.is_dir():
        return path.exists()
    return any(True for _ in path.glob("*/*"))
