"""The rules of an early decision, on searches with a known answer."""

import numpy as np
import pytest

from benchmarks.early_decision import (
    Search,
    halving,
    most,
    one_epoch,
    paired,
    predicted,
    replayed,
    searches,
)

EPOCHS = 12


def search(finals: list[float], begins: int = 2) -> Search:
    """Settings whose gain grows evenly from where their noise begins."""
    share = np.clip((np.arange(1, EPOCHS + 1) - begins) / (EPOCHS - begins), 0, None)
    begun = np.full(len(finals), begins)
    return Search(np.outer(finals, share), begun, np.full(EPOCHS, -1.0), guess=-2.0)


GOOD_LAST = [0.01, 0.0, -0.01, 0.02, 0.01, -0.5, 0.1]


def test_the_paired_rule_ends_what_is_beyond_hope_and_keeps_what_is_not() -> None:
    order = range(7)
    for hope in (most(1.0), predicted(0.05)):
        for beats_best in (False, True):
            ends = dict(paired(hope, beats_best=beats_best)(search(GOOD_LAST), order))
            # The first five are needed to know what is usual.
            assert [ends[s] for s in range(5)] == [EPOCHS] * 5
            assert ends[5] == 3
            assert ends[6] == EPOCHS


def test_what_diverges_ends_there_and_teaches_nothing() -> None:
    found = search(GOOD_LAST)
    found.gains[0, 5:] = np.nan
    ends = dict(paired(most(1.0), beats_best=True)(found, range(7)))
    assert ends[0] == 6
    # One is missing: four have ended by then.
    assert ends[5] == EPOCHS
    assert dict(halving(2.0)(found, range(7)))[0] < EPOCHS


def test_one_epoch_of_noise_keeps_the_best_after_it() -> None:
    ends = dict(one_epoch(2)(search(GOOD_LAST), range(7)))
    assert {s for s, end in ends.items() if end == EPOCHS} == {3, 6}
    assert {end for s, end in ends.items() if s not in {3, 6}} == {3}


@pytest.mark.parametrize("rule", [one_epoch(7), paired(most(1e9), beats_best=True)])
def test_a_rule_that_ends_nothing_trains_everything(rule: object) -> None:
    assert replayed([search(GOOD_LAST)], rule, orders=3) == (1.0, 1.0)  # type: ignore[arg-type]


def test_gains_are_paired_with_the_baseline_of_the_seed() -> None:
    def run(setting: int | None, seed: int, loss: float) -> dict[str, object]:
        return {
            "setting": setting, "seed": seed, "noisy": [] if setting is None else [1, 2],
            "train_loss": [1.0] * 4, "train_accuracy": [0.5] * 4, "val_loss": [1.0, *[loss] * 3],
            "val_accuracy": [0.5] * 4,
        }  # fmt: skip

    runs = [run(None, 1, 0.5), run(0, 1, 0.4), run(None, 2, 0.9), run(0, 2, 1.0)]
    one, two = searches({"train": {"epochs": 4}, "runs": runs}, "tail_val_loss")
    assert one.gains[0].round(3).tolist() == [0.0, 0.05, 0.067, 0.1]
    assert two.final[0] == pytest.approx(-0.1)
    assert one.begins.tolist() == [1]
    assert one.baseline.round(3).tolist() == [-1.0, -0.75, -0.667, -0.5]
    assert one.guess == pytest.approx(-np.log(10))
