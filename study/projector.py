"""From the ledger to MLflow: a thread that follows the ledger and sends what is new, in order.

The driver never waits for MLflow: it appends to the ledger, which is the spool, too. How far the
ledger has been sent is kept beside it; what was sent just before a crash is sent again, which adds
nothing, since every value carries the time of its event. So a store that is away for a minute, or
for the whole study, has everything in the end, once.
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.records.events import (
    ArtifactEvent,
    EndEvent,
    EpochsEvent,
    Event,
    NoteEvent,
    StartEvent,
    StudyEndEvent,
    StudyEvent,
    now_ms,
)
from study.records.ledger import read_chunk
from study.store import (
    NOTE_TAG,
    REPORT_FILE,
    STUDY_RUN,
    MetricPoint,
    MlflowStore,
    RunStatus,
    StoreRefusedError,
    StoreUnavailableError,
    models_link,
    run_link,
    view_link,
)
from trainables.files import write_atomically
from trainables.metrics import OBJECTIVES, STATISTICS, EpochMetrics
from trainables.uris import redact_uri

log = logging.getLogger(__name__)

Say = Callable[[str], None]

_CHUNK = 1 << 18
"""Bytes of ledger sent between two savings of the offset: some hundreds of epochs."""
_TAIL = 4096
"""Bytes before the offset by which the ledger is known again: more than a line that may be lost."""
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_LONGEST_DELAY_FLUSHING = 1.0
_FLUSH_POLL = 0.02
_LONGEST_REST = 10.0
_REST = 1.0
"""Rest after sending, as a multiple of the time it took: training has the cores."""
_ENDED: dict[str, RunStatus] = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
_STUDY_ENDED: dict[str, RunStatus] = {
    "complete": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
_INTERRUPTED = {"status": "interrupted"}
_NO_MODEL_NAME = re.compile(r"[/:.%\"']")
"""What MLflow keeps for addresses."""


class LedgerHeldError(RuntimeError):
    """Another process is sending this ledger."""


@dataclass(slots=True)
class _File:
    """An artifact to store; ``path`` None: the run's own configuration."""

    key: str
    path: str | None = None
    folder: str = ""


@dataclass(slots=True)
class _Delta:
    """What one run gets from one chunk of the ledger.

    ``models``: the runs' models, too. ``goes_on``: the first that it gets after the study went on.
    """

    key: str
    config: Mapping[str, Any] | None = None
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricPoint] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    files: list[_File] = field(default_factory=list)
    status: RunStatus | None = None
    time: int = 0
    logged: bool = False
    describe: bool = False
    models: bool = False
    goes_on: bool = False


@dataclass(slots=True)
class _Known:
    """What must be remembered of a run to send its next events."""

    start: StartEvent
    signals: tuple[str, ...]
    epochs: set[int] = field(default_factory=set)
    end: EndEvent | None = None
    refused: bool = False
    part: int = 0


