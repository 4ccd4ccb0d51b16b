"""The projector: whatever happens to MLflow or to us, everything arrives there once, in order."""

import dataclasses
import json
import logging
import math
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from study.records.events import (
    ArtifactEvent,
    EndEvent,
    EpochsEvent,
    Event,
    NoteEvent,
    StudyEndEvent,
)
from study.records.ledger import Ledger
from study.records.ledger_view import read_ledger
from study.tracking import reader as reader_module
from study.tracking.addresses import artifact_root, resolve_uri
from study.tracking.projection import LedgerHeldError, Projection
from study.tracking.projector import LedgerProjector
from study.tracking.reader import metric_points, parameters
from study.tracking.store import MlflowStore
from study.tracking.sync import sync
from study.tracking.types import NOTE_TAG, STUDY_RUN, MetricPoint, StoreUnavailableError
from tests.support.ledgers import (
    CONFIG,
    TIME,
    epoch,
    run_events,
    start_event,
    study_event,
    study_events,
    write,
)
from tests.support.servers import broken_server, free_port, locked_database, mlflow_server
from trainables.metrics import OBJECTIVES, STATISTICS, EpochMetrics

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


@pytest.fixture
def place(tmp_path: Path, empty_database: Path) -> Place:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Place(tmp_path)


@pytest.fixture
def patient() -> Iterator[list[LedgerProjector]]:
    """Projectors that are stopped at the end."""
    started: list[LedgerProjector] = []
    yield started
    for projector in started:
        projector.stop()


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
            for point in metric_points(row, SIGNALS, 0):
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
        "select r.name, m.key, m.step, m.value from metrics m join runs r using (run_uuid)"
    )


def check_all_there_once(place: Place) -> None:
    found = sent_metrics(place)
    assert len(found) == len(set(found))
    assert set(found) == expected_metrics(place.ledger)
    active = place.query("select name from runs where lifecycle_stage = 'active'")
    assert len(active) == len(set(active)) == len(read_ledger(place.ledger).trials) + 1


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


def test_the_parents_description_says_what_matters(place: Place) -> None:
    place.write([study_event(), *run_events(None, 3)])
    projection = place.project()
    note = _note(place, projection)
    assert "Does noise help?" in note
    assert "the study is still running" in note
    place.write([*run_events(0, 3), *run_events(1, 3)])
    (place.ledger.parent / "report.html").write_text("<p>")
    place.write([ArtifactEvent(None, "report.html")])
    place.write([StudyEndEvent("complete", best="trial-0001")])
    projection = place.project()
    note = _note(place, projection)
    run = projection.runs.of_trials["baseline-seed0"]
    experiment = projection.runs.experiment
    assert f"[baseline-seed0](#/experiments/{experiment}/runs/{run}?" in note
    assert "+0.0010 beside the baseline" in note
    assert "2 complete" in note
    assert f"runs/{projection.runs.ids[STUDY_RUN]}/artifacts/report.html" in note
    assert "viewStateShareKey=noise-study" in note
    view = place.query("select value from experiment_tags where key like 'mlflow.sharedView%'")
    assert "tags.`role`" in json.loads(view[0][0])["selectedColumns"]


def _note(place: Place, projection: Projection) -> str:
    run = place.store().run(projection.runs.ids[STUDY_RUN])
    note: str = run.data.tags[NOTE_TAG]
    return note


def test_metrics_have_the_methods_names() -> None:
    row = epoch(
        7,
        noise_kind="gradient",
        noise_magnitude=0.5,
        noise_severity=0.75,
        noise_phase="injecting",
        signals=("stuck",),
    )
    points = {point.key: point for point in metric_points(row, ("stuck", "overfitting"), 42)}
    assert set(STATISTICS) < points.keys()
    assert {point.step for point in points.values()} == {7}
    assert {point.time for point in points.values()} == {42}
    controller = {key: points[key].value for key in points if key not in STATISTICS}
    assert controller == {
        "noise_magnitude": 0.5,
        "noise_severity": 0.75,
        "injected": 1.0,
        "cooldown": 0.0,
        "signal_stuck": 1.0,
        "signal_overfitting": 0.0,
    }
    cooling = metric_points(epoch(8, noise_phase="cooldown"), (), 42)
    assert ("cooldown", 1.0) in {(point.key, point.value) for point in cooling}
    assert not set(OBJECTIVES) & points.keys()


def test_parameters_are_flat_and_hold_no_secret() -> None:
    config = {"a": {"b": [1, 2], "c": None}, "uri": "http://me:hunter2@h", "on": True, "x": 0.1}
    assert parameters(config) == {
        "a/b": "[1, 2]",
        "a/c": "null",
        "uri": "http://***@h",
        "on": "true",
        "x": "0.1",
    }


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
    projection = place.project()
    run_id = projection.runs.of_trials["trial-0000"]
    place.offset.unlink()
    lines = place.ledger.read_bytes().splitlines(keepends=True)
    place.ledger.write_bytes(lines[0])
    other = start_event(0)
    place.write([dataclasses.replace(other, config={**other.config, "epochs": 31})])
    place.write(run_events(0, 4)[1:])
    place.project()
    assert "refuses the parameters of trial-0000" in caplog.text
    history = place.store().metric_history(run_id, "val_loss")
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


