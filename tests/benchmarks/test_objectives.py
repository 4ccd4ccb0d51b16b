"""The comparison of objectives, on tables with a known answer and against scipy's function."""

import math
import random
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.objectives import agreement, compared, correlations, figures, final_test, gains

EPOCHS = 4


def run(
    setting: int | None, seed: int, accuracies: list[float], test: list[float | None]
) -> dict[str, Any]:
    """A run with these validation accuracies; its losses are 1 − accuracy."""
    return {
        "setting": setting,
        "seed": seed,
        "train_loss": [1.0] * len(accuracies),
        "train_accuracy": [1.0] * len(accuracies),
        "val_loss": [1 - accuracy for accuracy in accuracies],
        "val_accuracy": accuracies,
        "final_test": test,
    }


def table_of(settings: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"train": {"epochs": EPOCHS}, "settings": [{}] * settings, "runs": runs}


def known() -> dict[str, Any]:
    """Settings 0, 1, 2 are the better the higher; their peaks say the reverse, their tails do not.

    The baselines of the two seeds differ, so that only paired differences are comparable.
    """
    runs = []
    for seed, base in ((1, 0.25), (2, 0.5)):
        runs.append(run(None, seed, [base] * EPOCHS, [base, 1 - base]))
        for setting in range(3):
            worth = base + 0.01 * (setting - 1)
            peak = 0.9 - 0.1 * setting
            runs.append(run(setting, seed, [peak, *[worth] * 3], [worth, 1 - worth]))
    return table_of(3, runs)


def cells(table: dict[str, Any], title: str) -> dict[str, str]:
    return {row["objective"]: row[title].split()[0] for row in compared(table, resamples=20)}


@pytest.mark.parametrize("title", ["test accuracy", "test loss"])
def test_a_table_whose_answer_is_known(title: str) -> None:
    found = cells(known(), title)
    for name in ("final_val_accuracy", "tail_val_accuracy", "tail_val_loss"):
        assert found[name] == "+1.00"
    for name in ("best_val_accuracy", "best_val_loss"):
        assert found[name] == "-1.00"


def test_gains_are_paired_and_positive_where_better() -> None:
    found = gains(known(), final_test(1), "min")
    assert found == pytest.approx(np.array([[-0.01, 0.0, 0.01]] * 2))


def test_what_diverged_ranks_last_whatever_its_best_was() -> None:
    table = known()
    for index, row in enumerate(table["runs"]):
        if row["setting"] == 0:
            table["runs"][index] = run(0, row["seed"], [0.99, 0.98], [0.0, None])
    value, mode = figures(EPOCHS)["best_val_accuracy"]
    assert list(gains(table, value, mode)[:, 0]) == [-math.inf] * 2
    assert list(gains(table, final_test(1), "min")[:, 0]) == [-math.inf] * 2
    # Ranks of the peaks: last, best, second; of the worth: last, second, best.
    assert cells(table, "test accuracy")["best_val_accuracy"] == "+0.50"
    assert cells(table, "test loss")["best_val_accuracy"] == "+0.50"


def test_a_seed_that_is_not_whole_is_left_out() -> None:
    table = known()
    table["runs"] += [run(None, 3, [0.5] * EPOCHS, [0.5, 0.5]), run(0, 3, [0.5], [0.5, 0.5])]
    table["runs"] += [run(n, 4, [0.5] * EPOCHS, [0.5, 0.5]) for n in range(3)]
    table["runs"] += [run(None, 4, [0.5], [0.1, None])]
    assert gains(table, final_test(0), "max").shape == (2, 3)


def test_agreement_is_the_mean_of_scipys_correlations() -> None:
    draw = random.Random(3)
    one, final = ([[draw.gauss(0, 1) for _ in range(9)] for _ in range(5)] for _ in range(2))
    expected = []
    for seed in range(5):
        others = [fmean(final[s][k] for s in range(5) if s != seed) for k in range(9)]
        expected.append(spearmanr(one[seed], others).statistic)
    found = agreement(np.array(one), np.array(final), np.arange(5))
    assert found == pytest.approx(fmean(expected))
    # A repeated seed is not among its own others.
    twice = agreement(np.array(one), np.array(final), np.array([0, 0, 1]))
    pairs = [spearmanr(one[a], final[b]).statistic for a, b in ((0, 1), (0, 1))]
    pairs.append(spearmanr(one[1], final[0]).statistic)
    assert twice == pytest.approx(fmean(pairs))


def test_ties_as_scipy_ranks_them_and_nothing_where_all_are_alike() -> None:
    a, b = [1.0, 1.0, 2.0, -3.0], [0.5, 0.25, 0.25, -1.0]
    found = correlations(np.array([a, [0.0] * 4, a]), np.array([b, b, [0.0] * 4]))
    assert list(found) == pytest.approx([spearmanr(a, b).statistic, 0.0, 0.0])
