"""``sync``: send what MLflow lacks of a ledger, with a report."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from study.tracking.projection import Projection
from study.tracking.projector import FIRST_DELAY, LONGEST_DELAY
from study.tracking.store import MlflowStore
from study.tracking.types import StoreUnavailableError


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
    delay, deadline = FIRST_DELAY, time.monotonic() + timeout
    try:
        while True:
            try:
                if not projection.step():
                    projection.send_files()
                    projection.close_interrupted()
                    break
                error, delay, deadline = None, FIRST_DELAY, time.monotonic() + timeout
                if progress is not None:
                    progress(projection.behind())
            except StoreUnavailableError as unavailable:
                error = str(unavailable)
                if time.monotonic() + delay > deadline:
                    break
                time.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)
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
