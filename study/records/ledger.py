"""The ledger: everything that happened in a study, in order, in one append-only file.

It is the study's truth. The summary, a resume, forks and the analysis read it, and MLflow is a
projection of it. One line is one event: strict JSON whose first entry is a CRC-32 of the rest of
the line, so that a line cut short or damaged is noticed. Numbers that JSON can't hold are written
as "nan", "inf" and "-inf".

Only the process that holds the study's lock appends; anybody may read at any time.
"""

import json
import logging
import math
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from study.errors import RecordsRemovedError
from study.records.checked_line import DamagedLineError, sealed, unsealed
from study.records.events import (
    ArtifactEvent,
    EndEvent,
    EpochsEvent,
    Event,
    NoteEvent,
    StartEvent,
    StudyEndEvent,
    StudyEvent,
)
from study.records.json_files import plain
from trainables.errors import InputError
from trainables.metrics import EpochMetrics

log = logging.getLogger(__name__)

_FIELDS = tuple(EpochMetrics.__dataclass_fields__)
_read_fields = operator.attrgetter(*_FIELDS)
"""As ``EpochMetrics.to_dict``, in a tenth of its time: this runs in the driver's loop."""

_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_TAIL_BLOCK = 1 << 16
LONGEST_CHUNK = 1 << 22

_NAMES: dict[type[Any], str] = {
    StudyEvent: "study",
    StartEvent: "start",
    EpochsEvent: "epochs",
    NoteEvent: "note",
    ArtifactEvent: "artifact",
    EndEvent: "end",
    StudyEndEvent: "study_end",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}
_JSON_NAMES = {"key": "trial"}
"""Fields that ledgers, since the first ones, call otherwise."""
_FIELD_NAMES = {name: field for field, name in _JSON_NAMES.items()}
_DURABLE = (StudyEvent, EndEvent, StudyEndEvent)
"""Events that are on the disk, not only with the operating system, when ``append`` returns."""


class LedgerError(ValueError):
    """A line of the ledger that can't be understood, with the reason."""


def encode(event: Event) -> bytes:
    """The event's line, with its end."""
    values = {
        _JSON_NAMES.get(name, name): getattr(event, name) for name in event.__dataclass_fields__
    }
    if isinstance(event, EpochsEvent):
        values["rows"] = list(map(_written, event.rows))
    if isinstance(event, StudyEvent) and not event.first_step:
        # As with rows: it is a study that an earlier version began.
        del values["first_step"]
    text = _dumps({"type": _NAMES[type(event)], **values})
    # A reason may quote a file name that is no Unicode; its escape is JSON's, too.
    return sealed(text.encode(errors="backslashreplace"))


def _written(row: EpochMetrics) -> dict[str, Any]:
    values = dict(zip(_FIELDS, _read_fields(row), strict=True))
    if row.clean_train_accuracy is None:
        # Earlier versions go on with their studies, and refuse what they do not know.
        del values["clean_train_accuracy"]
    if not row.own:
        del values["own"]
    return values


def decode(line: bytes) -> Event:
    """The inverse of ``encode``; the line's end may be missing.

    ``LedgerError``: the line is damaged, or an event that this version doesn't know.
    """
    try:
        text = unsealed(line)
    except DamagedLineError as error:
        raise LedgerError(str(error)) from None
    odd = b'"nan"' in text or b'inf"' in text
    try:
        values = json.loads(text)
        kind = _KINDS[values.pop("type")]
        values = {_FIELD_NAMES.get(name, name): value for name, value in values.items()}
        if kind is EpochsEvent:
            rows = [_numbers(row) for row in values["rows"]] if odd else values["rows"]
            values["rows"] = tuple(EpochMetrics.from_dict(row) for row in rows)
        elif kind is EndEvent:
            values["values"] = _numbers(values["values"])
            values["paired_difference"] = _numbers(values["paired_difference"])
        elif kind is StudyEvent:
            values["objectives"] = tuple(values["objectives"])
        event: Event = kind(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LedgerError(f"of another version: {type(error).__name__}: {error}") from None
    return event


_encode_strictly = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


def _dumps(value: Any) -> str:
    try:
        return _encode_strictly(value)
    except (ValueError, TypeError):
        return _encode_strictly(plain(value, str))


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _number(value) for key, value in row.items()}


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return _NUMBERS.get(value, value)
    if isinstance(value, list):
        return [_number(item) for item in value]
    return _numbers(value) if isinstance(value, dict) else value


