"""The register: every confirmation, and every reading of a test set, across a storage's studies.

Only added to, never rewritten. In a folder it is ``STORAGE/register.jsonl``: a JSON object a line,
each with a checksum, appended under a lock. In an object store each entry is an object of its own,
``register/<time>-<id>.json``. Runs that belong to no study have theirs in the folder they lie in.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from study.records.checked_line import DamagedLineError, sealed, unsealed
from study.records.file_lock import LockHeldError, take
from trainables.data.dataset import KnownImages
from trainables.object_store import ObjectPath

FILE = "register.jsonl"
OBJECTS = "register"
"""Names in a storage, which no new study has (``FILE``: ``study.names.TAKEN_NAMES``)."""

_LOCK = ".register.lock"
_WAIT_SECONDS = 30.0
_OF_A_STUDY = ("study.json", "experiment_config.json")


class RegisterError(RuntimeError):
    """The register can't be read or written now; the text says where, and why."""


class RegisterEntry(BaseModel):
    """One line of the register; what later versions add is passed over.

    Attributes:
        id: what was registered: a second entry of the same id is not added.
        time: UTC, ISO 8601.
        by: the command.
        name: of the study, or of the run.
        uid: a confirmation's own, the same from its plan to its end; empty of other readings.
        test_set: ``Dataset.test_digest``.
        images: how many the test set has.
        trials: of a confirmation, whose runs read it; empty of single runs.
        seeds: likewise: planned, extended to, or used.
        verdict: trial → verdict, at a confirmation's end.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1, pattern=r"^[0-9a-f]+$")
    time: str
    what: Literal["planned", "extended", "ended", "read"]
    by: str
    name: str
    uid: str = ""
    test_set: str
    images: int
    trials: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    verdict: dict[str, str] = {}


def new_entry(test_set: KnownImages, *same: object, **values: Any) -> RegisterEntry:
    """An entry of now about a test set; ``same``: what an equal entry would have, too.

    Without ``same`` no other entry is equal to it.
    """
    text = json.dumps([values["what"], test_set.digest, *same]) if same else uuid4().hex
    return RegisterEntry(
        id=hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
        # An object store has its entries in the order of their times.
        time=datetime.now(UTC).isoformat(timespec="microseconds"),
        test_set=test_set.digest,
        images=test_set.images,
        **values,
    )


@dataclass(frozen=True)
class Registered:
    """The register as it was read: its entries in their order, and what could not be read of it."""

    entries: tuple[RegisterEntry, ...]
    damage: tuple[str, ...] = ()


@dataclass(frozen=True)
class Register:
    """The register of the storage whose records lie in ``folder``, or in an object store."""

    folder: Path
    remote: ObjectPath | None = None

    @classmethod
    def near(cls, folder: Path) -> Self:
        """The one of the storage that ``folder`` lies in, as a part of a study; else its own."""
        folder = folder.expanduser().resolve()
        for above in (folder, *folder.parents):
            if any((above / name).is_file() for name in _OF_A_STUDY):
                return cls(above.parent)
        return cls(folder)

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def __str__(self) -> str:
        return str(self.path if self.remote is None else self.remote / OBJECTS)

    def read(self) -> Registered:
        """All entries; damaged ones are left out and named. ``RegisterError`` if that fails."""
        try:
            pieces = self._lines() if self.remote is None else _objects(self.remote)
        except OSError as error:
            raise self._failed("read", error) from None
        entries, damage = [], []
        for place, text in pieces:
            try:
                entries.append(RegisterEntry.model_validate_json(unsealed(text)))
            except (DamagedLineError, ValidationError) as error:
                torn = isinstance(error, DamagedLineError)
                why = "cut short or damaged" if torn else "of another version"
                damage.append(f"{place}: {why}")
        return Registered(tuple(entries), tuple(damage))

    def _lines(self) -> list[tuple[str, bytes]]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        lines = content.removesuffix(b"\n").split(b"\n") if content else []
        return [(f"{self.path}, line {n}", line) for n, line in enumerate(lines, start=1)]

    def check_writable(self) -> None:
        """``RegisterError`` if it is there and can't be added to; nothing is written."""
        if self.remote is None and self.path.exists():
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_APPEND))
            except OSError as error:
                raise self._failed("written", error) from None

    def add(self, *entries: RegisterEntry) -> None:
        """Add the entries that are not there; when it returns, all are on the disk.

        ``RegisterError``: some, or none, could be added; trying again adds the rest.
        """
        once = list({entry.id: entry for entry in entries}.values())
        try:
            if self.remote is None:
                self._append(once)
            else:
                _put(self.remote / OBJECTS, once)
        except LockHeldError as error:
            raise RegisterError(f"the register {self} is held by {error}") from None
        except (OSError, NotImplementedError) as error:
            raise self._failed("written", error) from None

    def _append(self, entries: Sequence[RegisterEntry]) -> None:
        lock = take(self.folder / _LOCK, wait=_WAIT_SECONDS)
        try:
            there = {entry.id for entry in self.read().entries}
            lines = b"".join(_line(entry) for entry in entries if entry.id not in there)
            if lines:
                _append_whole(self.path, lines)
        finally:
            lock.release()

    def _failed(self, verb: str, error: Exception) -> RegisterError:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0][:300]
        return RegisterError(f"the register {self} can't be {verb} ({why or type(error).__name__})")


def _line(entry: RegisterEntry) -> bytes:
    # A file name may be no Unicode; its escape is JSON's, too.
    values = entry.model_dump(mode="json")
    return sealed(json.dumps(values, ensure_ascii=False).encode(errors="backslashreplace"))


def _append_whole(path: Path, lines: bytes) -> None:
    """Append lines, or nothing. The caller holds the lock.

    A line that a killed process left without its end is ended, and stays as it is.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        rest = memoryview(b"\n" + lines if torn else lines)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def _objects(remote: ObjectPath) -> list[tuple[str, bytes]]:
    """The entries' objects, in the order of their times."""
    found = [path for path in (remote / OBJECTS).files() if _is_entry(path.name)]
    return [(str(path), path.read_bytes()) for path in sorted(found, key=lambda path: path.name)]


def _is_entry(name: str) -> bool:
    # Other files there may be those of a study of an earlier version that was called register.
    return name.endswith(".json") and name[:1].isdigit() and "-" in name


def _put(place: ObjectPath, entries: Sequence[RegisterEntry]) -> None:
    there = {path.stem.rpartition("-")[2] for path in place.files() if _is_entry(path.name)}
    for entry in entries:
        if entry.id not in there:
            moment = datetime.fromisoformat(entry.time).strftime("%Y%m%dT%H%M%S.%f")
            (place / f"{moment}Z-{entry.id}.json").write_bytes(_line(entry))


def note_reading(register: Register, entry: RegisterEntry, say: Callable[[str], None]) -> None:
    """Register a reading; where that fails it is said, and the reader goes on."""
    try:
        register.add(entry)
    except RegisterError as error:
        say(f"this reading of the test set is not registered: {error}")