class _Reader:
    """Events in, deltas out; remembers what later events refer to. No MLflow here."""

    def __init__(self) -> None:
        self.study: StudyEvent | None = None
        self.study_end: StudyEndEvent | None = None
        self.study_files: dict[str, None] = {}
        self.runs: dict[str, _Known] = {}
        self._part = 0
        self._deltas: dict[str, _Delta] = {}

    def absorb(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, StudyEvent):
            self._study_began(event)
        elif isinstance(event, StudyEndEvent):
            self._study_ended(event)
        elif isinstance(event, StartEvent):
            self._began(event)
        elif event.trial is None:
            if self.study is not None:
                self._study_got(event)
        elif event.trial in self.runs:
            self._got(event, self.runs[event.trial])

    def take(self) -> deque[_Delta]:
        """The deltas so far, the study's own first; they are forgotten here."""
        deltas, self._deltas = self._deltas, {}
        first = deltas.pop(STUDY_RUN, None)
        found = deque(([first] if first else []) + list(deltas.values()))
        if first is not None and first.status == "FINISHED":
            # Of the runs that the study's end speaks of, some may be in the same chunk.
            found.append(_Delta(STUDY_RUN, describe=True, models=True))
        return found

    @property
    def objective(self) -> str | None:
        """The first objective, which tables are sorted by."""
        return self.study.objectives[0] if self.study and self.study.objectives else None

    def _delta(self, key: str) -> _Delta:
        return self._deltas.setdefault(key, _Delta(key))

    def _study_began(self, event: StudyEvent) -> None:
        if self.study is not None and event.uid != self.study.uid:
            raise ValueError("the ledger holds two studies")
        self.study = event
        self._part += event.resumed
        delta = self._delta(STUDY_RUN)
        self.study_end = None
        delta.config, delta.status, delta.describe = event.config, "RUNNING", True
        if not event.resumed:
            # A study that goes on may have other settings; MLflow's parameters never change.
            delta.params = parameters(event.config)
        delta.files.append(_File(STUDY_RUN))

    def _study_ended(self, event: StudyEndEvent) -> None:
        self.study_end = event
        delta = self._delta(STUDY_RUN)
        delta.status, delta.time, delta.describe = _STUDY_ENDED[event.state], event.time, True
        delta.tags.update({**event.tags, "status": event.state, "best": event.best or ""})
        for key, run in self.runs.items():
            if run.end is None:
                open_run = self._delta(key)
                open_run.status, open_run.time = "KILLED", event.time
                open_run.tags.update(_INTERRUPTED)

    def _study_got(self, event: NoteEvent | ArtifactEvent | Any) -> None:
        delta = self._delta(STUDY_RUN)
        if isinstance(event, NoteEvent):
            delta.tags.update(event.tags)
        elif isinstance(event, ArtifactEvent):
            delta.files.append(_File(STUDY_RUN, event.path, event.folder))
            name = Path(event.path).name
            self.study_files[f"{event.folder}/{name}" if event.folder else name] = None
            delta.describe = True

    def _began(self, event: StartEvent) -> None:
        known = self.runs.get(event.trial)
        delta = self._delta(event.trial)
        if known is None:
            known = self.runs[event.trial] = _Known(event, _listened(event.config))
        elif known.end is not None:
            delta.tags["reason"] = ""
        known.end = None
        delta.config, delta.status = known.start.config, "RUNNING"
        delta.params = parameters(known.start.config)
        delta.files.append(_File(event.trial))

    def _got(
        self, event: EpochsEvent | NoteEvent | ArtifactEvent | EndEvent, known: _Known
    ) -> None:
        delta = self._delta(known.start.trial)
        delta.goes_on = delta.goes_on or known.part < self._part
        known.part = self._part
        if isinstance(event, EpochsEvent):
            self._epochs(event, known, delta)
        elif isinstance(event, NoteEvent):
            delta.tags.update(event.tags)
        elif isinstance(event, ArtifactEvent):
            delta.files.append(_File(known.start.trial, event.path, event.folder))
        else:
            known.end = event
            delta.status, delta.time = _ENDED[event.state], event.time
            delta.tags.update(self._end_tags(event))
            delta.metrics.extend(self._end_metrics(event, max(known.epochs, default=0)))
            if known.start.role == "baseline":
                self._delta(STUDY_RUN).describe = True

    def _epochs(self, event: EpochsEvent, known: _Known, delta: _Delta) -> None:
        if known.end is None and delta.status is None:
            # It was ended as interrupted, perhaps: now it runs.
            delta.status = "RUNNING"
        for row in event.rows:
            if row.epoch not in known.epochs:
                known.epochs.add(row.epoch)
                delta.metrics.extend(metric_points(row, known.signals, event.time))

    def _end_tags(self, event: EndEvent) -> dict[str, str]:
        objectives = self.study.objectives if self.study else ()
        tags = {
            "status": event.state,
            "reason": event.reason,
            "value": _figures(event.values, objectives),
            "paired_difference": _figures(event.paired_difference, objectives),
            "epochs_trained": str(event.epochs_trained),
            "fork_epoch": "" if event.fork_epoch is None else str(event.fork_epoch),
            "first_injection_epoch": (
                "" if event.first_injection_epoch is None else str(event.first_injection_epoch)
            ),
        }
        return {key: value for key, value in tags.items() if value}

    def _end_metrics(self, event: EndEvent, step: int) -> list[MetricPoint]:
        points = [MetricPoint(k, v, event.time, step) for k, v in event.values.items()]
        difference = event.paired_difference.get(self.objective or "")
        if difference is not None:
            # As a tag it can be read; as a metric it can be sorted by.
            points.append(MetricPoint("paired_difference", difference, event.time, step))
        return points


