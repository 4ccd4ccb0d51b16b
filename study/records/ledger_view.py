"""A ledger read back: the state of a study, and a view that follows a growing file."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.records import events
from study.records.ledger import LONGEST_CHUNK, Chunk, Damage, read_chunk
from trainables.epochs import epoch_number
from trainables.metrics import EpochMetrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StudyInfo:
    """What the ledger says of the study itself.

    Attributes:
        name, uid, config, asked: as in the last ``StudyEvent``.
        tags: all notes on the study, merged.
        started: ms since 1970.
        state: how it ended; None while it runs, or if its process died.
        resumed: how often it went on.
        since: when the process began that ran it last, in ms since 1970.
        first_step: as in the first ``StudyEvent``.
    """

    name: str
    uid: str
    config: Mapping[str, Any]
    asked: str
    tags: Mapping[str, str]
    started: int
    state: events.StudyState | None
    best: str | None
    resumed: int
    since: int = 0
    first_step: int = 0


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
    state: events.TrialState | None = None
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
        return self.state is not None


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Everything a ledger says, as of one moment.

    ``study`` is None before its first event. ``trials`` holds all runs by key, baselines included,
    in the order in which they began; ``offset`` is how far the ledger was read, in bytes.
    """

    study: StudyInfo | None
    trials: Mapping[str, TrialRecord]
    damage: tuple[Damage, ...] = ()
    offset: int = 0

    def by_role(self, role: str) -> tuple[TrialRecord, ...]:
        return tuple(record for record in self.trials.values() if record.role == role)


def read_ledger(path: Path, until: int | None = None) -> LedgerState:
    """Read a ledger, or its lines before byte ``until``.

    A missing one is empty; damaged lines are named in the log.
    """
    return LedgerView(path, until).refresh()


class LedgerView:
    """A ledger followed while it grows; each ``refresh`` reads only what is new."""

    def __init__(self, path: Path, until: int | None = None) -> None:
        """``until``: the byte at which reading ends."""
        self.path = Path(path)
        self._until = until
        self._offset = 0
        self._lines = 0
        self._damage: list[Damage] = []
        self._study: StudyInfo | None = None
        self._trials: dict[str, _TrialSoFar] = {}
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
            self._study, MappingProxyType(trials), tuple(self._damage), offset=self._offset
        )

    def _chunks(self) -> Iterator[Chunk]:
        while (chunk := self._next()).lines:
            self._offset = chunk.offset
            yield chunk
            self._lines += chunk.lines

    def _next(self) -> Chunk:
        if self._until is None:
            return read_chunk(self.path, self._offset)
        left = self._until - self._offset
        if left <= 0:
            return Chunk((), self._offset, 0, ())
        return read_chunk(self.path, self._offset, max_bytes=min(left, LONGEST_CHUNK))

    def _skip(self, damage: Damage) -> None:
        line = self._lines + damage.line
        self._damage.append(replace(damage, line=line))
        skipped = "%s: line %d (byte %d) is skipped: %s"
        log.warning(skipped, self.path, line, damage.offset, damage.reason)

    def _absorb(self, event: events.Event) -> None:
        if isinstance(event, events.StudyEvent):
            self._study = _begun(self._study, event)
        elif isinstance(event, events.StudyEndEvent):
            if self._study:
                tags = {**self._study.tags, **event.tags}
                self._study = replace(self._study, state=event.state, best=event.best, tags=tags)
        elif isinstance(event, events.StartEvent):
            self._trials.setdefault(event.key, _TrialSoFar(event)).began(event)
        elif event.key is None:
            if self._study and isinstance(event, events.NoteEvent):
                self._study = replace(self._study, tags={**self._study.tags, **event.tags})
        elif (trial := self._trials.get(event.key)) is not None:
            trial.absorb(event)
        elif event.key not in self._orphans:
            self._orphans.add(event.key)
            log.warning("%s: the start of %s is lost; it is left out", self.path, event.key)


def _begun(before: StudyInfo | None, event: events.StudyEvent) -> StudyInfo:
    return StudyInfo(
        name=event.name,
        uid=before.uid if before else event.uid,
        config=event.config,
        asked=event.asked,
        tags=before.tags if before else {},
        started=before.started if before else event.time,
        state=None,
        best=None,
        resumed=(before.resumed if before else 0) + event.resumed,
        since=event.time,
        first_step=before.first_step if before else event.first_step,
    )


def recorded(record: TrialRecord | None) -> bool:
    """Whether a run has ended and, if it is complete, has all its epochs."""
    if record is None or not record.finished:
        return False
    return record.state != "complete" or len(record.history) == int(record.config["epochs"])


def complete_baseline(record: TrialRecord | None) -> bool:
    # One that has lost epochs, because lines of the ledger are damaged, is trained again.
    return record is not None and record.state == "complete" and recorded(record)


class _TrialSoFar:
    def __init__(self, start: events.StartEvent) -> None:
        self.start = start
        self.rows: dict[int, EpochMetrics] = {}
        self.shared: set[int] = set()
        self.tags: dict[str, str] = {}
        self.end: events.EndEvent | None = None
        self._differs = False
        self._record: TrialRecord | None = None

    def began(self, event: events.StartEvent) -> None:
        """It starts, or starts again after it had ended."""
        self.end = None
        self._record = None

    def absorb(
        self, event: events.EpochsEvent | events.NoteEvent | events.ArtifactEvent | events.EndEvent
    ) -> None:
        self._record = None
        if isinstance(event, events.EpochsEvent):
            for row in event.rows:
                self._add(row, event.shared)
        elif isinstance(event, events.NoteEvent):
            self.tags.update(event.tags)
        elif isinstance(event, events.EndEvent):
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
                self.start.key,
                epoch_number(row.epoch),
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
            key=start.key,
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
    pairs = ((getattr(a, name), getattr(b, name)) for name in EpochMetrics.__dataclass_fields__)
    return a == b or all(x == y or (x != x and y != y) for x, y in pairs)  # noqa: PLR0124
