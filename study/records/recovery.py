"""Repairs what an earlier process left before a study goes on, and says what is lost.

Epochs whose lines in the ledger are damaged are taken from the trial's checkpoint, which has them
too.
"""

import logging
from collections.abc import Iterator

from study.records.events import EpochsEvent, Event
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, TrialRecord
from trainables.checkpoint import load_run
from trainables.epochs import epoch_number
from trainables.errors import CheckpointError
from trainables.metrics import EpochMetrics
from trainables.trial_checkpoints import TrialCheckpoints

log = logging.getLogger(__name__)


def missing_epochs(folder: StudyFolder, state: LedgerState) -> Iterator[Event]:
    """The epochs that the ledger has lost and that a checkpoint of their trial still knows."""
    for record in state.trials.values():
        if not _incomplete(record):
            continue
        history, start_epoch = _stored_history(folder, record)
        known = {row.epoch for row in record.history}
        for row in history:
            if row.epoch not in known:
                yield EpochsEvent(record.key, (row,), shared=row.epoch < start_epoch)


def forget_unknown(folder: StudyFolder, state: LedgerState) -> None:
    """Remove the checkpoints of trials whose beginning the ledger has lost: they begin again.

    A trial that went on from such a checkpoint would never report the epochs before it.
    """
    for path in folder.checkpoints.glob("*"):
        if path.name not in state.trials:
            for checkpoint in TrialCheckpoints(folder.checkpoints, path.name).own():
                checkpoint.unlink()


def damage_notes(state: LedgerState) -> list[str]:
    """What the reader of the result has to know about the ledger's damaged lines."""
    if not state.damage:
        return []
    lines = ", ".join(str(damage.line) for damage in state.damage[:5])
    more = f" and {len(state.damage) - 5} more" if len(state.damage) > 5 else ""
    notes = [f"the ledger's line {lines}{more} was damaged and is left out"]
    notes += [
        f"{record.key}: {len(lost)} of its epochs are lost with it (from {epoch_number(lost[0])})"
        for record in state.trials.values()
        if (lost := _lost(record))
    ]
    return notes


def _incomplete(record: TrialRecord) -> bool:
    # An unfinished trial's checkpoint may be ahead of the ledger after a power failure.
    return not record.finished or bool(_lost(record))


def _lost(record: TrialRecord) -> list[int]:
    known = {row.epoch for row in record.history}
    budget = int(record.config["epochs"])
    ends = budget if record.state == "complete" else max(known, default=-1) + 1
    return [epoch for epoch in range(ends) if epoch not in known]


def _stored_history(folder: StudyFolder, record: TrialRecord) -> tuple[list[EpochMetrics], int]:
    for path in TrialCheckpoints(folder.checkpoints, record.key).own():
        try:
            state = load_run(path)
        except CheckpointError as error:
            log.warning("%s", error)
            continue
        return [EpochMetrics.from_dict(row) for row in state["history"]], int(
            state.get("start_epoch", 0)
        )
    return [], 0
