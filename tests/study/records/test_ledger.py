"""The ledger: what was appended is read back, whatever happened to the file in between."""

import dataclasses
import json
import logging
import math
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.records.events import (
    ArtifactEvent,
    EndEvent,
    EpochsEvent,
    Event,
    NoteEvent,
    StudyEndEvent,
)
from study.records.ledger import Ledger, LedgerError, decode, encode, read_chunk
from study.records.ledger_view import LedgerView, read_ledger
from tests.support.ledgers import CONFIG, epoch, run_events, start_event, study_event, study_events
from tests.support.ledgers import write as write_events
from trainables.config import TrainConfig

EVENTS: list[Event] = [
    study_event(),
    start_event(3),
    EpochsEvent("trial-0003", (epoch(0), epoch(1, signals=("stuck",), noise_kind="gradient"))),
    EpochsEvent("trial-0003", (epoch(2),), shared=True, time=7),
    NoteEvent(None, {"a": "b"}),
    ArtifactEvent("trial-0003", "plots/ünï\u2028.png", "plots"),
    EndEvent("trial-0003", "failed", 'ValueError: "x"\nat line 3', seconds=2.0),
    EndEvent("trial-0003", "complete", values={"best_val_accuracy": 0.1 + 0.2}, fork_epoch=4),
    StudyEndEvent("interrupted", tags={"why": "Ctrl-C"}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == event


def test_a_figure_that_came_later_is_written_only_where_it_is_known() -> None:
    without, known = epoch(0), epoch(1, clean_train_accuracy=0.5)
    event = EpochsEvent("trial-0003", (without, known))
    line = encode(event)
    rows = json.loads(line)["rows"]
    assert [row.get("clean_train_accuracy", "absent") for row in rows] == ["absent", 0.5]
    assert decode(line) == event


@given(
    st.lists(st.floats(), min_size=7, max_size=7),
    st.dictionaries(st.text(), st.text()),
    st.text(),
)
def test_any_numbers_and_texts_come_back(
    numbers: list[float], tags: dict[str, str], reason: str
) -> None:
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "grad_norm", "lr")
    row = epoch(0, **dict(zip(names, numbers, strict=False)))
    back = decode(encode(EpochsEvent("t", (row,))))
    assert isinstance(back, EpochsEvent)
    for name in names:
        expected, found = getattr(row, name), getattr(back.rows[0], name)
        assert found == expected or (math.isnan(expected) and math.isnan(found))
    assert decode(encode(NoteEvent("t", tags, 1))) == NoteEvent("t", tags, 1)
    assert decode(encode(EndEvent("t", "failed", reason, time=1))).reason == reason  # type: ignore[union-attr]


def test_a_reason_that_is_no_unicode_comes_back() -> None:
    event = EndEvent("t", "failed", "can't read b\udcff.png")
    assert decode(encode(event)) == event


def test_lines_are_strict_json() -> None:
    row = epoch(0, train_loss=math.nan, val_loss=math.inf, grad_norm=-math.inf)
    end = EndEvent("t", "failed", values={"best_val_loss": math.nan})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    for event in [*EVENTS, EpochsEvent("t", (row,)), end]:
        line = json.loads(encode(event), parse_constant=refuse)
        assert len(line["crc"]) == 8
    back = decode(encode(EpochsEvent("t", (row,))))
    assert isinstance(back, EpochsEvent)
    assert math.isnan(back.rows[0].train_loss)
    assert back.rows[0].val_loss == math.inf
    assert back.rows[0].grad_norm == -math.inf


def test_other_alphabets_are_written_as_they_are() -> None:
    line = encode(NoteEvent(None, {"asked": "Hilft Rauschen übers Jahr?"}))
    assert "übers".encode() in line


def test_an_event_of_another_version_is_named() -> None:
    line = encode(NoteEvent("t", {}, 1))
    body = line[18:].replace(b'"note"', b'"news"').rstrip(b"\n")
    with pytest.raises(LedgerError, match="another version"):
        decode(b'{"crc":"%08x",%s\n' % (zlib.crc32(body), body))


def test_the_state_is_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "study" / "ledger.jsonl"
    write_events(path, study_events(2, 5))
    state = read_ledger(path)
    assert state.study is not None
    assert (state.study.name, state.study.state, state.study.best) == (
        "made-up",
        "complete",
        "trial-0000",
    )
    assert list(state.trials) == ["baseline-seed0", "trial-0000", "trial-0001"]
    assert [record.key for record in state.by_role("trial")] == ["trial-0000", "trial-0001"]
    record = state.trials["trial-0001"]
    assert record.finished
    assert record.history == tuple(epoch(number, 1) for number in range(5))
    assert record.overrides == {"noise/patience": 1}
    assert TrainConfig.model_validate(record.config) == CONFIG
    assert record.paired_difference == {"best_val_accuracy": 0.001}
    assert record.seconds == 1.5
    assert state.trials["baseline-seed0"].tags == {"pinned": "true"}
    assert state.offset == path.stat().st_size
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.state = "failed"  # type: ignore[misc]


def test_a_missing_ledger_is_empty(tmp_path: Path) -> None:
    state = read_ledger(tmp_path / "none.jsonl")
    assert state.study is None
    assert not state.trials


def test_an_unfinished_trial_has_no_state(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    shared = EpochsEvent("trial-0000", (epoch(0), epoch(1)), shared=True)
    trained = EpochsEvent("trial-0000", (epoch(2, noise_kind="weight"),))
    write_events(path, [study_event(), start_event(0), shared, trained])
    record = read_ledger(path).trials["trial-0000"]
    assert record.state is None
    assert not record.finished
    assert (record.shared_epochs, record.epochs_trained) == (2, 1)
    assert record.first_injection_epoch == 2


def test_a_failed_trial_that_starts_again_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    failed = EndEvent("trial-0000", "failed", "RuntimeError: no memory")
    write_events(path, [study_event(), start_event(0), failed])
    assert read_ledger(path).trials["trial-0000"].reason == "RuntimeError: no memory"
    write_events(path, [start_event(0)])
    assert read_ledger(path).trials["trial-0000"].state is None


def test_an_epoch_reported_again_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.jsonl"
    nan = epoch(1, train_loss=math.nan)
    again = [EpochsEvent("trial-0000", (row,)) for row in (epoch(0), nan, epoch(0), nan)]
    write_events(path, [study_event(), start_event(0), *again])
    record = read_ledger(path).trials["trial-0000"]
    assert [row.epoch for row in record.history] == [0, 1]
    assert not caplog.records

    write_events(path, [EpochsEvent("trial-0000", (epoch(0, train_loss=9.0),))])
    assert read_ledger(path).trials["trial-0000"].history[0] == epoch(0)
    assert "different numbers" in caplog.text


def test_every_cut_of_the_last_line_is_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = [study_event(), start_event(0), EpochsEvent("trial-0000", (epoch(0),))]
    lines = [encode(event) for event in events]
    whole = b"".join(lines)
    before = len(whole) - len(lines[-1])
    for cut in range(before + 1, len(whole)):
        caplog.clear()
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        assert len(read_chunk(path).events) == 2
        with Ledger(path) as ledger:
            ledger.append(EpochsEvent("trial-0000", (epoch(7),)))
        state = read_ledger(path)
        lost = cut < len(whole) - 1
        assert [row.epoch for row in state.trials["trial-0000"].history] == [0, 7][lost:]
        assert not state.damage
        assert ("cut short" in caplog.text) == lost


def test_a_tail_of_zeros_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write_events(path, [study_event(), start_event(0)])
    with path.open("ab") as file:
        file.write(b"\0" * 200_000)
    write_events(path, [EpochsEvent("trial-0000", (epoch(0),))])
    assert len(read_ledger(path).trials["trial-0000"].history) == 1


def test_a_single_torn_byte_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"{")
    Ledger(path).close()
    assert path.read_bytes() == b""


def test_a_damaged_line_is_named_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.jsonl"
    write_events(path, [study_event(), *run_events(0, 6)])
    lines = path.read_bytes().split(b"\n")
    lines[4] = lines[4].replace(b"0.", b"1.", 1)
    path.write_bytes(b"\n".join(lines))
    state = read_ledger(path)
    assert [damage.line for damage in state.damage] == [5]
    assert state.damage[0].offset == sum(len(line) + 1 for line in lines[:4])
    assert "line 5" in caplog.text
    assert str(path) in caplog.text
    record = state.trials["trial-0000"]
    assert record.lost_epochs == (2,)
    assert [row.epoch for row in record.history] == [0, 1, 3, 4, 5]
    assert record.state == "complete"


def test_a_trial_whose_start_is_damaged_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.jsonl"
    write_events(path, [study_event(), *run_events(0, 2), *run_events(1, 2)])
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1][:-5]
    path.write_bytes(b"\n".join(lines))
    assert list(read_ledger(path).trials) == ["trial-0001"]
    assert caplog.text.count("the start of trial-0000 is lost") == 1