def _listened(config: Mapping[str, Any]) -> tuple[str, ...]:
    noise = config.get("noise", {})
    return tuple(noise.get("signals", ())) if noise.get("policy") == "on_stagnation" else ()


def metric_points(row: EpochMetrics, signals: tuple[str, ...], time: int) -> list[MetricPoint]:
    """An epoch as MLflow's metrics: METHOD's statistics, and what the controller did.

    Args:
        row: the epoch; it is the step.
        signals: the signals the run listens to; each is given as 0 or 1.
        time: ms since 1970.
    """
    values: dict[str, float] = {name: getattr(row, name) for name in STATISTICS}
    values["noise_magnitude"] = row.noise_magnitude
    values["noise_severity"] = row.noise_severity
    values["injected"] = float(row.injected)
    values["cooldown"] = float(row.noise_phase == "cooldown")
    values.update({f"signal_{name}": float(name in row.signals) for name in signals})
    return [MetricPoint(key, float(value), time, row.epoch) for key, value in values.items()]


def _figures(values: Mapping[str, float], names: tuple[str, ...]) -> str:
    return ", ".join(repr(values[name]) for name in names if name in values)


def parameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A configuration as MLflow's parameters: path (``noise/patience``) → text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= parameters(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = redact_uri(value) if isinstance(value, str) else _text(value)
    return flat


def _text(value: Any) -> str:
    return redact_uri(json.dumps(value, ensure_ascii=False))


