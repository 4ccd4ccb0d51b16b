"""Writing files whole or not at all. Nothing here needs torch."""

import os
import tempfile
from pathlib import Path

from trainables.object_store import Location, ObjectPath


def write_atomically(path: Location, content: bytes) -> None:
    """Write a file whole: it is the old one or the new one; the old one after an ``OSError``."""
    if isinstance(path, ObjectPath):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            # mkstemp makes files that only their owner reads.
            os.fchmod(handle, 0o666 & ~_umask())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
