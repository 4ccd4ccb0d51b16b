"""Requests to a study that runs: whole files, each answered once."""

from pathlib import Path
from typing import Any

import pytest

from study.records.events import NoteEvent
from study.records.file_lock import take
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from study.records.requests import Reply, Request, RequestBox, box_of_running, recorded_answer
from tests.support.ledgers import study_event, write
from trainables.object_store import ObjectPath


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tmp_path if request.param == "folder" else ObjectPath(tmp_path.as_uri())


def test_a_request_is_there_until_it_is_answered(place: Any) -> None:
    box, asked = RequestBox(place), Request(changes={"trials": 40, "time_budget": None})
    assert box.waiting() == []
    assert box.take_answer(asked) is None
    box.put(asked)
    later = Request(stop=True, trial="trial-0007", id=f"{asked.id}z")
    box.put(later)
    assert RequestBox(place).waiting() == [asked, later]
    box.answer(asked, Reply(True, "trials = 40"))
    assert box.waiting() == [later]
    box.withdraw(later)
    box.withdraw(later)
    assert box.waiting() == []
    assert box.take_answer(asked) == Reply(True, "trials = 40")
    assert box.take_answer(asked) is None


def test_answers_that_nobody_took_are_tidied_away(place: Any) -> None:
    box, asked = RequestBox(place), Request(stop=True)
    box.answer(asked, Reply(False, "no"))
    box.tidy()
    assert box.take_answer(asked) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff", b'{"stop": 1}', b'{"changes": 3}', b'{"trial": []}', b'{"x": 1}',
     b'{"id": "other"}', b"[" * 30_000, b'{"trial": "' + b"x" * 70_000 + b'"}'],
)  # fmt: skip
def test_what_is_no_request_is_removed(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "requests"
    folder.mkdir()
    (folder / "1-a.json").write_bytes(content)
    (folder / ".1-b.json.x").write_bytes(b"being written")
    assert RequestBox(tmp_path).waiting() == []
    assert [path.name for path in folder.iterdir()] == [".1-b.json.x"]


def test_what_was_done_is_read_from_the_ledger(tmp_path: Path) -> None:
    path, asked = tmp_path / "ledger.jsonl", Request(changes={"trials": 9})
    write(path, [study_event()])
    assert recorded_answer(read_ledger(path), asked) is None
    answer = Reply(True, "trials = 9: it was 8")
    write(path, [NoteEvent(None, {asked.tag: str(answer)})])
    assert recorded_answer(read_ledger(path), asked) == answer
    assert recorded_answer(read_ledger(path), Request()) is None


def test_only_a_process_that_holds_the_study_is_asked(tmp_path: Path) -> None:
    folder = StudyFolder.of(tmp_path, "s")
    assert box_of_running(folder) is None
    lock = take(folder.lock)
    assert box_of_running(folder) is not None
    lock.release()
    assert box_of_running(folder) is None
