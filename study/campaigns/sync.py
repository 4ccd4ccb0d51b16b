"""``sync_study``: send what MLflow lacks of a study."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from study.campaigns.campaign import FLUSH_SECONDS
from study.campaigns.resume import resumed
from study.campaigns.session import check_records, copied
from study.records.folder import StudyFolder
from study.records.json_files import write_json
from study.records.ledger_view import read_ledger
from study.records.storage import Storage, Where
from study.records.summary import summarise
from trainables.errors import InputError

if TYPE_CHECKING:
    from study.tracking.projection import MirrorStatus


log = logging.getLogger(__name__)


def sync_study(
    storage: Where,
    name: str,
    tracking_uri: str | None = None,
    *,
    timeout: float = FLUSH_SECONDS,
    progress: Callable[[int], None] | None = None,
) -> "MirrorStatus":
    """Send to MLflow what it lacks of a study that does not run.

    Args:
        storage: where the studies are.
        name: the study's name.
        tracking_uri: where to; None: where the study was to send it.
        timeout: seconds without success after which it is given up.
        progress: called with the bytes still to be sent.
    """
    from study.tracking.addresses import artifact_root, resolve_uri
    from study.tracking.projection import LedgerHeldError
    from study.tracking.store import MlflowStore
    from study.tracking.sync import sync

    where = Storage.of(storage)
    config = resumed(where, name, {"tracking_uri": tracking_uri} if tracking_uri else {})
    folder, root = StudyFolder.of(where, name), where.folder
    check_records(folder, config)
    uri = resolve_uri(config.tracking_uri, root)
    with folder.locked(), copied(folder, config, log.warning):
        store = MlflowStore(uri, artifact_root(uri, root))
        try:
            report = sync(
                folder.ledger, folder.mlflow_offset, store, timeout=timeout, progress=progress
            )
        except LedgerHeldError as error:
            raise InputError(f"{error}; wait until it has ended") from None
        state = read_ledger(folder.ledger)
        if report.error is None and state.study is not None:
            summary = summarise(config, state, report.run_ids)
            write_json(folder.summary, summary.model_dump(mode="json"))
    return report
