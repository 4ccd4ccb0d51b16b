"""How long a campaign goes on, judged by what its runs have taken so far."""

from collections.abc import Iterable
from dataclasses import dataclass

from study.records.ledger_view import LedgerState, TrialRecord
from study.records.planned_run import NOISELESS

_RECENT = 8
"""Runs by which the pace is judged: what else the machine does changes it."""


@dataclass(frozen=True)
class Remaining:
    """What is left to train: ``runs`` that have not begun, ``epochs`` a run."""

    epochs: int
    noiseless: int
    noisy: int


def seconds_left(state: LedgerState, left: Remaining, workers: int, since: int = 0) -> float | None:
    """Seconds until all is trained; None before any run has ended.

    ``since`` (ms since 1970): runs that began before it have lain idle for a while.

    A noisy run that has not begun is taken to share as many epochs with its baseline as those that
    have begun; the runs that are trained at once to be as many as ``workers``.
    """
    records = list(state.trials.values())
    noisy = [record for record in records if record.role not in NOISELESS]
    noiseless = [record for record in records if record.role in NOISELESS]
    pace = _seconds_an_epoch(noisy, since) or _seconds_an_epoch(noiseless, since)
    if pace is None:
        return None
    unshared = [max(0, left.epochs - record.shared_epochs) for record in noisy]
    usual = sum(unshared) / len(unshared) if unshared else left.epochs
    running = [record for record in records if not record.finished]
    epochs = (
        sum(max(0, left.epochs - len(record.history)) for record in running)
        + left.noiseless * left.epochs
        + left.noisy * usual
    )
    side_by_side = min(max(1, workers), max(1, len(running) + left.noiseless + left.noisy))
    return pace * epochs / side_by_side


def _seconds_an_epoch(records: Iterable[TrialRecord], since: int) -> float | None:
    """What one worker took for an epoch, in the runs that ended last."""
    ended = [r for r in records if r.ended is not None and r.epochs_trained and r.started >= since]
    ended = sorted(ended, key=lambda record: record.ended or 0)[-_RECENT:]
    if not ended:
        return None
    took = sum((record.ended or 0) - record.started for record in ended) / 1000
    return took / sum(record.epochs_trained for record in ended)
