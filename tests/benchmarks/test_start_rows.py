"""A study's course, read off its ledger."""

from pathlib import Path

from benchmarks.start_rows import Course, course_of
from study.records.events import EpochsEvent, Event, StartEvent
from study.records.ledger import Ledger
from tests.support.ledgers import epoch


def test_gaps_between_phases_and_within_are_told_apart(tmp_path: Path) -> None:
    events: list[Event] = []

    def trained(key: str, role: str, *seconds: float) -> None:
        events.append(StartEvent(key, role, 0, {}, {}, "", time=0))  # type: ignore[arg-type]
        events.extend(
            EpochsEvent(key, (epoch(number),), time=int(1000 * at))
            for number, at in enumerate(seconds)
        )

    trained("baseline-seed0", "baseline", 8.0, 8.5)
    trained("trial-0000", "trial", 9.5, 11.0)
    trained("baseline-seed7", "baseline", 11.75)
    trained("trial-0000-seed7", "race", 13.0)
    search = tmp_path / "ledger.jsonl"
    with Ledger(search) as ledger:
        for event in events:
            ledger.append(event)
    assert course_of(search, began=1.0) == Course(7.0, 1.0, 1.5)
    events.clear()
    trained("baseline-seed9", "baseline", 15.25, 16.0)
    with Ledger(tmp_path / "confirm.jsonl") as ledger:
        for event in events:
            ledger.append(event)
    found = course_of(search, began=1.0, confirmed=tmp_path / "confirm.jsonl")
    assert found == Course(7.0, 1.0, 1.5, 2.25)
