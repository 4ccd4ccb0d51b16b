"""Records of a study in an object store: fetched before it goes on, copied while it runs.

The local work folder is where records are written. Copies are made after each trial's end and at
the study's end, by a thread of its own: training never waits for the store. The ledger is copied
last, so that what it refers to is there before it, and only whole lines of it are.

An object store has no locks. A holder writes its name and the time into an object every few
seconds; a second process is refused while that is fresh, and takes over when it is stale. This
relies on clocks that agree to about half a minute, and two processes that start within the same
moment may both believe that they hold the study: who finds the other's name there stops copying.
"""

import fcntl
import json
import logging
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from study.ledger import EndEvent, StudyEndEvent, read_chunk
from trainables.errors import InputError
from trainables.files import write_atomically
from trainables.object_store import ObjectPath

log = logging.getLogger(__name__)

LEDGER = "ledger.jsonl"
OFFSET = "mlflow.offset"
DATABASE = "mlflow.db"
LOCK = "lock"
CHECKPOINTS = "checkpoints"
"""Names of files and of a folder, as ``StudyFolder`` has them."""

BEAT_SECONDS = 15.0
STALE_SECONDS = 60.0

_POLL_SECONDS = 1.0
_AT_LEAST_EVERY = 60.0
_LONGEST_DELAY = 30.0
_SETTLE_SECONDS = 0.3
_PROCESS = uuid.uuid4().hex
"""This process, as its locks name it."""

_OF_A_STUDY = frozenset({LEDGER, "study.json", "experiment_config.json", "confirm_config.json"})
"""What only the records of a study, an experiment or a confirmation have."""

_FIRST = (OFFSET, DATABASE, "optuna.journal")
"""Copied before the rest: neither may run ahead of the ledger, which is copied last."""


class RemoteError(RuntimeError):
    """The object store can't be used now; the message says why, without secrets."""


