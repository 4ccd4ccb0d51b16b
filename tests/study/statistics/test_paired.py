"""Paired differences: by seed, without what failed, and without the noise of subtracting."""

import math

import pytest

from study.statistics.paired import pair

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
