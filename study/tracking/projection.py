"""One pass of the mirror: from the ledger's new lines to MLflow."""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.records.events import StudyEvent
from study.records.file_lock import LockHeldError, take
from study.records.folder_files import first_study_event
from study.records.ledger import read_chunk
from study.tracking.artifacts import Artifacts
from study.tracking.description import describe
from study.tracking.logged_models import log_compared_models
from study.tracking.offset import CHUNK, Saved, last_bytes, load, recall
from study.tracking.reader import Delta, Reader, redacted
from study.tracking.runs import MlflowRuns, place_of
from study.tracking.runs_view import runs_view
from study.tracking.store import MlflowStore
from study.tracking.stored_points import ContradictionError, StoredPoints
from study.tracking.types import NOTE_TAG, REPORT_FILE, STUDY_RUN, StoreRefusedError
from trainables.metrics import OBJECTIVES, STATISTICS
from trainables.uris import redact_uri

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger(__name__)


class LedgerHeldError(RuntimeError):
    """Another process is sending this ledger."""


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """How far MLflow is behind.

    Attributes:
        events: ledger events sent by this process.
        behind: bytes of the ledger that MLflow lacks.
        files_left: artifacts that could not be stored yet.
        run_ids: by trial key, as far as known.
        error: why something is left; None when all is well.
    """

    events: int
    behind: int
    files_left: int
    run_ids: Mapping[str, str]
    error: str | None


