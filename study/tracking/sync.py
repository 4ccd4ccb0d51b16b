"""``sync``: send what MLflow lacks of a ledger, with a report."""

import time
from collections.abc import Callable
from pathlib import Path

from study.records.backoff import wait_after
from study.tracking.projection import MirrorStatus, Projection
from study.tracking.store import MlflowStore
from study.tracking.types import StoreUnavailableError


def sync(
    ledger: Path,
    offset: Path,
    store: MlflowStore,
    *,
    timeout: float = 60.0,
    progress: Callable[[int], None] | None = None,
) -> MirrorStatus:
    """Send what is left of a ledger whose study does not run, here and now.

    Runs that its process left RUNNING when it died are marked as interrupted. It is given up after
    ``timeout`` seconds without any success. ``progress`` is called with the bytes still to be sent.
    ``LedgerHeldError``: another process is sending it.
    """
    projection = Projection(ledger, offset, store, verify=True)
    failures, error = 0, None
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                more = projection.step()
                if not more:
                    projection.send_files()
                    projection.runs.close_interrupted()
            except StoreUnavailableError as unavailable:
                failures, error = failures + 1, str(unavailable)
                pause = wait_after(failures)
                if time.monotonic() + pause > deadline:
                    break
                time.sleep(pause)
                continue
            failures, error = 0, None
            if not more:
                break
            deadline = time.monotonic() + timeout
            if progress is not None:
                progress(projection.behind())
    finally:
        projection.close()
    return projection.status(error)
