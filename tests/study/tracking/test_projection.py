"""A study in MLflow is what its ledger says, once, whatever breaks on the way."""

import dataclasses
import json
import logging
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.records.events import EndEvent, EpochsEvent, Event, NoteEvent, StudyEndEvent
from study.tracking.projection import Projection
from study.tracking.types import STUDY_RUN, MetricPoint, StoreUnavailableError
from tests.support.ledgers import (
    CONFIG,
    TIME,
    epoch,
    run_events,
    start_event,
    study_event,
    study_events,
)
from tests.support.mlflow_places import Flaky, Place, check_all_there_once, expected_metrics
from tests.support.servers import locked_database


def test_a_study_in_mlflow_is_what_its_ledger_says(place: Place) -> None:
    place.write(study_events(2, 5))
    projection = place.project()
    check_all_there_once(place)
    assert set(place.statuses().values()) == {"FINISHED"}
    store = place.store()
    runs = store.find_runs(str(projection.runs.experiment), study_event().uid)
    assert {key: run.run_id for key, run in runs.items() if key} == projection.runs.of_trials
    parent = store.run(runs[STUDY_RUN].run_id)
    child = store.run(runs["trial-0001"].run_id)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params["noise/warmup_epochs"] == str(CONFIG.noise.warmup_epochs)
    told = {"role": "trial", "study": "made-up", "trial_id": "trial-0001", "seed": "0"}
    told |= {"status": "complete", "value": repr(0.4 + 4 / 100 + 1 / 1000)}
    told |= {"paired_difference": "0.001", "epochs_trained": "5"}
    assert told.items() <= child.data.tags.items()
    assert store.run(runs["baseline-seed0"].run_id).data.tags["pinned"] == "true"
    assert child.inputs.dataset_inputs[0].dataset.name == "digits"
    start = next(e for e in study_events(2, 5) if getattr(e, "key", "") == "trial-0001")
    assert child.info.start_time == start.time
    assert child.info.end_time == start.time + 1000
    [loss] = [p for p in store.metric_history(child.info.run_id, "train_loss") if p.step == 3]
    assert loss == MetricPoint("train_loss", epoch(3, 1).train_loss, start.time + 4, 3)
    folder = place.folder / "mlartifacts" / "made-up" / child.info.run_id / "artifacts"
    assert json.loads((folder / "config.json").read_text()) == CONFIG.model_dump(mode="json")


def test_diverged_figures_arrive(place: Place) -> None:
    rows = (epoch(0), epoch(1, train_loss=math.nan, val_loss=math.inf))
    failed = EndEvent("trial-0000", "failed", "diverged: train_loss is nan in epoch 1")
    place.write([study_event(), start_event(0), EpochsEvent("trial-0000", rows), failed])
    projection = place.project()
    run_id = projection.runs.of_trials["trial-0000"]
    history = place.store().metric_history(run_id, "train_loss")
    assert math.isnan(history[1].value)
    assert place.statuses()["trial-0000"] == "FAILED"
    tags = place.store().run(run_id).data.tags
    assert tags["reason"] == "diverged: train_loss is nan in epoch 1"
    assert "value" not in tags


def test_a_forked_trials_curve_is_whole(place: Place) -> None:
    shared = EpochsEvent("trial-0000", tuple(epoch(n) for n in range(6)), shared=True)
    tags = {"forked_from": "baseline-seed0", "fork_epoch": "6"}
    place.write([study_event(), start_event(0), shared, NoteEvent("trial-0000", tags)])
    place.write([EpochsEvent("trial-0000", (epoch(6),))])
    projection = place.project()
    run_id = projection.runs.of_trials["trial-0000"]
    assert [p.step for p in place.store().metric_history(run_id, "val_loss")] == list(range(7))
    assert tags.items() <= place.store().run(run_id).data.tags.items()


def test_epochs_reported_again_are_sent_once(place: Place) -> None:
    place.write([study_event(), *run_events(0, 3)[:-1]])
    place.project()
    # As after a resume: the same epochs, later.
    again = [EpochsEvent("trial-0000", (epoch(n),), time=TIME + 777) for n in range(2)]
    place.write([*again, EpochsEvent("trial-0000", (epoch(3),))])
    place.project()
    check_all_there_once(place)


def test_interrupted_and_resumed(place: Place) -> None:
    events = run_events(1, 6)
    place.write([study_event(), *run_events(0, 3), *events[:3], StudyEndEvent("interrupted")])
    first = place.project()
    assert place.statuses() == {
        "made-up": "KILLED",
        "trial-0000": "FINISHED",
        "trial-0001": "KILLED",
    }
    tags = place.store().run(first.runs.of_trials["trial-0001"]).data.tags
    assert tags["status"] == "interrupted"
    place.write([study_event(resumed=True), *events[3:5]])
    place.project()
    assert place.statuses() == {
        "made-up": "RUNNING",
        "trial-0000": "FINISHED",
        "trial-0001": "RUNNING",
    }
    assert place.store().run(first.runs.of_trials["trial-0001"]).data.tags["status"] == "running"
    place.write([*events[5:], StudyEndEvent("complete", best="trial-0001")])
    second = place.project()
    assert set(place.statuses().values()) == {"FINISHED"}
    assert second.runs.of_trials == first.runs.of_trials
    check_all_there_once(place)


