"""One process's hold on a folder of runs: its ledger, MLflow beside it, and what it says aloud."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from study.config import RunsConfig
from study.records.events import Event, NoteEvent, StudyEvent, new_uid
from study.records.folder import StudyFolder, public_values, storage_of
from study.records.ledger import Ledger
from study.records.ledger_view import LedgerState, read_ledger
from study.records.own_code import present
from study.records.remote import DATABASE
from study.records.remote_copy import RemoteCopy
from study.records.summary import study_notes
from study.tune.address import address_of

if TYPE_CHECKING:
    from study.tracking.projector import LedgerProjector

log = logging.getLogger(__name__)


class Session:
    """What a run of many trainings does besides training."""

    def __init__(self, folder: StudyFolder, config: RunsConfig, console: Console | None) -> None:
        """Nothing is opened here; the folder's lock is the caller's to hold."""
        self.folder = folder
        self.config = config
        self.console = console

    def append(self, *events: Event) -> None:
        with Ledger(self.folder.ledger) as ledger:
            for event in events:
                ledger.append(event)

    def state(self) -> LedgerState:
        """The ledger, without runs of another source (``present``)."""
        return present(self.config, self.whole_state())

    def whole_state(self) -> LedgerState:
        return read_ledger(self.folder.ledger)

    def say(self, line: str) -> None:
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
        from study.records.recovery import damage_notes, forget_unknown, missing_epochs

        forget_unknown(self.folder, self.whole_state())
        self.append(*missing_epochs(self.folder, self.state()))
        for line in damage_notes(self.state()):
            self.note(line)

    def begin(self, *, objectives: tuple[str, ...], asked: str) -> None:
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
        from study.tracking.addresses import artifact_root, resolve_uri
        from study.tracking.projector import LedgerProjector
        from study.tracking.store import MlflowStore

        storage = storage_of(self.config).folder
        uri = resolve_uri(self.config.tracking_uri, storage)
        projector = LedgerProjector(
            self.folder.ledger,
            self.folder.mlflow_offset,
            MlflowStore(uri, artifact_root(uri, storage)),
            say=self.say,
        )
        with copied(self.folder, self.config, self.say):
            projector.start()
            try:
                yield projector
            finally:
                projector.stop()


@contextmanager
def connected(config: RunsConfig) -> Iterator[None]:
    """Stay connected to a cluster, after what can't work on it is refused; else nothing.

    On this machine Ray is started when there is something to run.
    """
    if address_of(config) is None:
        yield
        return
    from study.tune.probe import cluster

    with cluster(config):
        yield


@contextmanager
def copied(folder: StudyFolder, config: RunsConfig, say: Callable[[str], None]) -> Iterator[None]:
    """Copy the records to the object store in which the study is kept, if that is so.

    They are copied while the body runs, after each end of a trial, and when it has ended. The
    caller holds the folder's lock.
    """
    if folder.remote is None:
        yield
        return
    own_store = config.tracking_uri is None
    copy = RemoteCopy(
        folder.path,
        folder.remote,
        database=storage_of(config).folder / DATABASE if own_store else None,
        say=say,
    )
    copy.start()
    try:
        yield
    finally:
        if not copy.finish():
            say(
                f"{folder.remote} does not have everything; the same command, or one that goes on "
                f"with the study, copies it from {folder.path}"
            )
