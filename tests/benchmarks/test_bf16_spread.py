"""The paired spread of two precisions, and the interval of their ratio."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.bf16_spread import FIGURES, differences, report, spread_ratio, train_config


def test_the_interval_is_where_pitmans_and_morgans_test_does_not_reject() -> None:
    """Their test itself: sums and differences of both sides are uncorrelated."""
    draws = np.random.default_rng(1).normal(size=(3, 12))
    ours, other = draws[0] + draws[2], 1.5 * (draws[1] + draws[2])
    found = spread_ratio(ours.tolist(), other.tolist())
    assert found.value == pytest.approx(np.std(ours) / np.std(other))
    assert found.low < found.value < found.high
    for bound in (found.low, found.high):
        scaled = ours / bound
        assert stats.pearsonr(scaled + other, scaled - other).pvalue == pytest.approx(0.05)


def test_equal_spreads_have_the_ratio_one() -> None:
    values = [0.1, 0.3, -0.2, 0.5]
    assert spread_ratio(values, values)[:3] == pytest.approx((1, 1, 1))
    assert spread_ratio([2 * each for each in values], values).value == pytest.approx(2)
    with pytest.raises(ValueError, match="at least 3 pairs"):
        spread_ratio(values[:2], values[:2])


@pytest.mark.slow
def test_both_precisions_are_trained_on_the_same_seeds() -> None:
    found = differences(train_config("BabyCNN", epochs=1, subset=0.1), seeds=3)
    assert found.keys() == {"fp32", "bf16"}
    for name in FIGURES:
        fp32, bf16 = found["fp32"][name], found["bf16"][name]
        assert len(fp32) == len(bf16) == 3
    loss = FIGURES[1]
    assert list(found["fp32"][loss]) != list(found["bf16"][loss])
    assert found["bf16"][loss] == pytest.approx(found["fp32"][loss], abs=0.1)
    assert report(found).count("|\n") >= 1 + len(FIGURES)
