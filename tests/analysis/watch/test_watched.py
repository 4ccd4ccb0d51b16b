"""What is watched: how far it is, and a page in every state; from growing files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.reading import load_grid
from analysis.watch.server import Renewed, answer
from analysis.watch.watched import WatchedGrid, WatchedRecords, WatchedRun, WatchedStudy
from study.records.events import EndEvent, EpochsEvent, StartEvent, StudyEvent, now_ms
from study.records.file_lock import take
from study.records.folder import StudyFolder
from study.records.ledger import Ledger
from study.records.remote_lock import remote_lock
from study.records.storage import Storage
from tests.support.trained_studies import (
    BASE,
    EPOCHS,
    TRIALS,
    history,
    write_confirmation,
    write_grid,
    write_run,
    write_study,
)
from trainables.config import apply_overrides
from trainables.errors import InputError
from trainables.metrics import objective_values
from trainables.noise.fork import baseline_digest

PLAIN = apply_overrides(BASE, {"noise/policy": "off"})


def study(storage: Path, name: str) -> WatchedStudy:
    return WatchedStudy(Storage.of(storage), name)


def title(watched: WatchedRecords) -> str:
    text = watched.page().html()
    return text.split("<h1>")[1].split("</h1>")[0]


def test_a_study_from_nothing_to_its_first_trials(tmp_path: Path) -> None:
    config = write_study(tmp_path, "grows", trials=(), seeds=0, over=False, race_seeds=1)
    folder, watched = StudyFolder.of(tmp_path, "grows"), study(tmp_path, "grows")
    lock = take(folder.lock)
    first = watched.status()
    assert (first.state, first.done, first.wanted) == ("running", 0, 2 * EPOCHS)
    assert first.left.endswith("starting workers")
    assert title(watched) == "Study grows"
    before = watched.stamp()
    rows, now = history(PLAIN), now_ms()
    values = PLAIN.model_dump(mode="json")
    with Ledger(folder.ledger) as ledger:
        ledger.append(
            StudyEvent("grows", "grows", config.model_dump(mode="json"), ("x",), "?", time=now)
        )
        digest = baseline_digest(PLAIN)
        ledger.append(StartEvent("baseline-seed0", "baseline", 0, {}, values, digest, time=now))
        ledger.append(EpochsEvent("baseline-seed0", rows, time=now))
    assert watched.stamp() != before
    half = watched.status()
    assert (half.state, half.done) == ("running", EPOCHS)
    with Ledger(folder.ledger) as ledger:
        ended = objective_values(rows)
        end = EndEvent("baseline-seed0", "complete", values=ended, epochs_trained=EPOCHS)
        ledger.append(replace(end, time=now + 12_000))
        start = StartEvent("trial-0000", "trial", 0, {}, values, digest, time=now + 12_000)
        ledger.append(start)
    later = watched.status()
    assert "baseline 1/1 · 1 running" in later.line
    # One second an epoch, and the trial's twelve are to come.
    assert later.left.endswith("about 12s left")
    lock.release()


def test_what_nothing_trains_is_said_to_have_stopped(tmp_path: Path) -> None:
    write_study(tmp_path, "left", trials=TRIALS[:2], over=False)
    watched = study(tmp_path, "left")
    assert (watched.status().state, watched.status().left) == ("stopped", "")
    lock = take(StudyFolder.of(tmp_path, "left").lock)
    assert study(tmp_path, "left").status().state == "running"
    lock.release()


def test_what_another_machine_trains_is_known_by_its_lock_in_the_store(tmp_path: Path) -> None:
    write_study(tmp_path / "store", "far", trials=TRIALS[:2], over=False)
    where = Storage.of((tmp_path / "store").as_uri(), str(tmp_path / "here"))
    far = StudyFolder.fetched(where, "far")
    assert WatchedStudy(where, "far").status().state == "stopped"
    assert far.remote is not None
    with remote_lock(tmp_path / "there", far.remote):
        assert WatchedStudy(where, "far").status().state == "running"


def test_what_is_removed_while_it_is_watched_is_told(tmp_path: Path) -> None:
    write_study(tmp_path, "gone")
    write_grid(tmp_path, "rates")
    view = load_grid(Storage.of(tmp_path), "rates")
    assert view is not None
    for watched in (study(tmp_path, "gone"), WatchedGrid(view)):
        report = Renewed(watched)
        assert b"problem" not in answer(report, "/status").content
        shutil.rmtree(tmp_path / watched.name)
        for path in ("/status", "/parts"):
            found = answer(report, path)
            assert found.code == 200
            assert "problem" in json.loads(found.content)


def test_a_confirmation_is_followed_once_there_is_one(tmp_path: Path) -> None:
    write_study(tmp_path, "sure", race_seeds=1)
    watched = study(tmp_path, "sure")
    found, before = watched.status(), watched.stamp()
    assert (found.state, found.done) == ("finished", found.wanted)
    write_confirmation(StudyFolder.of(tmp_path, "sure"), "trial-0000", (2, 3))
    found = watched.status()
    assert watched.stamp() != before
    assert found.line.startswith("confirmation: baseline 2/2")
    assert (found.state, found.done) == ("stopped", 4 * EPOCHS)
    assert "The confirmation is not finished" in watched.page().html()


def test_a_grid(tmp_path: Path) -> None:
    write_grid(tmp_path, "rates")
    view = load_grid(Storage.of(tmp_path), "rates")
    assert view is not None
    watched = WatchedGrid(view)
    found = watched.status()
    assert (found.state, found.done, found.wanted) == ("finished", 6 * EPOCHS, 6 * EPOCHS)
    assert title(watched) == "Grid rates"


def test_a_single_run_from_its_configuration_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "metrics" / "plain", PLAIN)
    rows = folder / "epoch_metrics.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    rows.unlink()
    watched = WatchedRun(folder)
    lock = take(folder.parent / ".plain.lock")
    assert watched.status().state == "running"
    assert (watched.status().done, watched.status().left) == (0, "")
    assert "No epoch is complete yet." in watched.page().html()
    before = watched.stamp()
    rows.write_text("".join(lines[:4]) + lines[4][:20])
    assert watched.stamp() != before
    assert watched.status().line == f"4 of {EPOCHS} epochs"
    assert watched.status().left.startswith("about ")
    assert f"4 of {EPOCHS} epochs" in watched.page().html()
    rows.write_text("".join(lines))
    lock.release()
    (folder / "final_metrics.json").write_text("{}")
    assert (watched.status().state, watched.status().left) == ("finished", "")


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path, "known", trials=TRIALS[:1], seeds=1)
    with pytest.raises(InputError, match="no such study; did you mean 'known'"):
        study(tmp_path, "unknown")
