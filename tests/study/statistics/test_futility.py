"""Futility: bounds that a true gain hardly ever falls below."""

import numpy as np
import pytest

from study.statistics.futility import GAIN_SOUGHT, POWER_GIVEN_UP, futility_bounds
from study.statistics.sequential import look_schedule

LOOKS = look_schedule(6, 20)


def crossings(effect: float) -> float:
    """How often made-up confirmations fall below a bound at any look."""
    draws = np.random.default_rng(5).normal(effect, 1.0, (20_000, 20))
    below = np.zeros(len(draws), dtype=bool)
    for look, bound in futility_bounds(LOOKS).items():
        seen = draws[:, :look]
        below |= seen.mean(axis=1) / seen.std(axis=1, ddof=1) * np.sqrt(look) <= bound
    return float(below.mean())


def test_a_true_gain_is_given_up_at_most_as_often_as_allowed() -> None:
    share = crossings(GAIN_SOUGHT)
    assert share <= POWER_GIVEN_UP
    assert share >= POWER_GIVEN_UP / 2  # what may be spent is spent


def test_without_a_gain_hardly_any_confirmation_goes_on_to_the_end() -> None:
    assert crossings(0.0) > 0.9


def test_bounds_rise_and_the_last_look_has_none() -> None:
    bounds = futility_bounds(LOOKS)
    assert tuple(bounds) == LOOKS[:-1]
    assert list(bounds.values()) == sorted(bounds.values())
    # Spent evenly it would be 0.0056 at the first look, of a noncentral t of √6: about 0.
    assert bounds[6] == pytest.approx(0.0896, abs=1e-3)
    assert futility_bounds((6,)) == {}
