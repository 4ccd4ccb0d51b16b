"""One pass of the mirror: from the ledger's new lines to MLflow."""

import fcntl
import json
import logging
import os
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.records.events import StudyEvent, now_ms
from study.records.ledger import read_chunk
from study.tracking.description import describe
from study.tracking.offset import last_bytes
from study.tracking.reader import INTERRUPTED, Delta, File, Reader, parameters
from study.tracking.store import MlflowStore
from study.tracking.types import (
    NOTE_TAG,
    REPORT_FILE,
    STUDY_RUN,
    MetricPoint,
    StoreRefusedError,
    StoreUnavailableError,
)
from trainables.files import write_atomically
from trainables.metrics import OBJECTIVES
from trainables.uris import redact_uri

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
"""Bytes of ledger sent between two savings of the offset: some hundreds of epochs."""
_NO_MODEL_NAME = re.compile(r"[/:.%\"']")
"""What MLflow keeps for addresses."""


class LedgerHeldError(RuntimeError):
    """Another process is sending this ledger."""


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
        self._reader = Reader()
        self._experiment: str | None = None
        self._run_ids: dict[str, str] = {}
        self._status: dict[str, str] = {}
        self._made: set[str] = set()
        self._pending: deque[Delta] = deque()
        self._pending_offset = self._pending_events = 0
        self._files: list[File] = []
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
                self.store.log(self._run_ids[key], tags=INTERRUPTED)
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
        reader = Reader()
        if saved.get("experiment") == self._experiment and saved.get("uid") == study.uid:
            reader = self._recall(int(saved.get("offset") or 0), saved.get("tail", ""))
        # A run made just before a crash is not among the saved ones: each is looked for.
        self._unsure = None
        self._run_ids, self._status = dict(saved.get("runs", {})), {}
        if self._verify or not self.offset:
            self._find_runs()
        if self.offset and {STUDY_RUN, *reader.runs} - self._run_ids.keys():
            # Somebody deleted runs, or the store is an older one: send everything again.
            reader, self.offset, saved = Reader(), 0, {}
        self._reader = reader
        self._files = [File(*entry) for entry in saved.get("files", ())] if self.offset else []
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

    def _recall(self, offset: int, tail: str) -> Reader:
        """Read again, without sending it, what was sent earlier and ended with ``tail``."""
        reader = Reader()
        while self.offset < offset:
            size = min(_CHUNK, offset - self.offset)
            chunk = read_chunk(self.ledger, self.offset, max_bytes=size)
            if not chunk.lines:
                break
            for event in chunk.events:
                reader.absorb(event)
            self.offset = chunk.offset
        if self.offset != offset or last_bytes(self.ledger, offset) != tail:
            log.warning("%s: does not fit %s; all is sent again", self.offset_path, self.ledger)
            reader, self.offset = Reader(), 0
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
            "tail": last_bytes(self.ledger, self.offset),
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

    def _send_or_skip(self, delta: Delta) -> None:
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

    def _send(self, delta: Delta) -> None:
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

    def _log(self, run_id: str, delta: Delta) -> None:
        try:
            self.store.log(run_id, metrics=delta.metrics, params=delta.params, tags=delta.tags)
        except StoreRefusedError as error:
            if not delta.params:
                raise
            log.error("MLflow refuses the parameters of %s: %s", delta.key or "the study", error)
            self.store.log(run_id, metrics=delta.metrics, tags=delta.tags)

    def _store_dataset(self, delta: Delta, run_id: str) -> None:
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

    def _find_or_create(self, delta: Delta) -> str:
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
            name, started = start.key, start.time
            tags |= {
                "role": start.role,
                "trial_id": start.key,
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

    def _store_file(self, file: File) -> None:
        """Store an artifact; one that can't be stored now holds nothing else up."""
        try:
            self._try_store_file(file)
        except StoreRefusedError as error:
            log.error("MLflow refuses %s of %s: %s", file.path or "config.json", file.key, error)
        except StoreUnavailableError as error:
            self._files.append(file)
            self.file_error = str(error)

    def _try_store_file(self, file: File) -> None:
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