class Ledger:
    """Appends events to a ledger file; opening repairs the end that a crash may have left.

    A line that a full disk refused is kept in memory and written before the next one, so that one
    failed write loses nothing as long as the process lives.
    """

    def __init__(self, path: Path) -> None:
        """Open for appending, creating file and folder; OSError where that fails."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        created = not self.path.exists()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._unwritten = b""
        try:
            _repair_tail(self._file, self.path)
            if created:
                _sync_folder(self.path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, event: Event) -> None:
        """Write one event: whole lines only, in one call to the operating system.

        Ends and the study's own events are synchronised to the disk. After an ``OSError`` the
        event is tried again with the next one; after a ``RecordsRemovedError`` there is none.
        """
        self._check_kept()
        self._unwritten += encode(event)
        self._write()
        if isinstance(event, _DURABLE):
            os.fsync(self._file)

    def _check_kept(self) -> None:
        # The file can be written to after it was removed: everything would be lost at the end.
        try:
            kept = os.path.samestat(self.path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            kept = False
        if not kept:
            raise RecordsRemovedError(self.path)

    def _write(self) -> None:
        size = os.fstat(self._file).st_size
        rest = memoryview(self._unwritten)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # A part of a line in the middle of the file would cost the line after it, too.
            os.ftruncate(self._file, size)
            raise
        self._unwritten = b""

    def flush(self) -> None:
        """Write what is left, or raise ``OSError``."""
        if self._unwritten:
            self._check_kept()
            self._write()
            os.fsync(self._file)

    def close(self) -> None:
        """Write what is left (or raise ``OSError``) and close; harmless when it is closed."""
        if self._file < 0:
            return
        try:
            self._write()
            os.fsync(self._file)
        finally:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _repair_tail(file: int, path: Path) -> None:
    """Cut a last line that has no end: the next line appended to it would be lost with it."""
    size = os.fstat(file).st_size
    tail, start = b"", size
    while start > 0 and b"\n" not in tail:
        step = min(_TAIL_BLOCK, start)
        start -= step
        tail = os.pread(file, step, start) + tail
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return
    try:
        decode(torn)
    except LedgerError:
        os.ftruncate(file, size - len(torn))
        log.warning(
            "%s: its last line was cut short (%d bytes from byte %d) and is removed; "
            "what it said is lost",
            path,
            len(torn),
            size - len(torn),
        )
    else:
        os.write(file, b"\n")
    os.fsync(file)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Damage:
    """A line that was skipped: where it begins, its number from 1, and why."""

    offset: int
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole lines of a ledger; the next chunk begins at byte ``offset``.

    ``damage``: lines that were skipped, numbered within the chunk.
    """

    events: tuple[Event, ...]
    offset: int
    lines: int
    damage: tuple[Damage, ...]


def read_chunk(path: Path, offset: int = 0, *, max_bytes: int = LONGEST_CHUNK) -> Chunk:
    """Read about ``max_bytes`` of whole lines, at least one, from an earlier chunk's ``offset`` on.

    A missing ledger is empty; a line still being written is left for later.
    """
    content = _whole_lines(path, offset, max_bytes)
    events: list[Event] = []
    damage: list[Damage] = []
    position = offset
    number = 0
    # Not splitlines: a damaged line may hold other characters that end a line for Python.
    for line in content.split(b"\n")[:-1]:
        number += 1
        try:
            events.append(decode(line))
        except LedgerError as error:
            damage.append(Damage(position, number, str(error)))
        position += len(line) + 1
    return Chunk(tuple(events), position, number, tuple(damage))


def _whole_lines(path: Path, offset: int, max_bytes: int) -> bytes:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); restore it from a copy"
        ) from None
    with file:
        file.seek(offset)
        content = file.read(max_bytes)
        if not content.endswith(b"\n") and b"\n" not in content:
            content += file.readline()
    return content[: content.rfind(b"\n") + 1]