class Projection:
    """Sends a ledger to a store, step by step, in the caller's thread.

    ``offset``: how many bytes of the ledger have been sent.
    """

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
        self.store = store
        self.runs = MlflowRuns(store, place_of(self.ledger.parent))
        self.artifacts = Artifacts(self.runs, self.ledger.parent)
        self.offset = 0
        self._offset_file = Path(offset)
        self._verify = verify
        self._lock: FileLock | None = None
        self._opened = False
        self._first: StudyEvent | None = None
        self._reader = Reader()
        self._stored = StoredPoints(store)
        self._pending: deque[Delta] = deque()
        self._pending_offset = self._pending_events = 0
        self._events = 0

    def status(self, error: str | None) -> MirrorStatus:
        """How far MLflow is behind; ``error``: what the last step failed with."""
        left = len(self.artifacts.left)
        return MirrorStatus(
            events=self._events,
            behind=self.behind(),
            files_left=left,
            run_ids=self.runs.of_trials,
            error=error or (self.artifacts.error if left else None),
        )

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._opened = False

    def behind(self) -> int:
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
        if not self._opened and not self._open():
            return False
        if not self._pending and not self._read():
            return False
        while self._pending:
            delta = self._pending[0]
            try:
                self._send_or_skip(delta)
            except ContradictionError as error:
                self._make_anew(delta.key, str(error))
                return True
            self._pending.popleft()
        self.offset = self._pending_offset
        self._events += self._pending_events
        end = self._reader.study_end
        if end is not None and end.state == "complete" and not self.behind():
            self.runs.remove_unknown(self._reader.runs.keys())
        self._save()
        self.runs.all_known()
        return True

    def send_files(self) -> None:
        if self.artifacts.try_again(self._reader):
            self._save()

    def _open(self) -> bool:
        """Find out how much has been sent; False if the ledger does not say whose it is yet."""
        self._take_lock()
        study = self._first = first_study_event(self.ledger)
        if study is None:
            return False
        experiment = self.store.experiment(study.name)
        saved = load(self._offset_file, redact_uri(self.store.uri))
        if saved is not None and (saved.experiment, saved.uid) != (experiment, study.uid):
            saved = None
        reader = recall(self.ledger, saved) if saved is not None else None
        if saved is not None and reader is None:
            log.warning("%s: does not fit %s; all is sent again", self._offset_file, self.ledger)
        self.runs.begin(experiment, saved.runs if saved is not None else {})
        if self._verify or reader is None:
            self.runs.find_all(study.uid)
        missing = {STUDY_RUN, *(reader.runs if reader else ())} - self.runs.ids.keys()
        if saved is not None and reader is not None and not missing:
            # In this order: another thread that sees the offset sees what is left, too.
            self.artifacts.left = list(saved.files)
            self._reader, self.offset = reader, saved.offset
        else:
            # Nothing was sent; or somebody deleted runs, or the store is an older one.
            self.runs.close_earlier(study.uid)
            self._from_start()
        self._pending.clear()
        self._opened = True
        return True

    def _from_start(self) -> None:
        # Where the ledger has lost its beginning, runs come before the study that they stand under.
        self._reader, self.offset, self.artifacts.left = Reader(self._first), 0, []
        self._pending.clear()

    def _make_anew(self, key: str, why: str) -> None:
        """Put a run out of the way that says something else than the ledger; all is sent again.

        MLflow never changes a value that it has. What it deletes can be restored there.
        """
        log.warning(
            "%s: its run in MLflow says something else than the ledger (%s), which has lost "
            "lines since; the run is deleted there and made anew",
            key,
            why,
        )
        self._stored.forget(self.runs.ids[key])
        self.runs.delete(key)
        self._from_start()

    def _take_lock(self) -> None:
        if self._lock is None:
            path = self._offset_file.with_name(self._offset_file.name + ".lock")
            try:
                self._lock = take(path)
            except LockHeldError:
                raise LedgerHeldError(f"{self.ledger}: another process is sending it") from None

    def _save(self) -> None:
        study = self._reader.study
        assert study is not None
        Saved(
            store=redact_uri(self.store.uri),
            uid=study.uid,
            experiment=self.runs.experiment,
            offset=self.offset,
            tail=last_bytes(self.ledger, self.offset),
            runs=self.runs.ids,
            files=self.artifacts.left,
        ).write(self._offset_file)

    def _read(self) -> bool:
        chunk = read_chunk(self.ledger, self.offset, max_bytes=CHUNK)
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
        """Send what a run got. Each part is forgotten once it is sent, so that none is sent twice.

        The order counts: a run is ended last.
        """
        reader, runs = self._reader, self.runs
        runs.id_of(STUDY_RUN, reader)
        run_id = runs.id_of(delta.key, reader)
        if not delta.logged:
            self._log(run_id, delta)
            delta.logged = True
        while delta.files:
            self.artifacts.store(delta.files.pop(0), reader)
        if delta.models:
            log_compared_models(self.store.connection, runs.experiment, runs.ids, reader)
        if delta.describe:
            self._describe(run_id)
        if delta.status is not None:
            runs.set_status(delta.key, delta.status, delta.time or None)
            if delta.status != "RUNNING":
                self._stored.forget(run_id)
        if delta.key == STUDY_RUN and delta.config:
            objective = reader.objective or next(iter(OBJECTIVES))
            view = runs_view(objective, reader.mode, ordered=reader.steps.first > 0)
            self.store.share_view(runs.experiment, view)
        if delta.key == STUDY_RUN and delta.status not in {None, "RUNNING"}:
            assert reader.study is not None
            runs.remove_doubles(reader.study.uid)

    def _log(self, run_id: str, delta: Delta) -> None:
        earlier = delta.key not in self.runs.made and delta.key != STUDY_RUN
        if earlier:
            self._leave_out_stored(run_id, delta)
        if delta.status == "RUNNING" and not self.runs.is_running(delta.key):
            delta.tags["status"] = "running"
        try:
            self.store.log(run_id, metrics=delta.metrics, params=delta.params, tags=delta.tags)
        except StoreRefusedError as error:
            if not delta.params:
                raise
            log.error("MLflow refuses the parameters of %s: %s", delta.key or "the study", error)
            self.store.log(run_id, metrics=delta.metrics, tags=delta.tags)
        if earlier:
            self._stored.sent(run_id, delta.metrics)
        config = delta.config or {}
        data = config.get("data") or config.get("train", {}).get("data")
        if data and not (config.get("task") or config.get("train", {}).get("task")):
            self.store.log_dataset(run_id, str(data.get("dataset")), redacted(data))

    def _leave_out_stored(self, run_id: str, delta: Delta) -> None:
        """Ask what MLflow has of a run that an earlier process made; ``ContradictionError``."""
        run = self._reader.runs[delta.key]
        if delta.params:
            self._stored.check_parameters(run_id, delta.params)
            # The run above it may have been made anew.
            delta.tags["mlflow.parentRunId"] = self.runs.above(run.start)
        delta.metrics = self._stored.missing(run_id, delta.metrics)
        if run.end is not None and run.end.state != "failed" and run.epochs:
            last = self._reader.steps.of(max(run.epochs))
            self._stored.check_ended(run_id, STATISTICS, last)

    def _describe(self, run_id: str) -> None:
        # A report that was put there is linked, though the ledger knows nothing about it.
        reports = [name for name in self.store.files(run_id) if name == REPORT_FILE]
        text = describe(self._reader, self.runs.experiment, self.runs.ids, reports)
        self.store.log(run_id, tags={NOTE_TAG: text})
