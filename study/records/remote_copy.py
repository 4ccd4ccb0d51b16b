"""The copier: it brings a study's records to an object store while they grow."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from study.records.backoff import wait_after
from study.records.events import EndEvent, StudyEndEvent
from study.records.ledger import read_chunk
from study.records.remote import DATABASE, LEDGER, LOCK, RemoteError, asking, order, whole_lines
from study.records.remote_lock import is_taken
from study.records.requests import is_answer
from trainables.object_store import ObjectPath

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_AT_LEAST_EVERY = 60.0


class RemoteCopy:
    """Copies a study's records to the object store, in a thread, after each end of a trial."""

    def __init__(
        self,
        local: Path,
        remote: ObjectPath,
        *,
        database: Path | None = None,
        say: Callable[[str], None] = log.warning,
    ) -> None:
        """Nothing happens before ``start`` or ``copy``; the caller holds the study.

        ``database`` is MLflow's local one, if the study is tracked there.
        """
        self._local = local
        self._remote = remote
        self._database = database
        self._say = say
        self._copied: dict[str, tuple[int, int]] = {}
        self._offset = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: str | None = None
        self._held = False
        self._lost = False

    def start(self) -> None:
        ledger = self._local / LEDGER
        self._offset = ledger.stat().st_size if ledger.exists() else 0
        self._thread = threading.Thread(target=self._follow, name="storage-copy", daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """End the thread and copy what is new; whether the store has everything."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return self._try_copy()

    def copy(self) -> None:
        """Copy what changed since the last copy; after a ``RemoteError`` all is tried again."""
        with asking(self._remote):
            self._check_held()
            for path in sorted(self._files(), key=lambda path: order(path.name)):
                self._copy_changed(path.name, path, Path.read_bytes)
            if self._database is not None:
                self._copy_changed(DATABASE, self._database, _snapshot)
            self._copy_ledger()

    def _check_held(self) -> None:
        """What is there may be of a process that went on; it must not be replaced."""
        self._lost = is_taken(self._remote, held=self._held)
        if self._lost:
            raise RemoteError(f"{self._remote}: another process has taken the study over")
        self._held = self._held or (self._remote / LOCK).exists()

    def _files(self) -> list[Path]:
        return [
            path
            for path in self._local.iterdir()
            if path.is_file()
            and path.name not in {LOCK, LEDGER}
            and path.suffix != ".lock"
            and not path.name.startswith(".")
        ]

    def _copy_changed(self, name: str, path: Path, read: Callable[[Path], bytes]) -> None:
        try:
            stat = path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if self._copied.get(name) == mark:
                return
            content = read(path)
        except FileNotFoundError:
            return
        (self._remote / name).write_bytes(content)
        self._copied[name] = mark

    def _copy_ledger(self) -> None:
        content = whole_lines(self._local / LEDGER)
        mark = (0, len(content))
        if content and self._copied.get(LEDGER) != mark:
            (self._remote / LEDGER).write_bytes(content)
            self._copied[LEDGER] = mark

    def _follow(self) -> None:
        due, failures, last = True, 0, time.monotonic()
        while not self._stop.wait(max(_POLL_SECONDS, wait_after(failures))):
            due = self._saw_an_end() or due
            if not due and time.monotonic() - last < _AT_LEAST_EVERY:
                continue
            if self._lost:
                return
            done = self._try_copy()
            due, last = not done, time.monotonic()
            failures = 0 if done else failures + 1

    def _saw_an_end(self) -> bool:
        found = False
        while (chunk := read_chunk(self._local / LEDGER, self._offset)).lines:
            self._offset = chunk.offset
            found = found or any(
                isinstance(event, EndEvent | StudyEndEvent) or is_answer(event)
                for event in chunk.events
            )
        return found

    def _try_copy(self) -> bool:
        try:
            self.copy()
        except (RemoteError, sqlite3.Error, OSError) as error:
            if self._error is None:
                self._say(
                    f"the study's records can't be copied to its storage now ({error}). They are "
                    f"kept in {self._local}; training goes on"
                )
            self._error = str(error)
            return False
        if self._error is not None:
            self._error = None
            self._say(f"{self._remote}: the study's records are copied there again")
        return True


def _snapshot(database: Path) -> bytes:
    """A database that others write to, as of one moment."""
    with TemporaryDirectory(prefix="noise-study-") as folder:
        copy = Path(folder) / DATABASE
        with (
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return copy.read_bytes()
