"""How far the ledger was sent: new lines only, and all again when in doubt."""

import dataclasses
import json

import pytest

from study.records.events import EpochsEvent
from tests.support.ledgers import TIME, epoch, run_events, study_event, study_events
from tests.support.mlflow_places import (
    Flaky,
    Place,
    check_all_there_once,
    expected_metrics,
    lose_lines,
    sent_metrics,
)


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
