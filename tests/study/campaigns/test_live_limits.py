"""A study is asked while it runs: limits that change, runs and studies that stop."""

import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import study.tune.capacity
from study.campaigns import ask, live_requests
from study.campaigns.live_requests import to_be_stopped
from study.campaigns.search_study import _SearchCampaign
from study.campaigns.session import Session
from study.commands.study import main
from study.config import StudyConfig
from study.records.events import EndEvent, NoteEvent, StartEvent, StudyEvent, new_uid
from study.records.file_lock import take
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from study.records.remote_lock import remote_lock
from study.records.requests import Reply, Request, RequestBox
from study.tune.capacity import Node
from study.tune.connect import ray_session
from study.tune.limits import Limits
from tests.support.ledgers import CONFIG, DIGEST, write
from tests.support.study_processes import (
    PATIENCE,
    alive,
    check_whole,
    count,
    family,
    optuna_states,
    study_process,
    summary_of,
    wait_until,
)
from trainables.object_store import ObjectPath
from trainables.settings import parse_config

BASE = (
    *("--dataset", "synthetic", "--synthetic-train", "2000", "--synthetic-test", "100"),
    *("--batch-size", "32", "--lr", "0.02", "--epochs", "30", "--space", "static_noise"),
    *("--baseline-seeds", "1", "--max-concurrent", "2", "--race-seeds", "1"),
)


def ledger(folder: Path) -> LedgerState:
    return read_ledger(folder / "ledger.jsonl")


def running(folder: Path) -> list[str]:
    """The trials that run and have trained some epochs."""
    records = ledger(folder).by_role("trial")
    return [r.key for r in records if not r.finished and r.epochs_trained >= 2]


