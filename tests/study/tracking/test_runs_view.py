"""The table of runs: its order, and which step an epoch is, in studies of now and of before."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from study.records.events import FIRST_STEP, NoteEvent
from study.records.ledger import Ledger, decode, encode
from study.records.ledger_view import read_ledger
from study.tracking.reader import Reader
from study.tracking.runs_view import ORDER_TAG, difference_tags, first_order, race_tags, runs_view
from study.tracking.steps import EpochSteps
from tests.support.ledgers import study_event, study_events
from trainables.metrics import OBJECTIVES, STATISTICS, Mode


def order(tags: dict[str, str]) -> str:
    return tags[ORDER_TAG]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_baselines_come_first_then_the_best(mode: Mode) -> None:
    gains = [3.0, 0.5, 0.0123, 1e-6, 0.0, -1e-6, -0.5, -250.0]
    signs = gains if mode == "max" else [-gain for gain in gains]
    ranked = [order(difference_tags([sign], 1, mode)) for sign in signs]
    places = [first_order("baseline"), *ranked, first_order("trial"), first_order("study")]
    assert places == sorted(places)
    assert len(set(places)) == len(places)


def test_what_the_table_shows() -> None:
    assert difference_tags([], 1, "max") == {}
    shown = difference_tags([0.0123, -0.5], 1, "max")
    assert (shown["difference"], shown["n"]) == ("+0.0123, -0.5000", "1")
    raced = race_tags({"race_mean_difference": "0.002, 0.1", "race_n": "6"}, "max")
    assert (raced["difference"], raced["n"]) == ("+0.0020, +0.1000", "6")
    assert order(raced) > order(shown)
    assert race_tags({"race_place": "1"}, "max") == {}
    assert difference_tags([math.nan], 1, "max") == {}
    view = runs_view("best_val_loss", "min")
    assert (view["orderByKey"], view["orderByAsc"]) == ("tags.`order`", True)
    columns = view["selectedColumns"]
    wanted = ("role", "best_val_loss", "difference", "n", "status", "paired_difference")
    assert [column.split("`")[1] for column in columns][: len(wanted)] == list(wanted)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_runs_of_earlier_versions_are_ordered_by_their_difference(mode: Mode) -> None:
    view = runs_view("best_val_loss", mode, ordered=False)
    assert view["orderByKey"] == "metrics.`paired_difference`"
    assert view["orderByAsc"] == (mode == "min")


def read(first_step: int, resumed_as: int | None = None) -> Reader:
    reader = Reader()
    begun = replace(study_event(), first_step=first_step)
    for event in [begun, *study_events(1, 3)[1:]]:
        reader.absorb(event)
    if resumed_as is not None:
        reader.absorb(replace(begun, first_step=resumed_as, resumed=True))
    return reader


@pytest.mark.parametrize("first_step", [0, FIRST_STEP])
def test_the_steps_of_epochs_and_of_single_values(first_step: int) -> None:
    deltas = {delta.key: delta for delta in read(first_step).take()}
    points = deltas["trial-0000"].metrics
    losses = [point.step for point in points if point.key == "train_loss"]
    assert losses == [first_step, first_step + 1, first_step + 2]
    single = {point.step for point in points if point.key in {*OBJECTIVES, "paired_difference"}}
    # MLflow draws a line where a step is above 0, and bars where none is.
    assert single == ({0} if first_step else {2})
    assert {point.step for point in points if point.key in STATISTICS} == set(losses)


def test_a_study_keeps_the_steps_that_it_began_with(tmp_path: Path) -> None:
    assert read(0, resumed_as=FIRST_STEP).steps == EpochSteps(0)
    assert read(FIRST_STEP, resumed_as=0).steps == EpochSteps(FIRST_STEP)
    begun = study_event()
    # What an earlier version began is written as it wrote it.
    assert b"first_step" not in encode(begun)
    assert decode(encode(replace(begun, first_step=1))) == replace(begun, first_step=1)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.append(begun)
        ledger.append(replace(begun, first_step=1, resumed=True))
    known = read_ledger(tmp_path / "ledger.jsonl").study
    assert known is not None
    assert known.first_step == 0


def test_a_race_moves_a_trial_in_the_table() -> None:
    reader = read(FIRST_STEP)
    reader.take()
    tags = {"race_mean_difference": "0.5", "race_n": "4"}
    reader.absorb(NoteEvent("trial-0000", tags))
    (delta,) = reader.take()
    assert (delta.tags["difference"], delta.tags["n"]) == ("+0.5000", "4")
    assert delta.tags[ORDER_TAG] < order(difference_tags([0.001], 1, "max"))
