"""A finished study that nobody touched since: going on with it takes a look.

Who goes on with a study makes sure that Optuna and MLflow have all that its ledger has: their
libraries are imported, and what they know is read. A receipt says that this was done, and in which
state of the study's files. As long as they are in that state, there is nothing to do.
"""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from study.config import StudyConfig
from study.records.folder import StudyFolder, public_values, storage_of
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState
from study.records.requests import RequestBox
from study.records.summary import Summary, summarise
from study.tracking.addresses import resolve_uri, sqlite_file
from study.tracking.offset import Saved, load
from study.tracking.types import STUDY_RUN
from trainables.uris import redact_uri

log = logging.getLogger(__name__)


def give_receipt(folder: StudyFolder, config: StudyConfig) -> None:
    """Say that a study is over and complete, in its files as they are now, if MLflow has it all."""
    if folder.remote is not None or _all_sent(folder, config) is None:
        return
    try:
        write_json(folder.receipt, _state(folder, config))
    except OSError as error:
        # It only saves time.
        log.warning("%s: no receipt could be written: %s", config.name, error)


def is_untouched(folder: StudyFolder, config: StudyConfig) -> bool:
    """Whether all is as it was when the receipt was given; ``config``: what it is now to be.

    It is asked before each study: without a receipt, the ledger is not read for it.
    """
    try:
        return (
            folder.remote is None
            and _read(folder.receipt) == _state(folder, config)
            and _read(folder.config) == public_values(config)
            and not RequestBox(folder.path).waiting()
        )
    except (OSError, ValueError, RecursionError) as error:
        log.debug("%s: all is looked at: %s", config.name, error)
        return False


def kept_summary(folder: StudyFolder, config: StudyConfig, state: LedgerState) -> Summary | None:
    """The summary of a complete study that is untouched; None if the stored one says otherwise."""
    try:
        sent = _all_sent(folder, config)
        if sent is None:
            return None
        runs = {key: run for key, run in sent.runs.items() if key != STUDY_RUN}
        summary = summarise(config, state, runs)
        # Another version of this project may say more.
        return summary if _read(folder.summary) == summary.model_dump(mode="json") else None
    except (OSError, ValueError, RecursionError) as error:
        log.debug("%s: all is looked at: %s", config.name, error)
        return None


def _state(folder: StudyFolder, config: StudyConfig) -> dict[str, Any]:
    """The store, which file it is, and a digest of each of the study's files."""
    uri = _uri(config)
    database = sqlite_file(uri)
    file = None if database is None else database.stat()
    of_processes = {folder.lock, folder.ray_log, folder.receipt}
    entries = (Path(entry.path) for entry in os.scandir(folder.path) if entry.is_file())
    return {
        "store": redact_uri(uri),
        "database": None if file is None else [file.st_dev, file.st_ino],
        "files": {
            path.name: _digest(path)
            for path in sorted(entries)
            if path not in of_processes and path.suffix != ".lock"
        },
    }


def _all_sent(folder: StudyFolder, config: StudyConfig) -> Saved | None:
    """What is saved of MLflow, if it has the whole ledger and all files."""
    saved = load(folder.mlflow_offset, redact_uri(_uri(config)))
    if saved is None or saved.files or saved.offset != folder.ledger.stat().st_size:
        return None
    return saved


def _uri(config: StudyConfig) -> str:
    return resolve_uri(config.tracking_uri, storage_of(config).folder)


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
