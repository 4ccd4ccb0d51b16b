"""Collapses: what is one, and what several of them say."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from study.statistics.collapse import (
    above_chance,
    collapse_test,
    has_collapsed,
    never_learned,
    rate_bound,
)
from tests.support.confirmations import rows
from trainables.metrics import EpochMetrics


def history(*accuracies: float) -> list[EpochMetrics]:
    row = rows()[0]
    return [dataclasses.replace(row, val_accuracy=accuracy) for accuracy in accuracies]


def collapsed(*accuracies: float, diverged: bool = False) -> bool:
    return has_collapsed(history(*accuracies), classes=10, images=1000, diverged=diverged)


def stuck(*accuracies: float, images: int = 1000, classes: int = 10) -> bool:
    return never_learned(history(*accuracies), classes=classes, images=images)


def test_what_was_never_above_chance_never_learned() -> None:
    assert stuck(0.1, 0.12, 0.1)
    assert not stuck(0.1, 0.4, 0.1)
    assert not stuck()


def test_few_images_do_not_tell_what_learned_a_little_from_what_guesses() -> None:
    assert stuck(0.1, 0.1, images=451)
    assert not stuck(0.1, 0.1, images=45)
    assert not stuck(0.5, 0.5, images=20, classes=2)


def test_back_at_chance_in_the_end_is_a_collapse() -> None:
    assert collapsed(0.1, 0.4, 0.6, 0.1)
    assert not collapsed(0.1, 0.4, 0.1, 0.6)


def test_stuck_from_the_start_is_none() -> None:
    assert not collapsed(0.1, 0.1, 0.1)
    # Chance itself wavers: 0.12 of 1,000 images is 2 standard errors.
    assert not collapsed(0.1, 0.12, 0.1)


def test_a_loss_of_accuracy_that_stays_above_chance_is_none() -> None:
    assert not collapsed(0.1, 0.9, 0.3)


def test_divergence_is_a_collapse_whatever_the_accuracies() -> None:
    assert collapsed(0.1, 0.1, diverged=True)
    assert has_collapsed([], classes=10, images=1000, diverged=True)
    assert not has_collapsed([], classes=10, images=1000)
    infinite = [dataclasses.replace(history(0.9)[0], train_loss=float("inf"))]
    assert has_collapsed(infinite, classes=10, images=1000)


@pytest.mark.parametrize(("classes", "images"), [(10, 100), (10, 5000), (2, 50)])
def test_guessing_hardly_ever_looks_above_chance(classes: int, images: int) -> None:
    for epochs in (1, 50):
        right = above_chance(classes, images, epochs)
        assert stats.binom.sf(right - 1, images, 1 / classes) <= 0.001 / epochs
        assert stats.binom.sf(right - 2, images, 1 / classes) > 0.001 / epochs


def test_the_bounds_are_exact_numbers_of_images() -> None:
    ever, last = above_chance(10, 1000, 3) / 1000, above_chance(10, 1000) / 1000
    assert collapsed(0.1, ever, last - 0.001)
    assert not collapsed(0.1, ever - 0.001, last - 0.001)
    assert not collapsed(0.1, ever, last)


def test_a_few_images_show_nothing() -> None:
    assert above_chance(10, 2) > 2
    assert not has_collapsed(history(1.0, 0.0), classes=10, images=2)


@pytest.mark.parametrize(("alone", "other"), [(5, 0), (4, 0), (5, 1), (0, 3), (0, 0)])
def test_it_is_the_exact_test_of_discordant_seeds(alone: int, other: int) -> None:
    if alone + other == 0:
        assert collapse_test(0, 0) == 1.0
    else:
        expected = stats.binomtest(alone, alone + other, alternative="greater").pvalue
        assert collapse_test(alone, other) == pytest.approx(expected)


@pytest.mark.parametrize(("events", "n"), [(0, 6), (1, 6), (3, 20)])
def test_the_bound_is_where_so_few_are_improbable(events: int, n: int) -> None:
    assert stats.binom.cdf(events, n, rate_bound(events, n)) == pytest.approx(0.05)


def test_where_all_collapse_nothing_bounds_the_rate() -> None:
    assert rate_bound(6, 6) == 1.0
    assert rate_bound(0, 6) == pytest.approx(1 - 0.05 ** (1 / 6))
    assert np.isfinite(rate_bound(5, 6))
