"""The lock of a local folder. One process holds it; the system frees it when that process ends.

The lock is the operating system's (``flock``), not the file, which stays and says who held it last.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Not every command holds a lock, and the library takes a while to import.
    from filelock import FileLock


class LockHeldError(RuntimeError):
    """Another process holds the lock: the text says which, as far as it is known."""


def take(path: Path, *, wait: float = 0.0) -> "FileLock":
    """Hold the lock until ``release``. ``LockHeldError`` if another process holds it.

    ``wait``: for so many seconds it is tried again; 0: the refusal comes at once.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    # Without flock a file system has no lock that a dead process gives back.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=wait, poll_interval=0.02, blocking=wait > 0)
    except Timeout:
        holder = ""
        with suppress(OSError):  # Some file systems lock the text, too.
            holder = path.read_text(encoding="utf-8", errors="replace").strip()
        raise LockHeldError(holder or "another process") from None
    with suppress(OSError):  # A full disk: the lock is held all the same.
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    return lock


def is_held(path: Path) -> bool:
    """Whether a process holds the lock; the file is left as it is."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    lock = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False