@pytest.mark.slow
def test_a_study_does_what_it_is_asked_and_a_resume_keeps_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, place = tmp_path / "s", ["s", "--storage", str(tmp_path)]
    run = ["run", "--name", *place, "--trials", "12", *BASE]
    with study_process(run) as process:
        wait_until(lambda: bool(running(folder)), process)
        stopped = running(folder)[0]
        assert main(["stop", *place, "--trial", stopped]) == 0
        assert "stopped by hand" in capsys.readouterr().out
        wait_until(lambda: ledger(folder).trials[stopped].finished, process)
        # What can't be is refused, and nothing changes.
        assert main(["set", *place, "--trials", "1"]) == 2
        assert "have begun already" in capsys.readouterr().err
        assert main(["stop", *place, "--trial", stopped]) == 2
        assert "has ended already (failed)" in capsys.readouterr().err
        assert main(["stop", *place, "--trial", "baseline-seed0"]) == 2
        assert json.loads((folder / "study.json").read_text())["trials"] == 12
        assert main(["set", *place, "--trials", "6", "--max-concurrent", "1"]) == 0
        assert "trials = 6 (it was 12)" in capsys.readouterr().out
        everyone = family(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_until(lambda: not alive(everyone))
    begun = [record.key for record in ledger(folder).by_role("trial")]
    assert 2 <= len(begun) <= 6
    # Those that were killed count as running: only further epochs show that it goes on.
    epochs = count(folder / "ledger.jsonl", '"type":"epochs"')
    with study_process(["resume", *place]) as process:
        wait_until(lambda: count(folder / "ledger.jsonl", '"type":"epochs"') > epochs, process)
        assert main(["stop", *place]) == 0
        assert process.wait(PATIENCE) == 130
    assert main(["stop", *place]) == 2
    assert "the study is not running" in capsys.readouterr().err
    with study_process(["resume", *place]) as process:
        assert process.wait(600) == 0
    summary = summary_of(folder)
    states = {trial["trial_id"]: trial["state"] for trial in summary["trials"]}
    assert states.pop(stopped) == "failed"
    assert sorted(states.values()) == ["complete"] * 5
    [reason] = [t["reason"] for t in summary["trials"] if t["trial_id"] == stopped]
    assert reason.startswith("stopped by hand after ")
    assert sorted(optuna_states(folder)) == ["COMPLETE"] * 5 + ["FAIL"]
    # Nothing that was asked is left over, and what was done is on record.
    assert [*(folder / "requests").iterdir()] == []
    study = ledger(folder).study
    assert study is not None
    # What is refused is so here or, if the study has begun more by then, by its process.
    said = [text for tag, text in study.tags.items() if tag.startswith("request.")]
    assert len([text for text in said if text.startswith("done: ")]) == 3
    check_whole(folder)


# A warm start.


@pytest.mark.slow
def test_a_search_begins_with_what_another_found(tmp_path: Path) -> None:
    small = (
        *("--dataset", "synthetic", "--synthetic-train", "200", "--synthetic-test", "40"),
        *("--epochs", "3", "--space", "static_noise", "--max-concurrent", "2"),
        *("--baseline-seeds", "1", "--storage", str(tmp_path), "--race-seeds", "2"),
    )
    warm = ["run", "--name", "b", "--warm-start", "a", "--seed", "5", "--trials", "2", *small]
    with ray_session(StudyConfig()):
        assert main(["run", "--name", "a", "--trials", "3", *small]) == 0
        assert main(warm) == 0
        told = json.loads((tmp_path / "b" / "warm_start.json").read_text())
        complete = [
            trial for trial in summary_of(tmp_path / "a")["trials"] if trial["state"] == "complete"
        ]
        assert [(p["trial"], *p["differences"]) for p in told["points"]] == [
            (trial["trial_id"], trial["paired_difference"]) for trial in complete
        ]
        first = len(told["points"]) + 2
        assert len(optuna_states(tmp_path / "b")) == first
        # Nothing is told twice, and nothing of it is a result of this study.
        assert main(["resume", "b", "--storage", str(tmp_path), "--trials", "+1"]) == 0
    assert len(optuna_states(tmp_path / "b")) == first + 1
    summary = summary_of(tmp_path / "b")
    assert [t["trial_id"] for t in summary["trials"]] == [f"trial-000{n}" for n in range(3)]
    assert {t["seed"] for t in summary["trials"]} == {5}
    assert any(note.startswith("warm start: the sampler knows 3 of") for note in summary["notes"])
    check_whole(tmp_path / "b")


# Without training: a campaign of which only the requests are attended to.


def begun(storage: Path, **fields: Any) -> StudyFolder:
    """A study of which one trial has ended, one runs, and nobody trains it."""
    values = {"name": "s", "storage": str(storage), "trials": 8, "max_concurrent": 1}
    config = parse_config(StudyConfig, values | fields)
    folder = StudyFolder.of(storage, "s")
    folder.write_config(config)
    whole = CONFIG.model_dump(mode="json")
    start = {
        key: StartEvent(key, role, 0, {}, whole, DIGEST)
        for key, role in {
            "baseline-seed0": "baseline",
            "baseline-seed1": "baseline",
            "trial-0000": "trial",
            "trial-0001": "trial",
        }.items()
    }
    study_event = StudyEvent("s", new_uid(), {}, ("tail_val_loss",))
    ended_ = [EndEvent(key, "complete") for key in ("baseline-seed0", "trial-0000")]
    write(folder.ledger, [study_event, *start.values(), *ended_])
    return folder


class Attended:
    """A campaign in this process, which is asked by commands in another thread."""

    def __init__(self, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        config = folder.stored_config()
        assert config is not None
        nodes = [Node("id", "host", 4.0, 0.0)]
        monkeypatch.setattr(study.tune.capacity, "alive_nodes", lambda: nodes)
        self.folder = folder
        self.limits = Limits(samples=6, concurrent=1)
        self.campaign = _SearchCampaign(
            config=config,
            session=Session(folder, config, None),
            images=[],
            objectives=config.objective,
            asked="",
            policy="always",
            again="noise-study resume s",
            began=time.monotonic(),
        )
        self.limits.stopped = self.campaign.stopped

    def asked(self, *words: str) -> int:
        """The exit code of ``noise-study WORDS`` while the campaign attends to requests."""
        lock = take(self.folder.lock)
        try:
            return self.answered([words[0], "--storage", str(self.folder.path.parent), *words[1:]])
        finally:
            lock.release()

    def answered(self, words: Sequence[str]) -> int:
        with ThreadPoolExecutor(1) as other, self.campaign._requests.attended():
            ending = other.submit(main, [words[0], "s", *words[1:]])
            while not ending.done():
                self.campaign._requests.attend(self.limits)
                time.sleep(0.01)
        return ending.result()


@pytest.fixture
def attended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attended:
    return Attended(begun(tmp_path), monkeypatch)


def test_limits_are_changed_stored_and_on_record(
    attended: Attended, capsys: pytest.CaptureFixture[str]
) -> None:
    attended.campaign._phase = "search"
    assert attended.asked("set", "--trials", "+4", "--max-concurrent", "3") == 0
    said = "max_concurrent = 3 (it was 1); trials = 12 (it was 8)"
    assert said in capsys.readouterr().out
    assert attended.asked("set", "--time-budget", "1000") == 0
    assert "time_budget = 1000 (it was none)" in capsys.readouterr().out
    assert (attended.limits.samples, attended.limits.concurrent) == (10, 3)
    left = attended.campaign._search_time_left()
    assert left is not None
    assert 0 < left < 1000  # the race has its share of it
    stored = attended.folder.stored_config()
    assert stored is not None
    assert (stored.trials, stored.max_concurrent, stored.time_budget) == (12, 3, 1000)
    info = read_ledger(attended.folder.ledger).study
    assert info is not None
    answers = [text for tag, text in info.tags.items() if tag.startswith("request.")]
    assert len(answers) == 2
    assert answers[0] == f"done: {said}"
    assert attended.asked("set", "--time-budget", "none") == 0
    assert attended.campaign._search_time_left() is None
    capsys.readouterr()
    assert attended.asked("set", "--max-concurrent", "2") == 0
    assert "(it was 3); what runs now comes to its end" in capsys.readouterr().out


def test_a_study_that_runs_elsewhere_is_asked_through_its_object_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_requests, "REMOTE_SECONDS", 0.2)
    local, store = begun(tmp_path / "there"), tmp_path / "store"
    shutil.copytree(local.path, store / "s")
    folder = StudyFolder(local.path, ObjectPath(store.as_uri()) / "s")
    assert folder.remote is not None
    place = ["--storage", store.as_uri(), "--work-dir", str(tmp_path / "here")]
    assert main(["set", "s", *place, "--trials", "9"]) == 2
    assert "the study is not running" in capsys.readouterr().err
    there = Attended(folder, monkeypatch)
    with remote_lock(folder.path, folder.remote):
        assert there.answered(["set", *place, "--trials", "9"]) == 0
        assert there.answered(["stop", *place, "--trial", "trial-0009"]) == 2
    captured = capsys.readouterr()
    assert "trials = 9 (it was 8)" in captured.out
    assert "no such run has begun" in captured.err
    assert there.campaign.config.trials == 9
    assert [*(store / "s" / "requests").iterdir()] == []


def test_before_the_search_more_trials_are_for_later(attended: Attended) -> None:
    assert attended.asked("set", "--trials", "12") == 0
    assert attended.limits.samples == 6  # those of the baseline
    assert attended.campaign.config.trials == 12


@pytest.mark.parametrize(("phase", "over"), [("search", True), ("race", False)])
def test_a_search_that_is_over_gets_no_more_trials(
    attended: Attended, capsys: pytest.CaptureFixture[str], phase: Any, over: bool
) -> None:
    attended.campaign._phase = phase
    attended.limits.over = over
    assert attended.asked("set", "--trials", "12") == 2
    assert "extend it: noise-study resume s --trials N" in capsys.readouterr().err
    assert attended.campaign.config.trials == 8
    assert attended.asked("set", "--max-concurrent", "2") == 0


def test_a_run_is_stopped_by_hand_and_a_resume_knows_it(attended: Attended) -> None:
    assert attended.asked("stop", "--trial", "trial-0001") == 0
    assert attended.limits.stopped == {"trial-0001"}
    assert to_be_stopped(read_ledger(attended.folder.ledger)) == {"trial-0001"}


def test_a_study_inside_another_program_can_be_stopped_by_that_alone(
    attended: Attended, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attended.asked("stop") == 2
    assert "inside another program" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set"], "nothing is changed; give --trials"),
        (["set", "--trials", "1"], "2 have begun already; give at least 2"),
        (["set", "--trials", "0"], "trials (--trials) = "),
        (["set", "--trials", "+x"], "trials (--trials) = "),
        (["set", "--trials", "+" + "9" * 5000], "trials (--trials) = "),
        (["set", "--max-concurrent", "0"], "max_concurrent (--max-concurrent) = "),
        (["set", "--time-budget", "nan"], "time_budget (--time-budget) = "),
        (["stop", "--trial", "trial-0009"], "no such run has begun"),
        (["stop", "--trial", "../x"], "no such run has begun"),
        (["stop", "--trial", "trial-0000"], "it has ended already (complete)"),
        (["stop", "--trial", "baseline-seed1"], "others are compared with it"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_is_written(
    attended: Attended, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    before = contents(attended.folder)
    assert attended.asked(*words) == 2
    assert message in capsys.readouterr().err
    assert contents(attended.folder) == before


def contents(folder: StudyFolder) -> dict[str, bytes]:
    files = [path for path in folder.path.rglob("*") if path.is_file() and path != folder.lock]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set", "--trials", "40", "--time-budget", "none"],
         "go on with it so: noise-study resume s --storage {} --trials 40 --time-budget none"),
        (["stop"], "not running; there is nothing to stop"),
        (["stop", "--trial", "trial-0001"], "not running; there is nothing to stop"),
    ],
)  # fmt: skip
def test_a_study_that_does_not_run_is_not_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    folder = begun(tmp_path)
    before = contents(folder)
    assert main([words[0], "s", "--storage", str(tmp_path), *words[1:]]) == 2
    assert message.format(tmp_path) in capsys.readouterr().err
    assert contents(folder) == before
    assert main([words[0], "t", "--storage", str(tmp_path), *words[1:]]) == 2
    assert "no such study; allowed: s" in capsys.readouterr().err


def test_given_configurations_have_an_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(tmp_path, configs=[{"noise/patience": 3}])
    assert main(["set", "s", "--storage", str(tmp_path), "--trials", "9"]) == 2
    assert "a list of given configurations" in capsys.readouterr().err


def test_what_nobody_answers_is_queued_or_withdrawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "WAIT_SECONDS", 0.3)
    folder, place = begun(tmp_path), ["s", "--storage", str(tmp_path)]
    lock = take(folder.lock)
    assert main(["set", *place, "--trials", "9"]) == 0
    assert "queued: no answer" in capsys.readouterr().out
    box = RequestBox(folder.path)
    [queued] = box.waiting()
    assert queued.changes == {"trials": 9}
    # It ends while an answer is looked for.
    take_answer = RequestBox.take_answer

    def ending(self: RequestBox, request: Request) -> Reply | None:
        assert len(self.waiting()) == 2
        lock.release()
        return take_answer(self, request)

    monkeypatch.setattr(RequestBox, "take_answer", ending)
    assert main(["set", *place, "--trials", "10"]) == 2
    assert "ended before it could act" in capsys.readouterr().err
    assert box.waiting() == [queued]


