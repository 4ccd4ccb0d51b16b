"""How far MLflow has got in a ledger: kept in a file beside it, and checked after a crash."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from study.records.json_files import write_json
from study.records.ledger import read_chunk
from study.tracking.reader import File, Reader

log = logging.getLogger(__name__)

CHUNK = 1 << 18
"""Bytes of ledger sent between two savings of the offset: some hundreds of epochs."""

_TAIL = 4096
"""Bytes before the offset by which the ledger is known again: more than a line that may be lost."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What the file says.

    Attributes:
        store: the store's address, without secrets.
        experiment: MLflow's id of it.
        offset: how many bytes of the ledger the store has.
        tail: the digest of the last of them (``last_bytes``).
        runs: MLflow's run id by trial key.
        files: artifacts that could not be stored yet.
    """

    store: str
    uid: str
    experiment: str
    offset: int
    tail: str
    runs: Mapping[str, str]
    files: Sequence[File]

    def write(self, path: Path) -> None:
        write_json(path, asdict(self), indent=None)


def load(path: Path, store: str) -> Saved | None:
    """What was saved for this store; None if nothing was, or it can't be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("store") != store:
            return None
        files = tuple(File(*entry) for entry in values["files"])
        saved = Saved(**{**values, "files": files, "runs": dict(values["runs"])})
        if not isinstance(saved.offset, int) or saved.offset < 0:
            raise ValueError(f"offset = {saved.offset!r}")
        return saved
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s: can't be read (%s); all is sent again", path, error)
        return None


def sent_uid(path: Path) -> str | None:
    """The identity of the study of which something has been sent; None if that is not known."""
    try:
        uid = json.loads(path.read_text(encoding="utf-8"))["uid"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return uid if isinstance(uid, str) and uid else None


def recall(ledger: Path, saved: Saved) -> Reader | None:
    """What was sent earlier, read again; None if the ledger has other lines there now."""
    reader, position = Reader(), 0
    while position < saved.offset:
        size = min(CHUNK, saved.offset - position)
        chunk = read_chunk(ledger, position, max_bytes=size)
        if not chunk.lines:
            break
        for event in chunk.events:
            reader.absorb(event)
        position = chunk.offset
    if position != saved.offset or last_bytes(ledger, position) != saved.tail:
        return None
    reader.take()
    return reader


def last_bytes(ledger: Path, offset: int) -> str:
    """A digest of the ledger's last bytes before ``offset``: other lines may lie there one day."""
    with ledger.open("rb") as file:
        file.seek(max(0, offset - _TAIL))
        return hashlib.sha256(file.read(min(offset, _TAIL))).hexdigest()[:16]