def test_a_study_that_goes_on_with_other_settings(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.write([*study_events(1, 3)])
    first = place.project()
    changed = {**study_event().config, "trials": 8}
    for verify in (False, True):
        place.write([study_event(resumed=True, config=changed), NoteEvent(None, {"more": "4"})])
        projection = place.project(verify=verify)
    assert projection.runs.ids[STUDY_RUN] == first.runs.ids[STUDY_RUN]
    run = place.store().run(first.runs.ids[STUDY_RUN])
    assert (run.data.params["trials"], run.data.tags["more"]) == ("4", "4")
    file = place.folder / "mlartifacts" / "made-up" / run.info.run_id / "artifacts" / "study.json"
    assert json.loads(file.read_text())["trials"] == 8
    assert not [record for record in caplog.records if "refuses" in record.message]


def test_refused_parameters_cost_nothing_else(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.write([study_event(), *run_events(0, 3)])
    place.project()
    other = start_event(1)
    # A name that is longer than MLflow has room for.
    place.write([dataclasses.replace(other, config={**other.config, "x" * 300: 31})])
    place.write(run_events(1, 4)[1:])
    projection = place.project()
    assert "refuses the parameters of trial-0001" in caplog.text
    history = place.store().metric_history(projection.runs.of_trials["trial-0001"], "val_loss")
    assert [point.step for point in history] == list(range(4))


def test_a_failed_run_that_is_run_again(place: Place) -> None:
    place.write([study_event(), start_event(0), EndEvent("trial-0000", "failed", "no memory")])
    place.project()
    assert place.statuses()["trial-0000"] == "FAILED"
    place.write(run_events(0, 3))
    projection = place.project()
    tags = place.store().run(projection.runs.of_trials["trial-0000"]).data.tags
    assert (tags["status"], tags["reason"]) == ("complete", "")
    assert place.statuses()["trial-0000"] == "FINISHED"


def test_runs_that_were_deleted_come_back_whole(place: Place) -> None:
    place.write(study_events(2, 4))
    projection = place.project()
    place.store().connection.client.delete_run(projection.runs.of_trials["trial-0001"])
    place.project(verify=True)
    key = "trial-0001"
    [run] = place.query(
        f"select run_uuid from runs where name = '{key}' and lifecycle_stage = 'active'"
    )
    history = place.store().metric_history(run[0], "val_loss")
    assert [point.step for point in history] == list(range(4))


def test_a_run_deleted_meanwhile_holds_nothing_up(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.write([study_event(), *run_events(0, 3)[:-1]])
    projection = Projection(place.ledger, place.offset, place.store())
    projection.step()
    place.store().connection.client.delete_run(projection.runs.of_trials["trial-0000"])
    with caplog.at_level(logging.ERROR):
        for number in range(3, 6):
            place.write([EpochsEvent("trial-0000", (epoch(number),))])
            projection.step()
    assert len([r for r in caplog.records if "MLflow refuses trial-0000" in r.message]) == 1
    place.write(run_events(1, 3))
    projection.step()
    projection.close()
    assert place.statuses()["trial-0001"] == "FINISHED"


def later(events: list[Event], milliseconds: int = 5_000_000) -> list[Event]:
    """The same, recorded again at another time."""
    return [dataclasses.replace(event, time=event.time + milliseconds) for event in events]


@pytest.mark.parametrize("offset", ["kept", "lost", "older"])
def test_what_was_lost_and_recorded_again_is_there_once(place: Place, offset: str) -> None:
    events = study_events(3, 6)
    place.write(events[:9])
    place.project()
    older = place.offset.read_bytes()
    place.write(events[9:])
    first = place.project()
    lines = place.ledger.read_bytes().splitlines(keepends=True)
    # In the middle of trial-0000: its end and all that follows are recorded again.
    place.ledger.write_bytes(b"".join(lines[:12]))
    if offset == "lost":
        place.offset.unlink()
    elif offset == "older":
        place.offset.write_bytes(older)
    place.write([study_event(resumed=True), *later(events[12:])])
    again = place.project()
    check_all_there_once(place)
    assert again.runs.of_trials == first.runs.of_trials
    assert set(place.statuses().values()) == {"FINISHED"}


OTHER = {**CONFIG.model_dump(mode="json"), "epochs": 31}


@pytest.mark.parametrize(
    "again",
    [
        # Other values, other settings, fewer epochs.
        [start_event(1), *(EpochsEvent("trial-0001", (epoch(n, 5),)) for n in range(6))],
        [dataclasses.replace(start_event(1), config=OTHER), *run_events(1, 6)[1:]],
        run_events(1, 4),
    ],
)
def test_a_run_that_came_out_differently_after_a_loss_is_made_anew(
    place: Place, again: list[Event]
) -> None:
    place.write(study_events(2, 6))
    first = place.project()
    lines = place.ledger.read_bytes().splitlines(keepends=True)
    kept = next(n for n, line in enumerate(lines) if b'"trial":"trial-0001"' in line)
    place.ledger.write_bytes(b"".join(lines[:kept]))
    place.write([study_event(resumed=True), *later(again), StudyEndEvent("complete")])
    second = place.project()
    check_all_there_once(place)
    for key in ("baseline-seed0", "trial-0000"):
        assert second.runs.ids[key] == first.runs.ids[key]
    assert second.runs.ids["trial-0001"] != first.runs.ids["trial-0001"]


def test_a_run_that_the_ledger_has_lost_for_good_is_deleted(place: Place) -> None:
    place.write(study_events(3, 4))
    place.project()
    lines = place.ledger.read_bytes().splitlines(keepends=True)
    kept = next(n for n, line in enumerate(lines) if b'"trial":"trial-0002"' in line)
    place.ledger.write_bytes(b"".join(lines[:kept]))
    place.project()
    assert "trial-0002" in place.statuses()
    place.write([study_event(resumed=True), StudyEndEvent("complete")])
    place.project()
    check_all_there_once(place)
    assert "trial-0002" not in place.statuses()


def test_two_studies_of_one_name_stay_apart(place: Place, tmp_path: Path) -> None:
    place.write(study_events(1, 3))
    first = place.project()
    other = Place(tmp_path)
    other.ledger = tmp_path / "elsewhere" / "ledger.jsonl"
    other.offset = tmp_path / "elsewhere" / "mlflow.offset"
    other.write([study_event(uid="f" * 32), *run_events(0, 3)])
    second = other.project()
    assert first.runs.experiment == second.runs.experiment
    assert not set(first.runs.of_trials.values()) & set(second.runs.of_trials.values())


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_connection_that_breaks_at_any_call(place: Place, how: str) -> None:
    place.write(study_events(2, 3))
    store = Flaky(place.store(), {})
    place.project(store)
    calls = store.calls
    assert calls > 10
    # Every other call fails, so that each kind of call is hit; which ones shifts with the retries.
    shutil.rmtree(place.ledger.parent)
    place.write([study_event(uid="e" * 32), *study_events(2, 3)[1:]])
    flaky = Flaky(place.store(), dict.fromkeys(range(1, 10 * calls, 2), how))
    projection = Projection(place.ledger, place.offset, flaky)
    failures = 0
    while True:
        try:
            if not projection.step():
                break
        except StoreUnavailableError:
            failures += 1
            assert failures < 10 * calls
    projection.close()
    assert failures >= 10
    uid = "e" * 32
    runs = place.query(
        "select r.name from runs r join tags t using (run_uuid) where t.key = 'study_id' "
        f"and t.value = '{uid}' and r.lifecycle_stage = 'active' order by r.name"
    )
    assert [name for (name,) in runs] == ["baseline-seed0", "made-up", "trial-0000", "trial-0001"]
    found = place.query(
        "select r.name, m.key, m.step, m.value from metrics m join runs r using (run_uuid) "
        f"join tags t using (run_uuid) where t.key = 'study_id' and t.value = '{uid}'"
    )
    assert len(found) == len(set(found))
    assert set(found) == expected_metrics(place.ledger)


_PROJECT = """
import sys
from pathlib import Path
from study.tracking import projection as projector
from study.tracking.addresses import artifact_root
from study.tracking.store import MlflowStore
ledger, offset, uri, folder = sys.argv[1:]
projector.CHUNK = 4000  # many small steps
store = MlflowStore(uri, artifact_root(uri, Path(folder)))
projection = projector.Projection(Path(ledger), Path(offset), store)
print("ready", flush=True)
while projection.step(): pass
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_while_sending_and_going_on(place: Place) -> None:
    place.write(study_events(6, 12))
    command = [sys.executable, "-c", _PROJECT, str(place.ledger), str(place.offset), place.uri]
    command.append(str(place.folder))
    kills = 0
    for wait in (0.0, 0.15, 0.05):
        count = place.query("select count(*) from metrics")[0][0]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # Let it send something more, then kill it in the middle of whatever it does.
            while place.query("select count(*) from metrics")[0][0] <= count:
                if process.poll() is not None:
                    break
                time.sleep(0.005)
            time.sleep(wait)
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
    assert kills >= 2
    place.project()
    check_all_there_once(place)
    assert set(place.statuses().values()) == {"FINISHED"}


def test_a_database_that_stays_locked_is_an_absence(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write([study_event(), *run_events(0, 2)])
    place.project()
    place.write(run_events(1, 2))
    store = place.store()
    # MLflow waits 20 s for a lock; the engine's own timeout is what it says after that.
    monkeypatch.setattr("sqlalchemy.sql.text", _without_busy_timeout())
    projection = Projection(place.ledger, place.offset, store)
    with (
        locked_database(place.folder / "mlflow.db"),
        pytest.raises(StoreUnavailableError, match="locked"),
    ):
        projection.step()
    while projection.step():
        pass
    projection.close()
    check_all_there_once(place)


def _without_busy_timeout() -> Callable[[str], Any]:
    from sqlalchemy.sql import text

    return lambda query: text(query.replace("busy_timeout = 20000", "busy_timeout = 50"))
