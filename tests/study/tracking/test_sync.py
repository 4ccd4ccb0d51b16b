"""Sending what a study that is gone left behind."""

import shutil
from pathlib import Path

import pytest

from study.tracking.projection import LedgerHeldError, Projection
from study.tracking.sync import sync
from tests.support.ledgers import study_events
from tests.support.mlflow_places import Place, check_all_there_once
from tests.support.servers import free_port, mlflow_server


def test_a_second_process_may_not_send_the_same_ledger(place: Place) -> None:
    place.write(study_events(1, 2))
    first = Projection(place.ledger, place.offset, place.store())
    first.step()
    with pytest.raises(LedgerHeldError):
        sync(place.ledger, place.offset, place.store())
    first.close()
    assert sync(place.ledger, place.offset, place.store()).error is None


@pytest.mark.slow
def test_sync_sends_what_a_dead_study_left(place: Place, tmp_path: Path) -> None:
    port = free_port()
    place.write(study_events(2, 4, ended=False)[:-3])
    store = place.store(f"http://127.0.0.1:{port}")
    report = sync(place.ledger, place.offset, store, timeout=1.5)
    assert report.error is not None
    assert report.behind == place.ledger.stat().st_size
    with mlflow_server(tmp_path, port):
        report = sync(place.ledger, place.offset, store, timeout=60)
        assert (report.error, report.behind, report.files_left) == (None, 0, 0)
        assert set(report.run_ids) == {"baseline-seed0", "trial-0000", "trial-0001"}
        shutil.copy(tmp_path / "server.db", tmp_path / "mlflow.db")
        check_all_there_once(place)
        # Its process is gone: nothing of it may look as though it ran.
        assert set(place.statuses().values()) == {"FINISHED", "KILLED"}
        assert sync(place.ledger, place.offset, store).events == 0
