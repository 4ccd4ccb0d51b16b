"""Two one-sided tests: the interval lies within the margin, or it does not."""

import numpy as np
import pytest
from scipy import stats

from study.statistics.equivalence import (
    equivalence_interval,
    equivalence_test,
    one_sided,
    within_reach,
)

DIFFERENCES = [0.1, -0.2, 0.15, 0.05, -0.1, 0.3]


def test_it_is_the_larger_of_scipys_one_sided_tests() -> None:
    above = stats.ttest_1samp(DIFFERENCES, -0.3, alternative="greater").pvalue
    below = stats.ttest_1samp(DIFFERENCES, 0.3, alternative="less").pvalue
    assert equivalence_test(DIFFERENCES, 0.3) == pytest.approx(max(above, below), rel=1e-12)
    assert one_sided(DIFFERENCES, 0.5) == pytest.approx(
        stats.ttest_1samp(DIFFERENCES, 0.5, alternative="greater").pvalue, rel=1e-12
    )


def test_it_passes_exactly_where_its_interval_lies_within_the_margin() -> None:
    interval = equivalence_interval(DIFFERENCES, 0.05)
    assert interval is not None
    ends = stats.ttest_1samp(DIFFERENCES, 0.0).confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((ends.low, ends.high))
    farther = max(-interval.low, interval.high)
    assert equivalence_test(DIFFERENCES, farther * 1.001) < 0.05
    assert equivalence_test(DIFFERENCES, farther * 0.999) > 0.05


def test_equal_differences_have_the_sign_flip_probability() -> None:
    assert equivalence_test([0.1] * 5, 0.3) == 2.0**-5
    assert equivalence_test([0.5] * 5, 0.3) == 1 - 2.0**-5
    assert equivalence_test([0.3] * 5, 0.3) == 0.5
    assert equivalence_test([0.1], 0.3) == 1.0


def test_reach_is_the_test_of_more_seeds_with_the_same_mean_and_spread() -> None:
    values = np.array(DIFFERENCES)
    for seeds in (6, 9, 20):
        half = stats.t.isf(0.05, seeds - 1) * values.std(ddof=1) / np.sqrt(seeds)
        farther = abs(values.mean()) + half
        assert within_reach(DIFFERENCES, farther * 1.001, seeds, 0.05)
        assert not within_reach(DIFFERENCES, farther * 0.999, seeds, 0.05)
    assert not within_reach([0.1], 10.0, 9, 0.05)
