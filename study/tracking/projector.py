"""A thread that follows the ledger and sends what is new to MLflow, in order.

Training never waits for MLflow: it writes to the ledger, and this thread reads it. A file beside
the ledger says how far it has been sent. After a crash the last part is sent again. That adds
nothing, for MLflow drops a value whose metric, step and time it has. So MLflow has everything once
in the end, even if it was away during the whole study.
"""

import logging
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from study.records.backoff import LONGEST_SECONDS, wait_after
from study.tracking.projection import MirrorStatus, Projection
from study.tracking.store import MlflowStore
from study.tracking.types import StoreRefusedError, StoreUnavailableError
from trainables.uris import redact_uri

log = logging.getLogger(__name__)

Say = Callable[[str], None]
_LONGEST_WAIT_FLUSHING = 1.0
_FLUSH_POLL = 0.02
_LONGEST_REST = 10.0
"""After sending, the thread rests as long as that took, up to here: training has the cores."""
_LONGEST_HOLD = 10.0


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
        """Nothing happens before ``start``; the ledger may not exist yet.

        Args:
            ledger, offset, store: as for ``Projection``.
            interval: seconds between two looks at the ledger.
            say: for the few lines that the user should see.
        """
        self._projection = Projection(ledger, offset, store)
        self._interval = interval
        self._say = say
        self._thread: threading.Thread | None = None
        self._held = False
        self._wake = threading.Event()
        self._begun = threading.Event()
        self._changed = threading.Condition()
        self._stopping = False
        self._flushing = 0
        self._error: str | None = None
        self._failures = 0
        self._files_failures = 0
        self._files_due = 0.0
        self._files_said = False

    def start(self, *, held: bool = False) -> None:
        """Begin; MLflow is imported in the thread.

        Import Ray, Tune and Optuna before: two threads that import libraries with common parts at
        once can get in each other's way. ``held``: not before ``begin``, or ``begin_soon`` and some
        seconds, so that what starts in other processes has the cores. Then scipy's statistics are
        imported, too: whoever ends a study needs them, and here they hold nobody up.
        """
        assert self._thread is None, "started twice"
        self._held = held
        if not held:
            self.begin()
        self._thread = threading.Thread(target=self._loop, name="mlflow-projector", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        self._begun.set()

    def begin_soon(self) -> None:
        """Begin in some seconds, if nothing else begins by then."""
        timer = threading.Timer(_LONGEST_HOLD, self.begin)
        timer.daemon = True
        timer.start()

    @property
    def run_ids(self) -> dict[str, str]:
        return self._projection.runs.of_trials

    @property
    def status(self) -> MirrorStatus:
        return self._projection.status(self._error)

    def flush(self, timeout: float) -> bool:
        """Wait until MLflow has everything that is in the ledger now, at most ``timeout`` seconds.

        Whether it has; if not, the rest stays in the ledger and is still being sent.
        """
        try:
            target = self._projection.ledger.stat().st_size
        except FileNotFoundError:
            return True
        self.begin()
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
        self.begin()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def close_runs(self) -> None:
        """Mark what runs in MLflow as interrupted: the ledger is gone, nothing more will come."""
        self.stop()
        try:
            self._projection.runs.close_interrupted()
        except (StoreUnavailableError, StoreRefusedError) as error:
            self._say(f"MLflow can't be told that the study has ended: {error}")

    def _has(self, target: int) -> bool:
        return self._projection.offset >= target and not self._projection.artifacts.left

    def _loop(self) -> None:
        self._begun.wait()
        if self._held:
            import_module("scipy.stats")
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
        if self._failures:
            return self._wait_after(self._failures)
        return _FLUSH_POLL if self._flushing else max(self._interval, min(took, _LONGEST_REST))

    def _wait_after(self, failures: int) -> float:
        return wait_after(failures, _LONGEST_WAIT_FLUSHING if self._flushing else LONGEST_SECONDS)

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
        artifacts = self._projection.artifacts
        if not artifacts.left:
            self._files_failures = 0
            return
        if not self._files_said:
            self._files_said = True
            self._say(
                f"MLflow can't store artifacts now ({artifacts.error}); metrics are not affected, "
                "and it is tried again"
            )
        if time.monotonic() >= self._files_due:
            self._projection.send_files()
            self._files_failures += 1
            self._files_due = time.monotonic() + self._wait_after(self._files_failures)