WHOLE = b"".join(encode(event) for event in study_events(2, 4))
WHOLE_EVENTS = study_events(2, 4)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_damaged_byte_costs_its_own_line_only(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int
) -> None:
    content = bytearray(WHOLE)
    content[position] ^= change
    path = tmp_path_factory.mktemp("damage") / "ledger.jsonl"
    path.write_bytes(content)
    chunk = read_chunk(path)
    # A line's end that vanishes takes the next line with it, too.
    end_lost = WHOLE[position : position + 1] == b"\n"
    assert [event for event in WHOLE_EVENTS if event not in chunk.events] == [
        event
        for number, event in enumerate(WHOLE_EVENTS)
        if number in _lines_hit(position, end_lost)
    ]
    assert all(event in WHOLE_EVENTS for event in chunk.events)


def _lines_hit(position: int, end_lost: bool) -> set[int]:
    line = WHOLE.count(b"\n", 0, position)
    return {line, line + 1} if end_lost else {line}


def test_a_view_that_follows_sees_what_a_reader_sees(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    view = LedgerView(path)
    assert not view.refresh().trials
    content = b"".join(encode(event) for event in study_events(3, 7))
    written = 0
    for size in (1, 30, 700, 5_000, 100, 10**9):
        with path.open("ab") as file:
            file.write(content[written : written + size])
        written += size
        assert view.refresh() == read_ledger(path)
    assert len(view.refresh().trials) == 4


def test_small_chunks_give_the_same_events(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(WHOLE)
    events: list[Event] = []
    offset = 0
    while (chunk := read_chunk(path, offset, max_bytes=500)).lines:
        events += chunk.events
        offset = chunk.offset
    assert events == WHOLE_EVENTS
    assert offset == len(WHOLE)


def test_a_full_disk_costs_nothing_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(study_event())
    ledger.append(start_event(0))
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The operating system writes a part of the line and refuses the rest, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))
    try:
        for number in range(3):
            with pytest.raises(OSError, match="too large"):
                ledger.append(EpochsEvent("trial-0000", (epoch(number),)))
            assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ledger.append(EpochsEvent("trial-0000", (epoch(3),)))
    ledger.close()
    state = read_ledger(path)
    assert [row.epoch for row in state.trials["trial-0000"].history] == [0, 1, 2, 3]
    assert not state.damage


