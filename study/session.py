"""One process's hold on a folder of runs: its ledger, MLflow beside it, and what it says aloud."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from study.config import RunsConfig
from study.folder import StudyFolder, public_values
from study.ledger import (
    Event,
    Ledger,
    LedgerState,
    NoteEvent,
    StudyEvent,
    new_uid,
    read_ledger,
)
from study.summary import study_notes

if TYPE_CHECKING:
    from study.projector import LedgerProjector

log = logging.getLogger(__name__)


class Session:
    """What a run of many trainings does besides training."""

    def __init__(self, folder: StudyFolder, config: RunsConfig, console: Console | None) -> None:
        """Nothing is opened here; the folder's lock is the caller's to hold."""
        self.folder = folder
        self.config = config
        self.console = console

    def append(self, *events: Event) -> None:
        """Write events to the ledger."""
        with Ledger(self.folder.ledger) as ledger:
            for event in events:
                ledger.append(event)

    def state(self) -> LedgerState:
        """Everything that the ledger says now."""
        return read_ledger(self.folder.ledger)

    def say(self, line: str) -> None:
        """Tell the user."""
        log.info(line)
        if self.console is not None:
            self.console.print(line, highlight=False, soft_wrap=True)

    def note(self, line: str) -> None:
        """Say a sentence that the reader of the result needs, too, and record it once."""
        known = study_notes(self.state())
        if line not in known:
            self.append(NoteEvent(None, {f"note.{len(known) + 1}": line}))
        self.say(line)

    def put_in_order(self) -> None:
        """Repair what an earlier process left, and say what is lost."""
        from study.recovery import damage_notes, missing_epochs

        self.append(*missing_epochs(self.folder, self.state()))
        for line in damage_notes(self.state()):
            self.note(line)

    def begin(self, *, objectives: tuple[str, ...], asked: str) -> None:
        """Record that this process begins, or goes on with, the runs."""
        known = self.state().study
        self.append(
            StudyEvent(
                name=self.config.name,
                uid=known.uid if known else new_uid(),
                config=public_values(self.config),
                objectives=objectives,
                asked=asked,
                resumed=known is not None,
            )
        )

    @contextmanager
    def mirrored(self) -> Iterator["LedgerProjector"]:
        """Keep MLflow up to date while the body runs.

        Import Ray and torch before: two threads that import at once get in each other's way.
        """
        from study.projector import LedgerProjector
        from study.store import MlflowStore, artifact_root, resolve_uri

        storage = Path(self.config.storage)
        uri = resolve_uri(self.config.tracking_uri, storage)
        projector = LedgerProjector(
            self.folder.ledger,
            self.folder.mlflow_offset,
            MlflowStore(uri, artifact_root(uri, storage)),
            say=self.say,
        )
        projector.start()
        try:
            yield projector
        finally:
            projector.stop()
