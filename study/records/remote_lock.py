"""A lock in an object store: one process at a time writes a study there."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from study.records.remote import LOCK, RemoteError, asking, bring
from trainables.errors import InputError
from trainables.object_store import ObjectPath

log = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
STALE_SECONDS = 60.0
_SETTLE_SECONDS = 0.3
_PROCESS = uuid.uuid4().hex
"""This process, as its locks name it."""


@dataclass(frozen=True)
class _Holder:
    """The process that holds a study: what the lock object says.

    ``time``: seconds since 1970 of its last sign of life.
    """

    token: str
    pid: int
    host: str
    folder: str
    time: float

    @property
    def age(self) -> float:
        """Seconds since its last sign of life; negative if its clock is ahead of this one's."""
        return time.time() - self.time

    def is_dead(self, folder: Path) -> bool:
        """Whether it can be known to be gone; the caller holds the local lock of ``folder``."""
        if self.age > STALE_SECONDS:
            return True
        if self.host != socket.gethostname():
            return False
        return self.folder == str(folder) or not _is_alive(self.pid)


def _is_alive(pid: int) -> bool:
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
    """
    try:
        with asking(remote):
            _take(local, remote)
            bring(local, remote)
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
    if holder is not None and holder.token != _PROCESS and _lives(remote, holder, local):
        raise InputError(_refusal(local, holder))
    _sign(local, remote)
    time.sleep(_SETTLE_SECONDS)
    holder = _holder(remote)
    if holder is not None and holder.token != _PROCESS:
        raise InputError(_refusal(local, holder))


def _lives(remote: ObjectPath, holder: _Holder, local: Path) -> bool:
    """Whether a holder is to be taken for alive.

    One whose last sign of life lies in the future is watched: its clock, or this one, was set
    back, and a dead one would count as alive until that time has come.
    """
    if holder.is_dead(local):
        return False
    if holder.age > -STALE_SECONDS:
        return True
    log.warning("%s: the clocks differ; looking whether its holder is alive", remote)
    until = time.monotonic() + 2 * BEAT_SECONDS
    while time.monotonic() < until:
        time.sleep(_SETTLE_SECONDS)
        if _holder(remote) != holder:
            return True
    return False


def _refusal(local: Path, holder: _Holder) -> str:
    seen = max(0.0, holder.age)
    return (
        f"name = {local.name!r}: the study is being run by process {holder.pid} on {holder.host}, "
        f"last seen {seen:.0f} s ago; wait for it, or stop it (one that gives no sign of life for "
        f"{STALE_SECONDS:.0f} s is taken for dead)"
    )


def _sign(local: Path, remote: ObjectPath) -> None:
    own = _Holder(_PROCESS, os.getpid(), socket.gethostname(), str(local), time.time())
    (remote / LOCK).write_bytes(json.dumps(asdict(own)).encode())


def is_taken(remote: ObjectPath, *, held: bool) -> bool:
    """Whether another process holds the study, or held it: a lock of ours is ``held`` no more.

    A lock that can't be read is one that is just being written.
    """
    holder = _holder(remote)
    if holder is None:
        return held and not (remote / LOCK).exists()
    return holder.token != _PROCESS


def is_alive(remote: ObjectPath) -> bool:
    """Whether some process holds the study in the store and gave a sign of life lately."""
    holder = _holder(remote)
    return holder is not None and holder.age <= STALE_SECONDS


def _beat(local: Path, remote: ObjectPath, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        try:
            if is_taken(remote, held=True):
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
