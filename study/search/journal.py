"""Optuna's journal: repaired after a crash, opened, written in batches.

The journal has one JSON object a line. A process that is killed while it appends leaves a torn last
line; the next append would make the file unreadable for ever. One that is killed while it holds the
journal's lock leaves the lock; the next process would wait 30 s for it.
"""

import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from study.records.events import now_ms
from trainables.errors import InputError


@dataclass(frozen=True)
class JournalRepair:
    """What ``repair_journal`` did: ``entries`` are whole, ``bytes_cut`` is the torn last line's."""

    entries: int
    bytes_cut: int
    lock_removed: bool

    def describe(self) -> str:
        """What was done, and what is lost; empty if nothing was."""
        done = []
        if self.bytes_cut:
            done.append(
                f"cut {self.bytes_cut} bytes of an unfinished last entry "
                f"({self.entries} entries are whole)"
            )
        if self.lock_removed:
            done.append("removed the lock of a process that died")
        return f"optuna.journal: {', '.join(done)}" if done else ""


def repair_journal(path: str | Path) -> JournalRepair:
    """Make a journal usable again. Call it under the study's lock, before the journal is opened.

    If an entry before the last is damaged, no interruption explains it: what to give up is the
    user's decision (InputError).
    """
    path = Path(path)
    lock_removed = _remove_locks(path)
    content = path.read_bytes() if path.exists() else b""
    # The last piece has no end: it is empty, or torn.
    *lines, torn = content.split(b"\n")
    wrong = next((number for number, line in enumerate(lines) if not _is_entry(line)), len(lines))
    if wrong < len(lines) - 1:
        raise InputError(
            f"{path}: line {wrong + 1} of {len(lines)} is damaged; restore the file from a copy, "
            "or move it away: it is then made anew from the study's ledger"
        )
    if wrong < len(lines):
        torn = lines.pop() + b"\n" + torn
    if torn:
        _cut(path, len(content) - len(torn))
    return JournalRepair(entries=len(lines), bytes_cut=len(torn), lock_removed=lock_removed)


class BatchingJournal(JournalFileBackend):
    """A journal file that writes several entries with one lock and one synchronisation.

    Alone, each entry costs about a millisecond, and a trial has dozens of them.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(str(path))
        self._held: list[dict[str, Any]] | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._held is None:
            super().append_logs(logs)
        else:
            self._held.extend(logs)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write the entries made inside together, at the end.

        Until then nobody sees them, not even the storage. So nothing inside may read them back, as
        the creation of a trial does.
        """
        assert self._held is None, "batches do not nest"
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                super().append_logs(held)


def _remove_locks(path: Path) -> bool:
    """Remove the lock of a dead process, also one that it had renamed to remove it itself."""
    # A lock is a symbolic link to the journal's path as it was given then: it may look broken.
    left = glob.glob(f"{glob.escape(str(path))}.lock*")
    for lock in left:
        os.unlink(lock)
    return bool(left)


def _cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())


def whole_entries(path: Path) -> bytes:
    """A journal without the torn entry at its end that a crash, or a writer, may have left."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    last = whole[:-1].rpartition(b"\n")[2]
    return whole if not last or _is_entry(last) else whole[: -len(last) - 1]


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def repair_or_replace_journal(path: Path) -> list[str]:
    try:
        return [line] if (line := repair_journal(path).describe()) else []
    except InputError as error:
        return [f"{error}".split(";", maxsplit=1)[0] + "; " + replace_journal(path)]


def set_aside(path: Path, why: str = "before") -> Path:
    """Give a journal, if there is one, another name; the next one begins anew."""
    aside = path.with_name(f"{path.name}.{why}-{now_ms()}")
    if path.exists():
        path.replace(aside)
    return aside


def replace_journal(path: Path) -> str:
    """Set a journal aside, so that it is made anew from the ledger; returns a sentence."""
    aside = set_aside(path, "damaged")
    return f"it is kept as {aside.name}, and made anew from the study's ledger"
