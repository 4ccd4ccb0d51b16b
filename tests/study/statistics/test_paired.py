"""Paired differences: by seed, without what failed, and without the noise of subtracting."""

import math

import pytest

from study.statistics.paired import pair, paired_differences

# No case, however degenerate, may leak a warning of numpy or scipy.
pytestmark = pytest.mark.filterwarnings("error")


def test_pairs_by_seed_and_leaves_out_what_failed() -> None:
    values = {3: 0.9, 1: 0.8, 2: math.nan, 4: 0.7, 5: None, 6: math.inf}
    reference = {1: 0.5, 2: 0.6, 3: 0.8, 5: 0.1, 6: 0.1}
    paired = pair(values, reference)
    assert paired.seeds == (1, 2, 3, 4, 5, 6)
    assert paired.differences == (0.3, None, 0.1, None, None, None)
    assert paired.complete == (0.3, 0.1)
    assert paired.left_out == (2, 4, 5, 6)


def test_equal_differences_are_equal_in_spite_of_rounding() -> None:
    assert 0.9 - 0.8 != 0.8 - 0.7
    assert pair({0: 0.9, 1: 0.8}, {0: 0.8, 1: 0.7}).differences == (0.1, 0.1)
    assert 9e-9 - 8e-9 != 8e-9 - 7e-9
    assert pair({0: 9e-9, 1: 8e-9}, {0: 8e-9, 1: 7e-9}).differences == (1e-9, 1e-9)


def test_one_diverged_seed_does_not_blur_the_others() -> None:
    paired = pair({0: 0.5, 1: 0.6, 2: 1e30}, {0: 0.4, 1: 0.4, 2: 0.3})
    assert paired.differences == (0.1, 0.2, 1e30)


def test_differences_by_name_are_there_where_both_figures_are() -> None:
    mine = {"a": 0.75, "b": None, "c": 0.5, "d": 1.0}
    assert paired_differences(mine, {"a": 0.25, "b": 0.5, "c": None, "e": 1.0}) == {"a": 0.5}
    assert paired_differences({"a": math.inf}, {"a": 0.5}) == {"a": math.inf}


@pytest.mark.parametrize(
    ("value", "reference", "difference"),
    [
        # Twelve digits of the larger of the two: of a third twelve decimals, …
        (1 / 3, 1e-6, 0.333332333333),
        (1e-6, 1 / 3, -0.333332333333),
        # … of a third of a thousandth fifteen.
        (0.0, 1e-3 / 3, -0.000333333333333),
        (2000 / 3, 0.0, 666.666666667),
        (0.0, 0.0, 0.0),
        (5e-324, 0.0, 5e-324),
    ],
)
def test_rounded_at_twelve_digits_of_the_values(
    value: float, reference: float, difference: float
) -> None:
    assert pair({0: value}, {0: reference}).differences == (difference,)


def test_the_size_is_the_middle_of_the_seeds() -> None:
    """Values of 0.001, 1/3 and 2000/3: the differences have the twelve decimals of a third."""
    paired = pair({0: 1e-3 / 3, 1: 1 / 3, 2: 2000 / 3}, dict.fromkeys(range(3), 0.0))
    assert paired.differences == (0.000333333333, 0.333333333333, 666.666666666667)
