"""One process's hold on a folder of runs: its ledger, MLflow beside it, and what it says aloud."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from study.config import RunsConfig
from study.errors import RecordsRemovedError
from study.records.events import FIRST_STEP, Event, NoteEvent, StudyEvent, new_uid
from study.records.folder import StudyFolder, public_values, storage_of
from study.records.folder_files import has_records
from study.records.ledger import Ledger
from study.records.ledger_view import LedgerState, read_ledger
from study.records.own_code import present
from study.records.remote import DATABASE
from study.records.remote_copy import RemoteCopy
from study.records.summary import study_notes
from study.tracking.offset import sent_uid
from study.tune.address import address_of
from study.tune.shipped_code import own_code
from trainables.data.dataset import Dataset
from trainables.errors import InputError
from trainables.uris import redact_uri

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
        self._begun = False

    def check_kept(self) -> None:
        """``RecordsRemovedError`` if the ledger has been removed since the session began."""
        if self._begun and not self.folder.ledger.exists():
            raise RecordsRemovedError(self.folder.ledger)

    def append(self, *events: Event) -> None:
        self.check_kept()
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

    def note(self, line: str, *, aloud: bool = True) -> None:
        """Record once a sentence that the reader of the result needs; and say it, if ``aloud``."""
        known = study_notes(self.state())
        if line not in known:
            self.append(NoteEvent(None, {f"note.{len(known) + 1}": line}))
        if aloud:
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
        # Where the ledger has lost it, the runs in MLflow are known by it all the same.
        uid = known.uid if known else sent_uid(self.folder.mlflow_offset) or new_uid()
        self.append(
            StudyEvent(
                name=self.config.name,
                uid=uid,
                config=public_values(self.config),
                objectives=objectives,
                asked=asked,
                resumed=known is not None,
                first_step=known.first_step if known else FIRST_STEP,
            )
        )
        self._begun = True

    @contextmanager
    def mirrored(self) -> Iterator["LedgerProjector"]:
        """Keep MLflow up to date while the body runs.

        It begins once it is told, or is to send everything: two threads that import at once get in
        each other's way.
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
            projector.start(held=True)
            try:
                yield projector
            except RecordsRemovedError:
                projector.close_runs()
                raise
            finally:
                projector.stop()


def check_records(folder: StudyFolder, config: RunsConfig) -> None:
    """Refuse to begin where a study's ledger is gone beside what follows from it."""
    if has_records(folder.ledger):
        return
    left = folder.left_of_ledger()
    stored = folder.config.exists() or folder.experiment.exists()
    if not left and stored and _has_runs(config):
        left = [f"runs of {config.name} in MLflow"]
    if not left:
        return
    how = "holds no readable record" if folder.ledger.exists() else "is gone"
    copy = "a copy" if folder.remote is None else f"a copy (see also {folder.remote})"
    raise InputError(
        f"{folder.ledger}: {how}, but there is {', '.join(left)}: what is finished would be "
        f"trained again. Restore it from {copy}; or remove {folder.path} to begin anew; or give "
        "another --name"
    )


def _has_runs(config: RunsConfig) -> bool:
    """Whether MLflow has runs of a study of this name; False where it does not answer."""
    from study.tracking.addresses import resolve_uri, sqlite_file
    from study.tracking.store import MlflowStore
    from study.tracking.types import StoreRefusedError, StoreUnavailableError

    uri = resolve_uri(config.tracking_uri, storage_of(config).folder)
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return False
    try:
        return MlflowStore(uri).has_runs(config.name)
    except (StoreUnavailableError, StoreRefusedError) as error:
        log.warning("MLflow can't be asked for runs of %s: %s", config.name, error)
        return False


@contextmanager
def connected(config: RunsConfig, images: Sequence[Dataset]) -> Iterator[None]:
    """Stay connected to a cluster, after what can't work on it is refused; else nothing.

    On this machine Ray is started when there is something to run. Where it runs already, somebody
    else has started it: its workers may not find code of one's own that this process finds.
    """
    if address_of(config) is None and not (_ray_runs() and own_code(config.train)):
        yield
        return
    from study.tune.probe import joined, probe_nodes

    with joined(config) as nodes:
        if len(nodes) > 1:
            check_store_shared(config, len(nodes))
        probe_nodes(config, nodes, images)
        yield


def check_store_shared(config: RunsConfig, nodes: int) -> None:
    """Refuse a database in a file that the next driver, on another node, may not find.

    The default lies in the storage, which every node is asked for, or beside the records of one in
    an object store; the driver alone writes to it.
    """
    from study.tracking.addresses import resolve_uri, sqlite_file

    given, storage = config.tracking_uri, storage_of(config)
    if given is None:
        return
    file = sqlite_file(resolve_uri(given, storage.folder))
    # Into an object store the default is copied only where it was not named.
    shared = storage.remote is None and file == sqlite_file(resolve_uri(None, storage.folder))
    if file is None or shared:
        return
    raise InputError(
        f"tracking_uri = {redact_uri(given)}: a database in a file of this machine, but the "
        f"cluster has {nodes} nodes; leave it out, and it lies beside the study's records; or "
        "start a server, e.g. mlflow server --host HOST --port 5000 --backend-store-uri "
        "sqlite:////FOLDER/mlflow.db, and give --tracking-uri http://HOST:5000"
    )


def _ray_runs() -> bool:
    # To import it takes a second, which the first epoch would wait for.
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


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