def test_only_what_is_new_is_sent(place: Place) -> None:
    place.write(study_events(2, 4, ended=False))
    assert place.project().status(None).events == len(study_events(2, 4, ended=False))
    silent = Flaky(place.store(), {})
    assert place.project(silent).status(None).events == 0
    assert silent.calls == 0
    place.write(run_events(2, 4))
    assert place.project().status(None).events == len(run_events(2, 4))
    check_all_there_once(place)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"offset": 10}', '{"store": "sqlite:///other.db", "offset": 99}']
)
def test_a_damaged_or_foreign_offset_sends_all_again(place: Place, content: str) -> None:
    place.write(study_events(1, 3))
    place.project()
    place.offset.write_text(content)
    assert place.project().status(None).events == len(study_events(1, 3))
    check_all_there_once(place)


def test_an_offset_that_is_not_a_lines_end_sends_all_again(place: Place) -> None:
    place.write(study_events(1, 3))
    place.project()
    saved = json.loads(place.offset.read_text())
    for wrong in (saved["offset"] - 3, saved["offset"] + 10_000):
        place.offset.write_text(json.dumps({**saved, "offset": wrong}))
        place.project()
        check_all_there_once(place)
    assert json.loads(place.offset.read_text())["offset"] == place.ledger.stat().st_size


def lose_lines(ledger: Path, count: int) -> None:
    """What a power failure takes with it, though it was read and sent before."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-count]))


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("lost", [1, 2, 5])
def test_what_the_ledger_lost_after_it_was_sent_is_there_once(
    place: Place, lost: int, saved: bool
) -> None:
    whole = [study_event(), *run_events(None, 3), *run_events(0, 3)]
    place.write(whole[:-lost])
    place.project()
    before = place.offset.read_bytes()
    place.write(whole[-lost:])
    place.project()
    lose_lines(place.ledger, lost)
    if not saved:
        place.offset.write_bytes(before)
    # The trial goes on from a checkpoint: the same figures, at another time.
    again = [dataclasses.replace(event, time=event.time + 777) for event in whole[-lost:]]
    place.write([study_event(resumed=True, time=TIME + 5000), *again, *run_events(1, 4)])
    place.project()
    check_all_there_once(place)


def test_another_line_in_the_place_of_a_lost_one_is_sent(place: Place) -> None:
    lost, other = (EpochsEvent(f"trial-000{trial}", (epoch(2),), time=TIME) for trial in (0, 1))
    place.write([study_event(), *run_events(0, 2)[:-1], *run_events(1, 2)[:-1], lost])
    place.project()
    size = place.ledger.stat().st_size
    lose_lines(place.ledger, 1)
    place.write([other])
    assert place.ledger.stat().st_size == size
    place.project()
    assert expected_metrics(place.ledger) <= {*sent_metrics(place)}


def test_a_run_made_just_before_a_crash_is_found_again(place: Place) -> None:
    place.write([study_event(), *run_events(0, 3)])
    place.project()
    place.write(run_events(1, 3))
    before = place.offset.read_bytes()
    first = place.project()
    place.offset.write_bytes(before)  # it died before it could save how far it was
    assert place.project().runs.of_trials == first.runs.of_trials
    check_all_there_once(place)


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


def test_a_second_process_may_not_send_the_same_ledger(place: Place) -> None:
    place.write(study_events(1, 2))
    first = Projection(place.ledger, place.offset, place.store())
    first.step()
    with pytest.raises(LedgerHeldError):
        sync(place.ledger, place.offset, place.store())
    first.close()
    assert sync(place.ledger, place.offset, place.store()).error is None


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
        assert time.monotonic() - began < 1
        assert not projector.flush(0.7)
        assert projector.status.behind > 0
    assert projector.flush(60)
    check_all_there_once(place)


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


def test_artifacts_that_cannot_be_stored_hold_no_metric_up(
    place: Place, patient: list[LedgerProjector]
) -> None:
    blocked = place.folder / "mlartifacts"
    blocked.write_text("a file where the folder should be")
    said: list[str] = []
    projector = begin(place, patient, say=said.append)
    place.write(study_events(1, 3))
    assert not projector.flush(3)
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

    def once_broken(row: EpochMetrics, signals: tuple[str, ...], time: int) -> list[MetricPoint]:
        calls.append(row)
        if len(calls) == 1:
            raise ZeroDivisionError("a bug")
        return real(row, signals, time)

    monkeypatch.setattr(reader_module, "metric_points", once_broken)
    said: list[str] = []
    projector = begin(place, patient, say=said.append)
    place.write(study_events(1, 3))
    assert projector.flush(60)
    assert "a bug" in said[0]
    check_all_there_once(place)
