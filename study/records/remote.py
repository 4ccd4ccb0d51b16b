"""Records of a study in an object store: fetched before it goes on, copied while it runs.

The local work folder is where records are written. Copies are made after each trial's end and at
the study's end, by a thread of its own: training never waits for the store. The ledger is copied
last, so that what it refers to is there before it, and only whole lines of it are.

An object store has no locks. A holder writes its name and the time into an object every few
seconds; a second process is refused while that is fresh, and takes over when it is stale. This
relies on clocks that agree to about half a minute, and two processes that start within the same
moment may both believe that they hold the study: who finds the other's name there stops copying.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.records.file_lock import is_held
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

_OF_A_STUDY = frozenset({LEDGER, "study.json", "experiment_config.json", "confirm_config.json"})
"""What only the records of a study, an experiment or a confirmation have."""

_FIRST = (OFFSET, DATABASE, "optuna.journal")
"""Copied before the rest: neither may run ahead of the ledger, which is copied last."""


class RemoteError(RuntimeError):
    """The object store can't be used now; the message says why, without secrets."""


@contextmanager
def asking(remote: ObjectPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise RemoteError(f"{remote}: {first[:300]}") from None


@contextmanager
def _needing(remote: ObjectPath, hint: str = "") -> Iterator[None]:
    try:
        with asking(remote):
            yield
    except RemoteError as error:
        raise InputError(f"storage = {error}{hint}") from None


def check_remote(remote: ObjectPath) -> None:
    with _needing(remote, "; give a URI that this machine can reach and may read (--storage)"):
        remote.exists()


def folders(remote: ObjectPath) -> list[str]:
    """The names of the folders directly below."""
    with _needing(remote):
        return sorted(path.name for path in remote.folders())


def fetch(local: Path, remote: ObjectPath) -> None:
    """Bring the records of a study that lie in the store to the work folder, if they are newer.

    Local records that the store has not seen yet are kept. Records of a study that went on
    elsewhere replace them; they are set aside under ``.superseded``.
    """
    with _needing(remote, "; the study's records can't be fetched"):
        # The records of a process on this machine are the newest.
        if not is_held(local / LOCK):
            bring(local, remote)


def bring(local: Path, remote: ObjectPath) -> None:
    there = {path.name: path for path in remote.files() if path.name not in {LOCK, DATABASE}}
    if not there.keys() & _OF_A_STUDY:
        return  # Whatever it is, it is none of ours, and may be large.
    for folder in remote.folders():
        if folder.name != CHECKPOINTS and not is_held(local / folder.name / LOCK):
            bring(local / folder.name, folder)
    theirs = there[LEDGER].read_bytes() if LEDGER in there else b""
    ours = whole_lines(local / LEDGER)
    if ours and not theirs.startswith(ours) and not ours.startswith(theirs):
        _set_aside(local)
        ours = b""
    newer = len(theirs) > len(ours)
    for name in sorted(there, key=order):
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


def whole_lines(ledger: Path) -> bytes:
    try:
        content = ledger.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def order(name: str) -> tuple[int, str]:
    if name in _FIRST:
        return _FIRST.index(name), name
    return len(_FIRST) + (name == LEDGER), name