def test_a_file_that_asks_for_more_changes_nothing(attended: Attended) -> None:
    box = RequestBox(attended.folder.path)
    before = attended.campaign.config
    asked = [
        Request(changes={"tracking_uri": "http://elsewhere"}, id="1-a"),
        Request(changes={"trials": 9, "train": {"epochs": 1}}, id="1-b"),
        Request(changes={"trials": "many"}, id="1-c"),
        Request(id="1-d"),
    ]
    for request in asked:
        box.put(request)
    assert attended.asked("set", "--max-concurrent", "1") == 0
    assert attended.campaign.config == before
    answers = [box.take_answer(request) for request in asked]
    assert [answer is not None and answer.done for answer in answers] == [False] * 4


def test_a_full_disk_changes_nothing(
    attended: Attended, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StudyFolder, "write_config", full)
    assert attended.asked("set", "--trials", "12") == 2
    assert "No space left on device); nothing is changed" in capsys.readouterr().err
    assert (attended.campaign.config.trials, attended.limits.samples) == (8, 6)


def test_what_cant_be_recorded_is_answered_all_the_same(
    attended: Attended, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Session, "append", full)
    assert attended.asked("set", "--max-concurrent", "2") == 0
    assert "max_concurrent = 2" in capsys.readouterr().out


def test_what_a_killed_process_left_is_done_once(
    attended: Attended, capsys: pytest.CaptureFixture[str]
) -> None:
    box, session = RequestBox(attended.folder.path), attended.campaign.session
    waiting = Request(changes={"trials": 9}, id="1-a")
    done = Request(changes={"trials": 10}, id="1-b")
    session.append(NoteEvent(None, {done.tag: "done: trials = 10"}))
    # This one was asked of the process that goes on, before it looked for the first time.
    stop = Request(stop=True)
    for request in (waiting, done, Request(stop=True, id="1-c"), stop):
        box.put(request)
    assert attended.asked("set", "--max-concurrent", "2") == 0
    assert attended.campaign.config.trials == 9
    assert box.waiting() == []
    answer = box.take_answer(Request(id="1-c"))
    assert answer is not None
    assert answer.text == "the process that was to stop is gone"
    answer = box.take_answer(stop)
    assert answer is not None
    assert answer.text == "it runs inside another program, which alone can stop it"