def test_ends_are_on_the_disk_when_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "down" / "ledger.jsonl"
    synchronised: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        synchronised.append("folder" if is_folder else "file")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with Ledger(path) as ledger:
        assert synchronised == ["folder"], "the new file's name"
        for event, durable in (
            (study_event(), True),
            (start_event(0), False),
            (EpochsEvent("trial-0000", (epoch(0),)), False),
            (NoteEvent(None, {}), False),
            (EndEvent("trial-0000", "complete"), True),
            (StudyEndEvent("complete"), True),
        ):
            synchronised.clear()
            ledger.append(event)
            assert synchronised == ["file"] * durable
        synchronised.clear()
    assert synchronised == ["file"], "what is left, when it is closed"
    ledger.close()
    with Ledger(path):
        assert synchronised == ["file"], "nothing for a file that is there and whole"
    assert path.stat().st_mode & 0o133 == 0, "nobody executes it, and only its owner writes"


_APPEND_FOR_EVER = """
import sys
from pathlib import Path
from study.records.events import EpochsEvent
from study.records.ledger import Ledger
from tests.support.ledgers import epoch, start_event, study_event
ledger = Ledger(Path(sys.argv[1]))
ledger.append(study_event()); ledger.append(start_event(0))
number = 0
while True:
    ledger.append(EpochsEvent("trial-0000", (epoch(number),)))
    number += 1
    if number == 50: print("going", flush=True)
"""


def test_what_was_appended_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", _APPEND_FOR_EVER, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"going\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    Ledger(path).close()
    state = read_ledger(path)
    history = state.trials["trial-0000"].history
    assert len(history) >= 50
    assert [row.epoch for row in history] == list(range(len(history)))
    assert not state.damage


def test_importing_the_ledger_imports_nothing_heavy() -> None:
    code = (
        "import sys, study.records.ledger, study.records.ledger_view; "
        "print([name for name in ('ray', 'mlflow', 'torch', 'optuna') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert output.strip() == b"[]"


def test_nothing_is_logged_while_a_line_is_being_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(encode(study_event()) + encode(start_event(0))[:40])
    with caplog.at_level(logging.DEBUG):
        state = read_ledger(path)
    assert state.study is not None
    assert not state.damage
    assert not caplog.records


def test_a_chunk_ends_with_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write_events(path, [study_event(), start_event(0)])
    first = path.read_bytes().index(b"\n") + 1
    chunk = read_chunk(path, max_bytes=first + 5)
    assert (chunk.events, chunk.offset, chunk.damage) == ((study_event(),), first, ())
    # A line longer than asked for is read whole all the same.
    assert read_chunk(path, max_bytes=5).offset == first


def test_a_torn_end_is_said_with_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.jsonl"
    write_events(path, [study_event()])
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() + b'{"crc":"0')
    with caplog.at_level(logging.WARNING), Ledger(path):
        pass
    assert f"9 bytes from byte {whole})" in caplog.text
    assert path.stat().st_size == whole
