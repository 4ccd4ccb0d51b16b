"""What is said of baselines that never learned."""

import dataclasses

import pytest

from study.records.chance import chance_sentence
from study.records.ledger_view import TrialRecord
from tests.support.confirmations import rows

CONFIG = {"data": {"classes": [str(number) for number in range(10)]}}


def record(accuracy: float, state: str = "complete", **config: object) -> TrialRecord:
    history = tuple(dataclasses.replace(row, val_accuracy=accuracy) for row in rows())
    found = TrialRecord("baseline-seed0", "baseline", 0, {}, {**CONFIG, **config}, "")
    return dataclasses.replace(found, state=state, history=history)


@pytest.mark.parametrize(
    ("baselines", "said"),
    [
        ([record(0.1)], "never learned: on its one seed its"),
        ([record(0.1), record(0.11)], "never learned: on both seeds"),
        ([record(0.1), record(0.9), record(0.8)], "never learned on 1 of 3 seeds: there"),
        # What has not ended may learn yet.
        ([record(0.1), record(0.1, "running")], "never learned: on its one seed its"),
    ],
)
def test_it_says_on_which_share_of_the_seeds(baselines: list[TrialRecord], said: str) -> None:
    sentence = chance_sentence(baselines, images=451)
    assert sentence.startswith(f"The baseline {said}")
    assert "guessing one of 10 classes" in sentence


def test_nothing_is_said_where_it_learned_or_nobody_can_tell() -> None:
    assert chance_sentence([], images=451) == ""
    assert chance_sentence([record(0.9)], images=451) == ""
    assert chance_sentence([record(0.1)], images=None) == ""
    assert chance_sentence([record(0.1, data={})], images=451) == ""
    assert chance_sentence([record(0.1, task={"name": "own"})], images=451) == ""