class Projection:
    """Sends a ledger to a store, step by step, in the caller's thread."""

    def __init__(
        self, ledger: Path, offset: Path, store: MlflowStore, *, verify: bool = False
    ) -> None:
        """Nothing is read or contacted before the first ``step``.

        Args:
            ledger: the ledger's file.
            offset: the file that says how much of it has been sent.
            store: where to.
            verify: look whether all runs that were made are still there, which takes a while where
                there are many; if not, everything is sent again.
        """
        self.ledger = Path(ledger)
        self.offset_path = Path(offset)
        self.store = store
        self.offset = 0
        self.events = 0
        self.file_error: str | None = None
        self._lock: int | None = None
        self._reader = _Reader()
        self._experiment: str | None = None
        self._run_ids: dict[str, str] = {}
        self._status: dict[str, str] = {}
        self._made: set[str] = set()
        self._pending: deque[_Delta] = deque()
        self._pending_offset = self._pending_events = 0
        self._files: list[_File] = []
        self._opened = False
        self._verify = verify
        self._unsure: set[str] | None = None
        self._was_unsure = False

    @property
    def run_ids(self) -> dict[str, str]:
        """MLflow's run id by trial key, as far as runs were made."""
        return {key: run for key, run in list(self._run_ids.items()) if key != STUDY_RUN}

    @property
    def study_run_id(self) -> str | None:
        """The parent run's id."""
        return self._run_ids.get(STUDY_RUN)

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id."""
        return self._experiment

    @property
    def files_left(self) -> int:
        """Artifacts that could not be stored yet."""
        return len(self._files)

    def close(self) -> None:
        """Let another process send this ledger."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._opened = False

    def behind(self) -> int:
        """Bytes of the ledger that have not been sent."""
        try:
            return max(0, self.ledger.stat().st_size - self.offset)
        except FileNotFoundError:
            return 0

    def step(self) -> bool:
        """Send the next chunk; False if there was nothing to send.

        After an error the same step is taken again: what was sent is not sent twice, except after
        a crash, where it adds nothing.

        Raises:
            StoreUnavailableError: if the store can't be reached.
            LedgerHeldError: if another process sends this ledger.
        """
        if not self._opened:
            self._open()
        if not self._opened:
            return False
        if not self._pending and not self._read():
            return False
        while self._pending:
            self._send_or_skip(self._pending[0])
            self._pending.popleft()
        self.offset = self._pending_offset
        self.events += self._pending_events
        self._save()
        self._unsure = set()
        return True

    def close_interrupted(self) -> None:
        """Mark what runs in MLflow, though its study's process is gone, as interrupted.

        Raises:
            StoreUnavailableError: if the store can't be reached.
        """
        for key, status in list(self._status.items()):
            if status == "RUNNING":
                self.store.log(self._run_ids[key], tags=_INTERRUPTED)
                self.store.set_status(self._run_ids[key], "KILLED", now_ms())
                self._status[key] = "KILLED"

    def send_files(self) -> None:
        """Try again to store the artifacts that could not be stored."""
        left, self._files = self._files, []
        for file in left:
            self._store_file(file)
        if len(self._files) != len(left):
            self._save()

    # Opening

    def _open(self) -> None:
        self._take_lock()
        if not self._first_study_event():
            return
        saved = self._load()
        study = self._reader.study
        assert study is not None
        self._experiment = self.store.experiment(study.name)
        self.offset = 0
        reader = _Reader()
        if saved.get("experiment") == self._experiment and saved.get("uid") == study.uid:
            reader = self._recall(int(saved.get("offset") or 0), saved.get("tail", ""))
        # A run made just before a crash is not among the saved ones: each is looked for.
        self._unsure = None
        self._run_ids, self._status = dict(saved.get("runs", {})), {}
        if self._verify or not self.offset:
            self._find_runs()
        if self.offset and {STUDY_RUN, *reader.runs} - self._run_ids.keys():
            # Somebody deleted runs, or the store is an older one: send everything again.
            reader, self.offset, saved = _Reader(), 0, {}
        self._reader = reader
        self._files = [_File(*entry) for entry in saved.get("files", ())] if self.offset else []
        self._pending.clear()
        self._opened = True

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        self.offset_path.parent.mkdir(parents=True, exist_ok=True)
        path = self.offset_path.with_name(self.offset_path.name + ".lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise LedgerHeldError(f"{self.ledger}: another process is sending it") from None
        self._lock = lock

    def _first_study_event(self) -> bool:
        """Whether the ledger says which study it is."""
        offset = 0
        while self._reader.study is None:
            chunk = read_chunk(self.ledger, offset, max_bytes=_CHUNK)
            if not chunk.lines:
                return False
            studies = (event for event in chunk.events if isinstance(event, StudyEvent))
            self._reader.study = next(studies, None)
            offset = chunk.offset
        return True

    def _recall(self, offset: int, tail: str) -> _Reader:
        """Read again, without sending it, what was sent earlier and ended with ``tail``."""
        reader = _Reader()
        while self.offset < offset:
            size = min(_CHUNK, offset - self.offset)
            chunk = read_chunk(self.ledger, self.offset, max_bytes=size)
            if not chunk.lines:
                break
            for event in chunk.events:
                reader.absorb(event)
            self.offset = chunk.offset
        if self.offset != offset or _tail(self.ledger, offset) != tail:
            log.warning("%s: does not fit %s; all is sent again", self.offset_path, self.ledger)
            reader, self.offset = _Reader(), 0
        reader.take()
        return reader

    def _find_runs(self) -> None:
        assert self._experiment is not None
        study = self._reader.study
        assert study is not None
        found = self.store.find_runs(self._experiment, study.uid)
        self._run_ids = {key: run.run_id for key, run in found.items()}
        self._status = {key: run.status for key, run in found.items()}
        self._unsure = set()

    def _load(self) -> dict[str, Any]:
        try:
            saved = json.loads(self.offset_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s: can't be read (%s); all is sent again", self.offset_path, error)
            return {}
        fits = isinstance(saved, dict) and saved.get("store") == redact_uri(self.store.uri)
        return saved if fits else {}

    def _save(self) -> None:
        study = self._reader.study
        saved = {
            "store": redact_uri(self.store.uri),
            "uid": study.uid if study else None,
            "experiment": self._experiment,
            "offset": self.offset,
            "tail": _tail(self.ledger, self.offset),
            "runs": self._run_ids,
            "files": [[file.key, file.path, file.folder] for file in self._files],
        }
        write_atomically(self.offset_path, (json.dumps(saved) + "\n").encode())

    # Sending

    def _read(self) -> bool:
        chunk = read_chunk(self.ledger, self.offset, max_bytes=_CHUNK)
        if not chunk.lines:
            return False
        try:
            for event in chunk.events:
                self._reader.absorb(event)
        except Exception:
            # Half a chunk is in the reader's memory: begin again from the saved offset.
            self._opened = False
            raise
        self._pending_events = len(chunk.events)
        self._pending = self._reader.take()
        self._pending_offset = chunk.offset
        return True

    def _send_or_skip(self, delta: _Delta) -> None:
        known = self._reader.runs.get(delta.key)
        if known is not None and known.refused:
            return
        try:
            self._send(delta)
        except StoreRefusedError as error:
            name = delta.key or "the study's own run"
            log.error("MLflow refuses %s, which is left out there from here on: %s", name, error)
            if known is not None:
                known.refused = True

    def _send(self, delta: _Delta) -> None:
        run_id = self._run_ids.get(delta.key) or self._find_or_create(delta)
        if not delta.logged:
            if delta.goes_on and delta.key not in self._made:
                delta.metrics = self._without_stored(run_id, delta.metrics)
                delta.goes_on = False
            if delta.status == "RUNNING" != self._status.get(delta.key):
                delta.tags["status"] = "running"
            self._log(run_id, delta)
            self._store_dataset(delta, run_id)
            if delta.key == STUDY_RUN and delta.config:
                self._share_view()
            delta.logged = True
        while delta.files:
            self._store_file(delta.files.pop(0))
        if delta.models:
            self._log_models()
        if delta.describe:
            self._describe(run_id)
        if delta.status is not None and delta.status != self._status.get(delta.key):
            self.store.set_status(run_id, delta.status, delta.time or None)
            self._status[delta.key] = delta.status
        if delta.key == STUDY_RUN and delta.status not in {None, "RUNNING"} and self._was_unsure:
            # A creation whose answer was lost may have made a second run after all.
            self._find_runs()
            self._was_unsure = False

    def _without_stored(self, run_id: str, metrics: list[MetricPoint]) -> list[MetricPoint]:
        """Leave out what the store has, at another time: a step of a metric is there once."""
        stored = {
            key: {point.step for point in self.store.metric_history(run_id, key)}
            for key in {point.key for point in metrics}
        }
        return [point for point in metrics if point.step not in stored[point.key]]

    def _log(self, run_id: str, delta: _Delta) -> None:
        try:
            self.store.log(run_id, metrics=delta.metrics, params=delta.params, tags=delta.tags)
        except StoreRefusedError as error:
            if not delta.params:
                raise
            log.error("MLflow refuses the parameters of %s: %s", delta.key or "the study", error)
            self.store.log(run_id, metrics=delta.metrics, tags=delta.tags)

    def _store_dataset(self, delta: _Delta, run_id: str) -> None:
        config = delta.config or {}
        data = config.get("data") or config.get("train", {}).get("data")
        if data:
            self.store.log_dataset(run_id, str(data.get("dataset")), _redacted(data))

    def _log_models(self) -> None:
        """The models that a reader compares, in MLflow's own form: the baselines' and the best.

        Not every trial's: five calls each would be a part of a short trial's time.
        """
        assert self._experiment is not None
        end = self._reader.study_end
        for key, known in self._reader.runs.items():
            compared = known.start.role == "baseline" or (end is not None and key == end.best)
            run_id = self._run_ids.get(key)
            if not compared or known.refused or run_id is None or known.end is None:
                continue
            config = known.start.config
            data = _redacted(config.get("data", {}))
            step = max(known.epochs, default=0)
            values = known.end.values.items()
            try:
                self.store.log_external_model(
                    self._experiment,
                    run_id,
                    _model_name(config, key),
                    params=_model_parameters(config),
                    tags={"trial_id": key, "role": known.start.role},
                    metrics=[MetricPoint(k, v, known.end.time, step) for k, v in values],
                    dataset=(str(data.get("dataset")), data),
                )
            except StoreRefusedError as error:
                log.error("MLflow refuses the model of %s: %s", key, error)

    def _find_or_create(self, delta: _Delta) -> str:
        key, study = delta.key, self._reader.study
        assert self._experiment is not None
        assert study is not None
        if self._unsure is None or key in self._unsure:
            found = self.store.find_run(self._experiment, study.uid, key)
            if found is not None:
                self._run_ids[key], self._status[key] = found.run_id, found.status
                return found.run_id
        run_id = self._create(key, study)
        self._made.add(key)
        self._run_ids[key], self._status[key] = run_id, "RUNNING"
        return run_id

    def _create(self, key: str, study: StudyEvent) -> str:
        tags = {"study": study.name, "study_id": study.uid, "status": "running"}
        if key == STUDY_RUN:
            name, started = study.name, study.time
            tags |= {"role": "study"}
        else:
            start = self._reader.runs[key].start
            name, started = start.trial, start.time
            tags |= {
                "role": start.role,
                "trial_id": start.trial,
                "seed": str(start.seed),
                "mlflow.parentRunId": self._run_ids[STUDY_RUN],
            }
        assert self._experiment is not None
        try:
            return self.store.create_run(self._experiment, name, tags, started)
        except Exception:
            # The store may have made it all the same, and only its answer was lost.
            self._was_unsure = True
            if self._unsure is not None:
                self._unsure.add(key)
            raise

    def _share_view(self) -> None:
        assert self._experiment is not None
        objective = self._reader.objective or next(iter(OBJECTIVES))
        columns = [
            *(f"tags.`{tag}`" for tag in ("role", "status", "value")),
            "metrics.`paired_difference`",
            *(f"tags.`{tag}`" for tag in ("fork_epoch", "first_injection_epoch", "reason")),
            f"metrics.`{objective}`",
        ]
        self.store.share_view(self._experiment, columns, f"metrics.`{objective}`")

    def _describe(self, run_id: str) -> None:
        assert self._experiment is not None
        # A report that was put there is linked, though the ledger knows nothing about it.
        reports = [name for name in self.store.files(run_id) if name == REPORT_FILE]
        text = describe(self._reader, self._experiment, self._run_ids, reports)
        self.store.log(run_id, tags={NOTE_TAG: text})

    def _store_file(self, file: _File) -> None:
        """Store an artifact; one that can't be stored now holds nothing else up."""
        try:
            self._try_store_file(file)
        except StoreRefusedError as error:
            log.error("MLflow refuses %s of %s: %s", file.path or "config.json", file.key, error)
        except StoreUnavailableError as error:
            self._files.append(file)
            self.file_error = str(error)

    def _try_store_file(self, file: _File) -> None:
        run_id = self._run_ids.get(file.key)
        if run_id is None:
            return
        if file.path is not None:
            path = self.ledger.parent / file.path
            if path.is_file():
                self.store.log_file(run_id, path, file.folder)
            else:
                log.warning("%s is not there any more and is not stored in MLflow", path)
            return
        known = self._reader.runs.get(file.key)
        start = known.start if known else self._reader.study
        assert start is not None
        name = "config.json" if known else "study.json"
        text = json.dumps(_redacted(start.config), indent=2, ensure_ascii=False) + "\n"
        self.store.log_text(run_id, text, name)


def _tail(ledger: Path, offset: int) -> str:
    """A digest of the ledger's last bytes before ``offset``: other lines may lie there one day."""
    with ledger.open("rb") as file:
        file.seek(max(0, offset - _TAIL))
        return hashlib.sha256(file.read(min(offset, _TAIL))).hexdigest()[:16]


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return redact_uri(value) if isinstance(value, str) else value


def _model_name(config: Mapping[str, Any], key: str) -> str:
    classifier = str(config.get("model", {}).get("classifier", "model"))
    return f"{_NO_MODEL_NAME.sub('-', classifier)}-{key}"


def _model_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """What made the model, without what only says where and how it ran."""
    wanted = ("model/", "optimizer/", "noise/", "data/dataset", "data/batch_size", "epochs", "seed")
    return {key: text for key, text in parameters(config).items() if key.startswith(wanted)}


def describe(
    reader: _Reader,
    experiment_id: str,
    run_ids: Mapping[str, str],
    reports: Sequence[str] = (),
) -> str:
    """The description that the study's parent run opens with (Markdown).

    MLflow folds it after a few lines: what was asked, the baseline and the best come first.
    """
    study, end = reader.study, reader.study_end
    assert study is not None
    baselines = [key for key, run in reader.runs.items() if run.start.role == "baseline"]
    table, models = view_link(experiment_id), models_link(experiment_id)
    paragraphs = [
        f"**{study.name}**: {study.asked}",
        f"**Pinned baseline** (no noise): {_baseline_line(reader, baselines)}",
        f"**Best trial**: {_best_line(reader, end)}",
        f"[The runs as a table: role, status, value …]({table}) · [the models]({models})",
    ]
    parent = run_ids.get(STUDY_RUN)
    for file in dict.fromkeys((*reader.study_files, *reports)) if parent else ():
        paragraphs[-1] += f" · [{file}]({run_link(experiment_id, str(parent), file)})"
    named = [*baselines, *([end.best] if end and end.best in reader.runs else [])]
    links = [f"[{key}]({run_link(experiment_id, run_ids[key])})" for key in named if key in run_ids]
    if links:
        paragraphs.append("Their runs: " + ", ".join(links))
    trials = [run for run in reader.runs.values() if run.start.role != "baseline"]
    states = [run.end.state if run.end else "unfinished" for run in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    paragraphs.append(f"Trials: {counts or 'none yet'}")
    return "\n\n".join(paragraphs)


def _baseline_line(reader: _Reader, baselines: Sequence[str]) -> str:
    objective = reader.objective or ""
    ends = [reader.runs[key].end for key in baselines]
    values = [end.values[objective] for end in ends if end and objective in end.values]
    if not values:
        return "not finished"
    mean = math.fsum(values) / len(values)
    spread = f", range {min(values):.4f} to {max(values):.4f}" if len(values) > 1 else ""
    return f"{objective} {mean:.4f}{spread}, n = {len(values)}"


def _best_line(reader: _Reader, end: StudyEndEvent | None) -> str:
    if end is None:
        return "the study is still running"
    known = reader.runs.get(end.best or "")
    if known is None or known.end is None:
        return "none is complete" if end.best is None else end.best
    objective = reader.objective or ""
    value = known.end.values.get(objective)
    paired = known.end.paired_difference.get(objective)
    text = str(end.best) if value is None else f"{end.best}, {objective} {value:.4f}"
    return text if paired is None else f"{text}, {paired:+.4f} beside the baseline of its seed"


@dataclass(frozen=True, slots=True)
class ProjectorStatus:
    """How far MLflow is behind.

    Attributes:
        events: ledger events sent by this process.
        behind: bytes of the ledger that MLflow lacks.
        files_left: artifacts that could not be stored yet.
        error: the last error; None when all is well.
    """

    events: int
    behind: int
    files_left: int
    error: str | None


class LedgerProjector:
    """The thread that keeps MLflow up to date while a study runs; it never holds the driver up."""

    def __init__(
        self,
        ledger: Path,
        offset: Path,
        store: MlflowStore,
        *,
        interval: float = 2.0,
        say: Say = log.warning,
    ) -> None:
        """Nothing happens before ``start``.

        Args:
            ledger: the ledger's file; it may not exist yet.
            offset: the file that says how much of it has been sent.
            store: where to.
            interval: seconds between two looks at the ledger. After a long sending the rest is
                longer: training has the cores.
            say: for the few lines that the user should see.
        """
        self._projection = Projection(ledger, offset, store)
        self._interval = interval
        self._say = say
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._stopping = False
        self._flushing = 0
        self._error: str | None = None
        self._failures = 0
        self._files_failures = 0
        self._files_due = 0.0
        self._files_said = False

    def start(self) -> None:
        """Begin; MLflow is imported in the thread.

        Import Ray, Optuna and torch before: two threads that import libraries with common parts at
        once can get in each other's way.
        """
        assert self._thread is None, "started twice"
        self._thread = threading.Thread(target=self._loop, name="mlflow-projector", daemon=True)
        self._thread.start()

    @property
    def run_ids(self) -> dict[str, str]:
        """MLflow's run id by trial key, as far as known."""
        return self._projection.run_ids

    @property
    def study_run_id(self) -> str | None:
        """The parent run's id, once it is made."""
        return self._projection.study_run_id

    @property
    def status(self) -> ProjectorStatus:
        """How far MLflow is behind, and why."""
        projection = self._projection
        return ProjectorStatus(
            events=projection.events,
            behind=projection.behind(),
            files_left=projection.files_left,
            error=self._error or (projection.file_error if projection.files_left else None),
        )

    def flush(self, timeout: float) -> bool:
        """Wait until MLflow has everything that is in the ledger now.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Whether it has; if not, the rest stays in the ledger and is still being sent.
        """
        try:
            target = self._projection.ledger.stat().st_size
        except FileNotFoundError:
            return True
        with self._changed:
            self._flushing += 1
            self._wake.set()
            try:
                return self._changed.wait_for(lambda: self._has(target), timeout)
            finally:
                self._flushing -= 1

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after the call it is in; waits at most ``timeout`` seconds for it."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _has(self, target: int) -> bool:
        return self._projection.offset >= target and not self._projection.files_left

    def _loop(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            more = self._step()
            with self._changed:
                self._changed.notify_all()
            wait = 0.0 if more and self._flushing else self._pause(time.monotonic() - began)
            if wait:
                self._wake.wait(wait)
            self._wake.clear()
        self._projection.close()

    def _step(self) -> bool:
        """One step of the projection; whether it went well and there was something to send."""
        try:
            more = self._projection.step()
            self._try_files()
        except Exception as error:
            # Whatever it is, training is not to know: it is said, and tried again.
            self._failed(error)
            return False
        if self._failures:
            self._failures, self._error = 0, None
            self._say("MLflow answers again; what it missed is sent from the study's ledger")
        return more

    def _pause(self, took: float) -> float:
        if not self._failures:
            rest = max(self._interval, min(_REST * took, _LONGEST_REST))
            return _FLUSH_POLL if self._flushing else rest
        longest = _LONGEST_DELAY_FLUSHING if self._flushing else _LONGEST_DELAY
        return min(longest, _FIRST_DELAY * 2.0 ** min(self._failures, 10))

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._error = str(error) or type(error).__name__
        log.debug("MLflow, attempt %d: %s", self._failures, self._error, exc_info=error)
        if self._failures == 1:
            uri = redact_uri(self._projection.store.uri)
            self._say(
                f"MLflow at {uri} can't be written to now ({self._error}). The study goes on: its "
                f"records are kept in {self._projection.ledger} and are sent when MLflow answers"
            )

    def _try_files(self) -> None:
        projection = self._projection
        if not projection.files_left:
            self._files_failures = 0
            return
        if not self._files_said:
            self._files_said = True
            self._say(
                f"MLflow can't store artifacts now ({projection.file_error}); metrics are not "
                "affected, and it is tried again"
            )
        if time.monotonic() >= self._files_due:
            projection.send_files()
            self._files_failures += 1
            longest = _LONGEST_DELAY_FLUSHING if self._flushing else _LONGEST_DELAY
            pause = min(longest, _FIRST_DELAY * 2.0 ** min(self._files_failures, 10))
            self._files_due = time.monotonic() + pause


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What ``sync`` did.

    Attributes:
        events: ledger events sent.
        behind: bytes of the ledger that MLflow still lacks.
        files_left: artifacts that could not be stored.
        run_ids: MLflow's run id by trial key.
        error: why something is left; None if nothing is.
    """

    events: int
    behind: int
    files_left: int
    run_ids: Mapping[str, str]
    error: str | None


def sync(
    ledger: Path,
    offset: Path,
    store: MlflowStore,
    *,
    timeout: float = 60.0,
    progress: Callable[[int], None] | None = None,
) -> SyncReport:
    """Send what is left of a ledger whose study does not run, here and now.

    Runs that its process left RUNNING when it died are marked as interrupted.

    Args:
        ledger: the ledger's file.
        offset: the file that says how much of it has been sent.
        store: where to.
        timeout: seconds without any success after which it is given up.
        progress: called with the bytes still to be sent.

    Raises:
        LedgerHeldError: if another process is sending it.
    """
    projection = Projection(ledger, offset, store, verify=True)
    error: str | None = None
    delay, deadline = _FIRST_DELAY, time.monotonic() + timeout
    try:
        while True:
            try:
                if not projection.step():
                    projection.send_files()
                    projection.close_interrupted()
                    break
                error, delay, deadline = None, _FIRST_DELAY, time.monotonic() + timeout
                if progress is not None:
                    progress(projection.behind())
            except StoreUnavailableError as unavailable:
                error = str(unavailable)
                if time.monotonic() + delay > deadline:
                    break
                time.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
            else:
                error = None
    finally:
        projection.close()
    return SyncReport(
        events=projection.events,
        behind=projection.behind(),
        files_left=projection.files_left,
        run_ids=projection.run_ids,
        error=error or (projection.file_error if projection.files_left else None),
    )
