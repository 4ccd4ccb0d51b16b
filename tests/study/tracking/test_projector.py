"""The projector's thread: a study never waits for MLflow, and what MLflow missed arrives later."""

import shutil
import time
from pathlib import Path

import pytest

from study.records.events import NoteEvent
from study.records.ledger import Ledger
from study.tracking import reader as reader_module
from study.tracking.projector import LedgerProjector
from study.tracking.steps import EpochSteps
from study.tracking.types import MetricPoint
from tests.support.ledgers import run_events, study_event, study_events
from tests.support.mlflow_places import Place, begin, check_all_there_once
from tests.support.servers import broken_server, free_port, locked_database, mlflow_server
from tests.support.study_processes import wait_until
from trainables.metrics import EpochMetrics


def test_the_thread_sends_while_the_study_runs(
    place: Place, patient: list[LedgerProjector]
) -> None:
    projector = begin(place, patient)
    assert projector.flush(5)
    with Ledger(place.ledger) as ledger:
        for event in study_events(2, 4):
            ledger.append(event)
    assert projector.flush(60)
    check_all_there_once(place)
    assert projector.status.error is None
    assert projector.status.behind == 0
    assert set(projector.run_ids) == {"baseline-seed0", "trial-0000", "trial-0001"}
    assert place.statuses()["made-up"] == "FINISHED"


def test_a_locked_database_holds_nothing_up(place: Place, patient: list[LedgerProjector]) -> None:
    place.write([study_event(), *run_events(0, 3)])
    projector = begin(place, patient)
    assert projector.flush(60)
    with locked_database(place.folder / "mlflow.db"):
        began = time.monotonic()
        with Ledger(place.ledger) as ledger:
            for event in run_events(1, 5):
                ledger.append(event)
        assert time.monotonic() - began < 10
        assert not projector.flush(0.7)
        assert projector.status.behind > 0
    assert projector.flush(60)
    check_all_there_once(place)


@pytest.mark.slow
def test_no_server_then_a_broken_one_then_a_real_one(
    place: Place, patient: list[LedgerProjector], tmp_path: Path
) -> None:
    port = free_port()
    uri = f"http://me:hunter2@127.0.0.1:{port}"
    said: list[str] = []
    projector = begin(place, patient, place.store(uri), said.append)
    events = study_events(3, 6)
    place.write(events[: len(events) // 2])
    assert not projector.flush(2)
    wait_until(lambda: bool(said))
    assert "can't be written to" in said[0]
    with broken_server(port) as broken:
        assert not projector.flush(5)
        assert broken.asked > 0  # type: ignore[attr-defined]
    place.write(events[len(events) // 2 :])
    assert projector.status.behind == place.ledger.stat().st_size
    with mlflow_server(tmp_path, port):
        assert projector.flush(120), projector.status
        shutil.copy(tmp_path / "server.db", tmp_path / "mlflow.db")
        check_all_there_once(place)
        assert set(place.statuses().values()) == {"FINISHED"}
        run_id = projector.run_ids["trial-0000"]
        assert list((tmp_path / "served").rglob(f"{run_id}/artifacts/config.json"))
    assert ["can't be written to" in line for line in said] == [True, False]
    assert "answers again" in said[1]
    assert not any("hunter2" in text for text in (*said, place.offset.read_text()))
    assert "hunter2" not in (tmp_path / "server.db").read_bytes().decode(errors="replace")


def test_artifacts_that_cannot_be_stored_hold_no_metric_up(
    place: Place, patient: list[LedgerProjector]
) -> None:
    blocked = place.folder / "mlartifacts"
    blocked.write_text("a file where the folder should be")
    said: list[str] = []
    projector = begin(place, patient, say=said.append)
    place.write(study_events(1, 3))
    wait_until(lambda: projector.status.behind == 0 and bool(said))
    assert not projector.flush(0.5)
    check_all_there_once(place)
    status = projector.status
    assert (status.behind, status.files_left) == (0, 3)
    assert status.error
    assert len(said) == 1
    projector.stop(timeout=60)
    blocked.unlink()
    again = begin(place, patient)
    place.write([NoteEvent(None, {"a": "b"})])
    assert again.flush(60)
    assert again.status.files_left == 0
    assert len(list(blocked.rglob("config.json"))) == 2
    assert len(list(blocked.rglob("study.json"))) == 1


def test_an_error_of_our_own_is_said_and_tried_again(
    place: Place, patient: list[LedgerProjector], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = reader_module.metric_points

    def once_broken(
        row: EpochMetrics, signals: tuple[str, ...], time: int, steps: EpochSteps
    ) -> list[MetricPoint]:
        calls.append(row)
        if len(calls) == 1:
            raise ZeroDivisionError("a bug")
        return real(row, signals, time, steps)

    monkeypatch.setattr(reader_module, "metric_points", once_broken)
    said: list[str] = []
    projector = begin(place, patient, say=said.append)
    place.write(study_events(1, 3))
    assert projector.flush(60)
    assert "a bug" in said[0]
    check_all_there_once(place)
