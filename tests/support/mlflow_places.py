"""A folder with a study's ledger and an MLflow database, and what must be in it."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.records.events import Event
from study.records.ledger_view import read_ledger
from study.tracking.addresses import artifact_root, resolve_uri
from study.tracking.projection import Projection
from study.tracking.projector import LedgerProjector
from study.tracking.reader import metric_points
from study.tracking.steps import EpochSteps
from study.tracking.store import MlflowStore
from study.tracking.types import StoreUnavailableError
from tests.support.ledgers import CONFIG, write

SIGNALS = CONFIG.noise.signals


class Place:
    """A folder with a study's ledger and an MLflow database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / "made-up" / "ledger.jsonl"
        self.offset = folder / "made-up" / "mlflow.offset"
        self.uri = resolve_uri(None, folder)

    def store(self, uri: str | None = None) -> MlflowStore:
        uri = uri or self.uri
        return MlflowStore(uri, artifact_root(uri, self.folder))

    def write(self, events: Sequence[Event]) -> None:
        write(self.ledger, list(events))

    def project(self, store: MlflowStore | None = None, *, verify: bool = False) -> Projection:
        """Send everything, here and now."""
        projection = Projection(self.ledger, self.offset, store or self.store(), verify=verify)
        while projection.step():
            pass
        projection.close()
        return projection

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            return database.execute(text).fetchall()

    def statuses(self) -> dict[str, str]:
        """The status of each active run by its name."""
        return dict(self.query("select name, status from runs where lifecycle_stage = 'active'"))


def begin(
    place: Place,
    started: list[LedgerProjector],
    store: MlflowStore | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> LedgerProjector:
    projector = LedgerProjector(
        place.ledger, place.offset, store or place.store(), interval=0.05, say=say
    )
    started.append(projector)
    projector.start()
    return projector


def expected_metrics(ledger: Path) -> set[tuple[str, str, int, float]]:
    """Run, metric, step, value: what MLflow must hold, once each."""
    expected: set[tuple[str, str, int, float]] = set()
    for record in read_ledger(ledger).trials.values():
        for row in record.history:
            for point in metric_points(row, SIGNALS, 0, EpochSteps()):
                expected.add((record.key, point.key, row.epoch, point.value))
        last = len(record.history) - 1
        for name, value in record.values.items():
            expected.add((record.key, name, last, value))
        if record.paired_difference:
            value = record.paired_difference["best_val_accuracy"]
            expected.add((record.key, "paired_difference", last, value))
    return expected


def sent_metrics(place: Place) -> list[tuple[Any, ...]]:
    return place.query(
        "select r.name, m.key, m.step, m.value from metrics m join runs r using (run_uuid) "
        "where r.lifecycle_stage = 'active'"
    )


def check_all_there_once(place: Place) -> None:
    found = sent_metrics(place)
    assert len(found) == len(set(found))
    assert set(found) == expected_metrics(place.ledger)
    active = place.query("select name from runs where lifecycle_stage = 'active'")
    assert len(active) == len(set(active)) == len(read_ledger(place.ledger).trials) + 1


def lose_lines(ledger: Path, count: int) -> None:
    """What a power failure takes with it, though it was read and sent before."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-count]))


class Flaky(MlflowStore):
    """A store whose connection breaks at given calls, before or after they took effect."""

    def __init__(self, store: MlflowStore, breaks: Mapping[int, str]) -> None:
        super().__init__(store.uri, store._root)
        self.breaks = breaks
        self.calls = 0

    def __getattribute__(self, name: str) -> Any:
        attribute = super().__getattribute__(name)
        if name not in {"create_run", "log", "set_status", "log_dataset", "find_runs", "find_run"}:
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            how = self.breaks.get(self.calls)
            if how == "before":
                raise StoreUnavailableError("cut")
            answer = attribute(*args, **kwargs)
            if how == "after":
                raise StoreUnavailableError("the answer is lost")
            return answer

        return call
