"""What ``verify`` finds wrong with a study's records, and the ledger held against itself."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from study.records.events import EndEvent, EpochsEvent, Event, StartEvent, StudyEndEvent, StudyEvent
from study.records.folder import StudyFolder
from study.records.ledger import read_chunk
from study.records.ledger_view import (
    LedgerState,
    TrialRecord,
    read_ledger,
    recorded,
    same_numbers,
)
from study.records.race import CUT_SHORT
from study.records.recovery import damage_notes
from study.records.seeds import block_of
from study.records.summary import study_notes
from trainables.checkpoint import payload_of
from trainables.epochs import epoch_number
from trainables.errors import CheckpointError
from trainables.metrics import EpochMetrics, objective_values

Kind = Literal["missing", "doubled", "different", "damaged"]


@dataclass(frozen=True)
class Finding:
    """Something missing, doubled, different or damaged; ``what`` names it."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def ledger_findings(path: Path, state: LedgerState) -> Iterator[Finding]:
    """What is wrong with a ledger by itself."""
    for line in damage_notes(state)[:1]:
        # What a later process has noticed, repaired and noted is not news.
        if line not in study_notes(state):
            yield Finding("damaged", f"{path.name}: {line} ({state.damage[0].reason})")
    yield from _Order().findings(path)
    over = state.study is not None and state.study.state == "complete"
    raced_on = _race_block(state)
    cut = any(CUT_SHORT in line for line in study_notes(state))
    for record in state.trials.values():
        # A race has baselines, too, on its own seeds.
        races = record.role == "race" or (record.role == "baseline" and record.seed in raced_on)
        yield from _record_findings(record, over=over and not (cut and races))


def _race_block(state: LedgerState) -> range:
    """All seeds that a race of the study may use."""
    train = {} if state.study is None else state.study.config.get("train", {})
    return block_of("race", train.get("seed", 0))


def _record_findings(record: TrialRecord, *, over: bool) -> Iterator[Finding]:
    key = record.key
    if over and not record.finished:
        yield Finding("missing", f"{key}: the ledger has no end of it, though the study is over")
    lost = record.lost_epochs
    if lost:
        yield Finding(
            "missing",
            f"{key}: the ledger lacks {len(lost)} epochs, from {epoch_number(lost[0])} on",
        )
    elif record.finished and not recorded(record):
        have, wanted = len(record.history), record.config["epochs"]
        yield Finding("missing", f"{key}: complete, but with {have} of {wanted} epochs")
    elif record.state in {"complete", "pruned"} and record.values and record.history:
        for name, value in objective_values(record.history).items():
            if name in record.values and not _equal(record.values[name], value):
                told = record.values[name]
                yield Finding("different", f"{key}: {name} is {told!r}, by its epochs {value!r}")


def _equal(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))


class _Order:
    """The events in their order: what a run may do only once."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, EpochMetrics]] = {}
        self.budget: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.orphans: set[str] = set()
        self.uids: set[str] = set()

    def findings(self, path: Path) -> Iterator[Finding]:
        offset = 0
        while (chunk := read_chunk(path, offset)).lines:
            for event in chunk.events:
                yield from self._absorb(event)
            offset = chunk.offset
        # One that was begun again has been trained again: nothing is missing any more.
        for key in sorted(self.orphans - self.rows.keys()):
            yield Finding("missing", f"{key}: the ledger has lost its beginning")

    def _absorb(self, event: Event) -> Iterator[Finding]:
        if isinstance(event, StudyEvent):
            if self.uids and event.uid not in self.uids:
                yield Finding("different", f"{event.name}: the ledger holds two studies")
            self.uids.add(event.uid)
        elif isinstance(event, StudyEndEvent) or event.key is None:
            return
        elif isinstance(event, StartEvent):
            yield from self._began(event)
        elif event.key not in self.rows:
            self.orphans.add(event.key)
        elif isinstance(event, EpochsEvent):
            yield from self._epochs(event)
        elif isinstance(event, EndEvent):
            if event.key in self.ended:
                yield Finding("doubled", f"{event.key}: the ledger has two ends of it")
            self.ended[event.key] = event.state

    def _began(self, event: StartEvent) -> Iterator[Finding]:
        whole = len(self.rows.get(event.key, ())) == self.budget.get(event.key)
        if self.ended.pop(event.key, "") == "complete" and whole:
            yield Finding("doubled", f"{event.key}: was begun again after it was complete")
        self.rows.setdefault(event.key, {})
        self.budget[event.key] = int(event.config["epochs"])

    def _epochs(self, event: EpochsEvent) -> Iterator[Finding]:
        rows = self.rows[event.key]
        for row in event.rows:
            known = rows.setdefault(row.epoch, row)
            if known is not row:
                how: Kind = "doubled" if same_numbers(known, row) else "different"
                yield Finding(
                    how, f"{event.key}: epoch {epoch_number(row.epoch)} is in the ledger twice"
                )


def checkpoint_findings(
    folder: StudyFolder, state: LedgerState, needed: set[str]
) -> Iterator[Finding]:
    """What is wrong with the checkpoints; ``needed``: the runs whose final one must be there."""
    found: set[str] = set()
    unknown: set[str] = set()
    for path in folder.checkpoints.glob("*/*.ckpt"):
        key = path.parent.name
        if key not in state.trials and not key.startswith("baseline-"):
            unknown.add(key)
        try:
            payload_of(path.read_bytes(), where=f"checkpoints/{key}/{path.name}")
        except OSError as error:
            if path.exists():
                yield Finding("damaged", f"checkpoints/{key}/{path.name}: {error}")
        except CheckpointError as error:
            yield Finding("damaged", str(error))
        if path.name == "final.ckpt":
            found.add(key)
    # A run that began meanwhile is in the ledger by now.
    known = read_ledger(folder.ledger).trials if unknown else {}
    for key in sorted(unknown - known.keys()):
        yield Finding("different", f"{key}: has checkpoints, and the ledger knows no such run")
    for key in sorted(needed - found):
        record = state.trials.get(key)
        # What never injects is its baseline, and trains nothing; a full disk has been noted.
        if record is None or record.state != "complete" or not record.epochs_trained:
            continue
        if "not written" not in record.tags.get("note", ""):
            yield Finding("missing", f"{key}: its final checkpoint (checkpoints/{key}/final.ckpt)")


def differing(stored: Any, wanted: Any, where: str = "") -> Iterator[str]:
    """The paths at which two JSON values differ, where both say something.

    MLflow's ids are left out. What only one of them has was not there in another version.
    """
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for name in stored.keys() & wanted.keys() - {"run_id"}:
            yield from differing(stored[name], wanted[name], f"{where}/{name}".lstrip("/"))
    elif isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        for index, (a, b) in enumerate(zip(stored, wanted, strict=True)):
            yield from differing(a, b, f"{where}/{index}")
    elif stored != wanted:
        yield where