@contextmanager
def _asking(remote: ObjectPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise RemoteError(f"{remote}: {first[:300]}") from None


def check_remote(remote: ObjectPath) -> None:
    """Refuse an object store that does not answer.

    Raises:
        InputError: naming the storage and the reason.
    """
    try:
        with _asking(remote):
            remote.exists()
    except RemoteError as error:
        raise InputError(
            f"storage = {error}; give a URI that this machine can reach and may read (--storage)"
        ) from None


def folders(remote: ObjectPath) -> list[str]:
    """The names of the folders directly below.

    Raises:
        InputError: if the store can't be read.
    """
    try:
        with _asking(remote):
            return sorted(path.name for path in remote.folders())
    except RemoteError as error:
        raise InputError(f"storage = {error}") from None


# Fetching


def fetch(local: Path, remote: ObjectPath) -> None:
    """Bring the records of a study that lie in the store to the work folder, if they are newer.

    Local records that the store has not seen yet are kept. Records of a study that went on
    elsewhere replace them; they are set aside under ``.superseded``.

    Raises:
        InputError: if the store can't be read.
    """
    try:
        with _asking(remote):
            if not _held_here(local):
                _bring(local, remote)
    except RemoteError as error:
        raise InputError(f"storage = {error}; the study's records can't be fetched") from None


def _bring(local: Path, remote: ObjectPath) -> None:
    there = {path.name: path for path in remote.files() if path.name not in {LOCK, DATABASE}}
    if not there.keys() & _OF_A_STUDY:
        return  # Whatever it is, it is none of ours, and may be large.
    for folder in remote.folders():
        if folder.name != CHECKPOINTS and not _held_here(local / folder.name):
            _bring(local / folder.name, folder)
    theirs = there[LEDGER].read_bytes() if LEDGER in there else b""
    ours = _whole_lines(local / LEDGER)
    if ours and not theirs.startswith(ours) and not ours.startswith(theirs):
        _set_aside(local)
        ours = b""
    newer = len(theirs) > len(ours)
    for name in sorted(there, key=_order):
        path = local / name
        if newer or not path.exists():
            write_atomically(path, theirs if name == LEDGER else there[name].read_bytes())
            if name == OFFSET:
                _forget_local_store(path)


def _forget_local_store(offset: Path) -> None:
    """Without the offset MLflow's local database is filled again from the ledger."""
    try:
        store = json.loads(offset.read_text(encoding="utf-8")).get("store", "")
    except (OSError, ValueError, AttributeError):
        store = "sqlite"
    if str(store).startswith("sqlite"):
        offset.unlink()


def _set_aside(local: Path) -> None:
    aside = local.parent / ".superseded" / f"{local.name}-{time.time_ns() // 1_000_000}"
    aside.mkdir(parents=True, exist_ok=True)
    for path in local.iterdir():
        if path.is_file() and path.name != LOCK and path.suffix != ".lock":
            path.rename(aside / path.name)
    log.warning(
        "%s: the study went on elsewhere; this machine's records are kept in %s", local, aside
    )


def _held_here(local: Path) -> bool:
    """Whether a process on this machine runs the study: then its records are the newest."""
    try:
        file = (local / LOCK).open("r+")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _whole_lines(ledger: Path) -> bytes:
    try:
        content = ledger.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _order(name: str) -> tuple[int, str]:
    if name in _FIRST:
        return _FIRST.index(name), name
    return len(_FIRST) + (name == LEDGER), name


# The lock


@dataclass(frozen=True)
class _Holder:
    """Who holds a study: what the lock object says.

    Attributes:
        token: the process.
        pid, host, folder: where it runs and keeps its records.
        time: seconds since 1970 of its last sign of life.
    """

    token: str
    pid: int
    host: str
    folder: str
    time: float

    def is_dead(self, folder: Path) -> bool:
        """Whether it can be known to be gone; the caller holds the local lock of ``folder``."""
        if time.time() - self.time > STALE_SECONDS:
            return True
        if self.host != socket.gethostname():
            return False
        return self.folder == str(folder) or not _is_alive(self.pid)


def _is_alive(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _holder(remote: ObjectPath) -> _Holder | None:
    try:
        return _Holder(**json.loads((remote / LOCK).read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        log.warning("%s: not a lock of a study; it is replaced", remote / LOCK)
        return None


@contextmanager
def remote_lock(local: Path, remote: ObjectPath) -> Iterator[None]:
    """Hold a study in the object store; the caller holds the lock of the local folder.

    What another holder has added before it let go is fetched, so that no copy replaces it.

    Raises:
        InputError: naming the holder, or why the store can't be written.
    """
    try:
        with _asking(remote):
            _take(local, remote)
            _bring(local, remote)
    except RemoteError as error:
        raise InputError(f"storage = {error}; give a URI that can be written (--storage)") from None
    stop = threading.Event()
    beating = threading.Thread(
        target=_beat, args=(local, remote, stop), name="storage-lock", daemon=True
    )
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join(5.0)
        _let_go(remote)


def _take(local: Path, remote: ObjectPath) -> None:
    holder = _holder(remote)
    if holder is not None and holder.token != _PROCESS and not holder.is_dead(local):
        raise InputError(_refusal(local, holder))
    _sign(local, remote)
    time.sleep(_SETTLE_SECONDS)
    holder = _holder(remote)
    if holder is not None and holder.token != _PROCESS:
        raise InputError(_refusal(local, holder))


def _refusal(local: Path, holder: _Holder) -> str:
    seen = max(0.0, time.time() - holder.time)
    return (
        f"name = {local.name!r}: the study is being run by process {holder.pid} on {holder.host}, "
        f"last seen {seen:.0f} s ago; wait for it, or stop it (one that gives no sign of life for "
        f"{STALE_SECONDS:.0f} s is taken for dead)"
    )


def _sign(local: Path, remote: ObjectPath) -> None:
    own = _Holder(_PROCESS, os.getpid(), socket.gethostname(), str(local), time.time())
    (remote / LOCK).write_bytes(json.dumps(asdict(own)).encode())


def _is_taken(remote: ObjectPath, *, held: bool) -> bool:
    """Whether another process holds the study, or held it: a lock of ours is ``held`` no more.

    A lock that can't be read is one that is just being written.
    """
    holder = _holder(remote)
    if holder is None:
        return held and not (remote / LOCK).exists()
    return holder.token != _PROCESS


def _beat(local: Path, remote: ObjectPath, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        try:
            if _is_taken(remote, held=True):
                return
            _sign(local, remote)
        except OSError as error:
            log.warning("%s: no sign of life could be left: %s", remote, error)


def _let_go(remote: ObjectPath) -> None:
    try:
        holder = _holder(remote)
        if holder is not None and holder.token == _PROCESS:
            (remote / LOCK).unlink()
    except OSError as error:
        log.warning("%s: the lock could not be removed, it becomes stale: %s", remote, error)


# Copying


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

        Args:
            local: the study's work folder.
            remote: the study's place in the store.
            database: MLflow's local database, if that is where the study is tracked.
            say: for the few lines that the user should see.
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
        """Begin to follow the ledger."""
        self._offset = _size(self._local / LEDGER)
        self._thread = threading.Thread(target=self._follow, name="storage-copy", daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """End the thread and copy what is new; whether the store has everything."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return self._try_copy()

    def copy(self) -> None:
        """Copy what has changed since it was copied last.

        Raises:
            RemoteError: if the store can't be written; all of it is tried again the next time.
        """
        with _asking(self._remote):
            self._check_held()
            for path in sorted(self._files(), key=lambda path: _order(path.name)):
                self._copy_file(path)
            if self._database is not None:
                self._copy_database(self._database)
            self._copy_ledger()

    def _check_held(self) -> None:
        """What is there may be of a process that went on; it must not be replaced."""
        self._lost = _is_taken(self._remote, held=self._held)
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

    def _copy_file(self, path: Path) -> None:
        try:
            stat = path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if self._copied.get(path.name) == mark:
                return
            content = path.read_bytes()
        except FileNotFoundError:
            return
        (self._remote / path.name).write_bytes(content)
        self._copied[path.name] = mark

    def _copy_database(self, database: Path) -> None:
        if not database.exists():
            return
        stat = database.stat()
        mark = (stat.st_mtime_ns, stat.st_size)
        if self._copied.get(DATABASE) == mark:
            return
        with TemporaryDirectory(prefix="noise-study-") as folder:
            snapshot = Path(folder) / DATABASE
            with (
                closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(snapshot)) as target,
            ):
                source.backup(target)
            (self._remote / DATABASE).write_bytes(snapshot.read_bytes())
        self._copied[DATABASE] = mark

    def _copy_ledger(self) -> None:
        content = _whole_lines(self._local / LEDGER)
        mark = (0, len(content))
        if content and self._copied.get(LEDGER) != mark:
            (self._remote / LEDGER).write_bytes(content)
            self._copied[LEDGER] = mark

    def _follow(self) -> None:
        due, delay, last = True, 0.0, time.monotonic()
        while not self._stop.wait(max(_POLL_SECONDS, delay)):
            due = self._saw_an_end() or due
            if not due and time.monotonic() - last < _AT_LEAST_EVERY:
                continue
            if self._lost:
                return
            done = self._try_copy()
            due, last = not done, time.monotonic()
            delay = 0.0 if done else min(_LONGEST_DELAY, 2 * delay + 2.0)

    def _saw_an_end(self) -> bool:
        found = False
        while (chunk := read_chunk(self._local / LEDGER, self._offset)).lines:
            self._offset = chunk.offset
            found = found or any(isinstance(e, EndEvent | StudyEndEvent) for e in chunk.events)
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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
