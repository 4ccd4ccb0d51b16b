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
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self

from trainables.metrics import EpochMetrics

log = logging.getLogger(__name__)

TrialState = Literal["complete", "pruned", "failed"]
StudyState = Literal["complete", "interrupted", "failed"]

_FIELDS = tuple(EpochMetrics.__dataclass_fields__)
_read_fields = operator.attrgetter(*_FIELDS)
"""As ``EpochMetrics.to_dict``, in a tenth of its time: this runs in the driver's loop."""

_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_PREFIX = b'{"crc":"'
_BODY = len(_PREFIX) + 10
"""Where the body begins: the prefix, eight hexadecimal digits, a quote and a comma."""
_TAIL_BLOCK = 1 << 16
_CHUNK = 1 << 22


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts them."""
    return time.time_ns() // 1_000_000


def new_uid() -> str:
    """A study's identity, which its name is not: another user may have chosen the same one."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """A study begins, or goes on after an interruption (``resumed``).

    Attributes:
        name: the study's name.
        uid: its identity (``new_uid``), chosen once and repeated when it is resumed.
        config: its whole configuration as JSON types, without secrets.
        objectives: the names of its objectives.
        asked: what it asks, in a sentence for people.
        resumed: whether it began earlier.
        time: ms since 1970.
    """

    name: str
    uid: str
    config: Mapping[str, Any]
    objectives: tuple[str, ...] = ()
    asked: str = ""
    resumed: bool = False
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class StartEvent:
    """A run begins.

    Attributes:
        trial: its stable key (``trial-0007``, ``baseline-seed0``).
        role: ``baseline`` or ``trial``; in a confirmation ``confirm`` or ``placebo``.
        seed: the seed it runs on.
        overrides: what it changes in the base configuration, by path.
        config: its whole ``TrainConfig`` as JSON types.
        baseline: the digest of its baseline (a baseline's own).
        time: ms since 1970.
    """

    trial: str
    role: str
    seed: int
    overrides: Mapping[str, Any]
    config: Mapping[str, Any]
    baseline: str
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class EpochsEvent:
    """Epochs of a run: one that was trained, or many that it shares with its baseline."""

    trial: str
    rows: tuple[EpochMetrics, ...]
    shared: bool = False
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class NoteEvent:
    """Tags of a run, or of the study itself (``trial`` None)."""

    trial: str | None
    tags: Mapping[str, str]
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class ArtifactEvent:
    """A file that belongs to a run, or to the study itself (``trial`` None).

    Attributes:
        trial: the run's key.
        path: the file, absolute or relative to the ledger's folder.
        folder: the folder it gets among the run's artifacts; empty: the top.
        time: ms since 1970.
    """

    trial: str | None
    path: str
    folder: str = ""
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class EndEvent:
    """A run is over.

    Attributes:
        trial: its key.
        state: ``complete``, ``pruned`` (stopped early) or ``failed``.
        reason: why it ended, if it is not complete.
        values: every objective's value, and the figures on the test set if it was evaluated there;
            empty for a failed run.
        paired_difference: value − the baseline's after as many epochs, by objective.
        epochs_trained: epochs that were really trained, not shared with the baseline.
        fork_epoch: the epoch at which the run left its baseline's course, if it was forked.
        first_injection_epoch: the first noisy epoch.
        seconds: wall time of its training.
        time: ms since 1970.
    """

    trial: str
    state: TrialState
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    paired_difference: Mapping[str, float] = field(default_factory=dict)
    epochs_trained: int = 0
    fork_epoch: int | None = None
    first_injection_epoch: int | None = None
    seconds: float | None = None
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class StudyEndEvent:
    """The study is over, or interrupted; what is not ended then does not run any more."""

    state: StudyState
    best: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    time: int = field(default_factory=now_ms)


Event = StudyEvent | StartEvent | EpochsEvent | NoteEvent | ArtifactEvent | EndEvent | StudyEndEvent

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
_DURABLE = (StudyEvent, EndEvent, StudyEndEvent)
"""Events that are on the disk, not only with the operating system, when ``append`` returns."""


class LedgerError(ValueError):
    """A line of the ledger that can't be understood, with the reason."""


def encode(event: Event) -> bytes:
    """The event's line, with its end."""
    values = {name: getattr(event, name) for name in event.__dataclass_fields__}
    if isinstance(event, EpochsEvent):
        values["rows"] = [dict(zip(_FIELDS, _read_fields(row), strict=True)) for row in event.rows]
    text = _dumps({"type": _NAMES[type(event)], **values})
    # A reason may quote a file name that is no Unicode; its escape is JSON's, too.
    body = text.encode(errors="backslashreplace")[1:]
    return b'%s%08x",%s\n' % (_PREFIX, zlib.crc32(body), body)


def decode(line: bytes) -> Event:
    """The inverse of ``encode``; the line's end may be missing.

    Raises:
        LedgerError: if the line is damaged, or an event that this version doesn't know.
    """
    body = line[_BODY:].rstrip(b"\n")
    if not line.startswith(_PREFIX) or line[_BODY - 2 : _BODY] != b'",':
        raise LedgerError("not a line of a ledger")
    if line[len(_PREFIX) : _BODY - 2] != b"%08x" % zlib.crc32(body):
        raise LedgerError("damaged: its checksum does not fit")
    odd = b'"nan"' in body or b'inf"' in body
    try:
        values = json.loads(b"{" + body)
        kind = _KINDS[values.pop("type")]
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
        return _encode_strictly(_plain(value))


def _plain(value: Any) -> Any:
    """JSON types only: numbers that JSON can't hold as text, any mapping as a dict."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


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
        """Open for appending, creating file and folder.

        Raises:
            OSError: if the file can't be opened or repaired.
        """
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

    @property
    def unwritten(self) -> int:
        """Bytes that the disk has refused so far."""
        return len(self._unwritten)

    def append(self, event: Event) -> None:
        """Write one event: whole lines only, in one call to the operating system.

        Ends and the study's own events are synchronised to the disk.

        Raises:
            OSError: if it can't be written now; it is tried again with the next event.
        """
        self._unwritten += encode(event)
        self._write()
        if isinstance(event, _DURABLE):
            os.fsync(self._file)

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

    def close(self) -> None:
        """Write what is left and close; harmless when it is closed already.

        Raises:
            OSError: if lines are left that can't be written.
        """
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
    """Some whole lines of a ledger.

    Attributes:
        events: what they say, in order.
        offset: where the next chunk begins, in bytes.
        lines: how many lines there were.
        damage: lines that were skipped, numbered within the chunk.
    """

    events: tuple[Event, ...]
    offset: int
    lines: int = 0
    damage: tuple[Damage, ...] = ()


def read_chunk(path: Path, offset: int = 0, *, max_bytes: int = _CHUNK) -> Chunk:
    """Read whole lines from ``offset`` on; a line still being written is left for later.

    Args:
        path: the ledger; a missing one is empty.
        offset: the beginning of a line, as an earlier chunk gave it.
        max_bytes: about how much to read; at least one line is.
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
    with file:
        file.seek(offset)
        content = file.read(max_bytes)
        if not content.endswith(b"\n") and b"\n" not in content:
            content += file.readline()
    return content[: content.rfind(b"\n") + 1]


@dataclass(frozen=True, slots=True)
class StudyInfo:
    """What the ledger says of the study itself.

    Attributes:
        name, uid, config, objectives, asked: as in the last ``StudyEvent``.
        tags: all notes on the study, merged.
        started: ms since 1970 of its first event.
        state: how it ended; None while it runs, or if its process died.
        best: the best trial's key, once it has ended.
        ended: ms since 1970; None as ``state``.
        resumed: how often it went on.
    """

    name: str
    uid: str
    config: Mapping[str, Any]
    objectives: tuple[str, ...]
    asked: str
    tags: Mapping[str, str]
    started: int
    state: StudyState | None
    best: str | None
    ended: int | None
    resumed: int


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """What the ledger says of one run.

    Attributes:
        key, role, seed, overrides, config, baseline: as in its ``StartEvent``.
        history: its epochs in order, each once; shared ones included.
        shared_epochs: how many of them it shares with its baseline, untrained.
        lost_epochs: epochs missing before the last known one, because their lines are damaged.
        state: how it ended; None if it has not.
        reason, values, paired_difference, epochs_trained, fork_epoch, seconds: as in its
            ``EndEvent``; for an unfinished run what follows from the history so far.
        first_injection_epoch: the first noisy epoch so far.
        tags: its notes, merged.
        started, ended: ms since 1970.
    """

    key: str
    role: str
    seed: int
    overrides: Mapping[str, Any]
    config: Mapping[str, Any]
    baseline: str
    history: tuple[EpochMetrics, ...] = ()
    shared_epochs: int = 0
    lost_epochs: tuple[int, ...] = ()
    state: TrialState | None = None
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    paired_difference: Mapping[str, float] = field(default_factory=dict)
    epochs_trained: int = 0
    fork_epoch: int | None = None
    first_injection_epoch: int | None = None
    seconds: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    started: int = 0
    ended: int | None = None

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state is not None


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Everything a ledger says, as of one moment.

    Attributes:
        study: the study itself; None before its first event.
        trials: all runs by key, baselines included, in the order in which they began.
        damage: lines that were skipped.
        offset: how far the ledger was read, in bytes.
    """

    study: StudyInfo | None
    trials: Mapping[str, TrialRecord]
    damage: tuple[Damage, ...] = ()
    offset: int = 0

    def by_role(self, role: str) -> tuple[TrialRecord, ...]:
        """The runs of one role, in order."""
        return tuple(record for record in self.trials.values() if record.role == role)


def read_ledger(path: Path) -> LedgerState:
    """Read a whole ledger. A missing one is empty; damaged lines are named in the log."""
    return LedgerView(path).refresh()


class LedgerView:
    """A ledger followed while it grows; each ``refresh`` reads only what is new."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._offset = 0
        self._lines = 0
        self._damage: list[Damage] = []
        self._study: _Study | None = None
        self._trials: dict[str, _Trial] = {}
        self._orphans: set[str] = set()

    def refresh(self) -> LedgerState:
        """What the ledger says now."""
        for chunk in self._chunks():
            for damage in chunk.damage:
                self._skip(damage)
            for event in chunk.events:
                self._absorb(event)
        trials = {key: trial.record() for key, trial in self._trials.items()}
        return LedgerState(
            study=self._study.info() if self._study else None,
            trials=MappingProxyType(trials),
            damage=tuple(self._damage),
            offset=self._offset,
        )

    def _chunks(self) -> Iterator[Chunk]:
        while (chunk := read_chunk(self.path, self._offset)).lines:
            self._offset = chunk.offset
            yield chunk
            self._lines += chunk.lines

    def _skip(self, damage: Damage) -> None:
        found = Damage(damage.offset, self._lines + damage.line, damage.reason)
        self._damage.append(found)
        log.warning(
            "%s: line %d (byte %d) is skipped: %s",
            self.path,
            found.line,
            found.offset,
            found.reason,
        )

    def _absorb(self, event: Event) -> None:
        if isinstance(event, StudyEvent):
            self._study = self._study or _Study(event)
            self._study.began(event)
        elif isinstance(event, StudyEndEvent):
            if self._study:
                self._study.over(event)
        elif isinstance(event, StartEvent):
            self._trials.setdefault(event.trial, _Trial(event)).began(event)
        elif event.trial is None:
            if self._study and isinstance(event, NoteEvent):
                self._study.tags.update(event.tags)
        elif (trial := self._trials.get(event.trial)) is not None:
            trial.absorb(event)
        elif event.trial not in self._orphans:
            self._orphans.add(event.trial)
            log.warning("%s: the start of %s is lost; it is left out", self.path, event.trial)


class _Study:
    """Mutable state of the study while events arrive."""

    def __init__(self, first: StudyEvent) -> None:
        self.first = self.last = first
        self.tags: dict[str, str] = {}
        self.resumed = 0
        self.end: StudyEndEvent | None = None

    def began(self, event: StudyEvent) -> None:
        self.last = event
        self.resumed += event.resumed
        self.end = None

    def over(self, event: StudyEndEvent) -> None:
        self.end = event
        self.tags.update(event.tags)

    def info(self) -> StudyInfo:
        last, end = self.last, self.end
        return StudyInfo(
            name=last.name,
            uid=self.first.uid,
            config=last.config,
            objectives=last.objectives,
            asked=last.asked,
            tags=MappingProxyType(dict(self.tags)),
            started=self.first.time,
            state=end.state if end else None,
            best=end.best if end else None,
            ended=end.time if end else None,
            resumed=self.resumed,
        )


class _Trial:
    """Mutable state of one run while events arrive."""

    def __init__(self, start: StartEvent) -> None:
        self.start = start
        self.rows: dict[int, EpochMetrics] = {}
        self.shared: set[int] = set()
        self.tags: dict[str, str] = {}
        self.end: EndEvent | None = None
        self._differs = False
        self._record: TrialRecord | None = None

    def began(self, event: StartEvent) -> None:
        """It starts, or starts again after it had ended."""
        self.end = None
        self._record = None

    def absorb(self, event: EpochsEvent | NoteEvent | ArtifactEvent | EndEvent) -> None:
        self._record = None
        if isinstance(event, EpochsEvent):
            for row in event.rows:
                self._add(row, event.shared)
        elif isinstance(event, NoteEvent):
            self.tags.update(event.tags)
        elif isinstance(event, EndEvent):
            self.end = event

    def _add(self, row: EpochMetrics, shared: bool) -> None:
        known = self.rows.setdefault(row.epoch, row)
        if known is row:
            if shared:
                self.shared.add(row.epoch)
        elif not self._differs and not same_numbers(known, row):
            self._differs = True
            log.warning(
                "%s: epoch %d was reported twice, with different numbers; the first ones are kept "
                "(training is not deterministic there)",
                self.start.trial,
                row.epoch,
            )

    def record(self) -> TrialRecord:
        if self._record is None:
            self._record = self._build()
        return self._record

    def _build(self) -> TrialRecord:
        start, end = self.start, self.end
        history = tuple(self.rows[epoch] for epoch in sorted(self.rows))
        last = history[-1].epoch if history else -1
        first_injection = next((row.epoch for row in history if row.injected), None)
        return TrialRecord(
            key=start.trial,
            role=start.role,
            seed=start.seed,
            overrides=start.overrides,
            config=start.config,
            baseline=start.baseline,
            history=history,
            shared_epochs=len(self.shared),
            lost_epochs=tuple(epoch for epoch in range(last) if epoch not in self.rows),
            state=end.state if end else None,
            reason=end.reason if end else "",
            values=end.values if end else {},
            paired_difference=end.paired_difference if end else {},
            epochs_trained=end.epochs_trained if end else len(history) - len(self.shared),
            fork_epoch=end.fork_epoch if end else None,
            first_injection_epoch=first_injection,
            seconds=end.seconds if end else None,
            tags=MappingProxyType(dict(self.tags)),
            started=start.time,
            ended=end.time if end else None,
        )


def same_numbers(a: EpochMetrics, b: EpochMetrics) -> bool:
    """Whether two reports of an epoch agree; NaN equals NaN here."""
    if a == b:
        return True
    return all(_same(a, b, name) for name in EpochMetrics.__dataclass_fields__)


def _same(a: EpochMetrics, b: EpochMetrics, name: str) -> bool:
    x, y = getattr(a, name), getattr(b, name)
    return bool(x == y or (x != x and y != y))  # noqa: PLR0124
