"""What pairing is worth: the definition, Pitman's and Morgan's interval, and no number at all."""

import math

import numpy as np
import pytest
from scipy import stats

from study.statistics.estimate import Interval
from study.statistics.pairing_gain import PairingGain, pairing_gain


def by_seed(values: np.ndarray) -> dict[int, float | None]:
    return dict(enumerate(values.tolist()))


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations 1.2 and 1, correlation 0.8: true gain 2.44 / 0.52."""
    baseline = rng.standard_normal(n)
    own = rng.standard_normal(n)
    return 1.2 * (0.8 * baseline + 0.6 * own) + 3, baseline


TRUE = (1.44 + 1) / (1.44 + 1 - 2 * 1.2 * 0.8)


def test_a_table_has_the_gain_and_the_ends_of_its_interval() -> None:
    names = ("pairing_gain", "pairing_low", "pairing_high")
    found = PairingGain(6, 3.0, Interval(1.0, 9.0)).columns()
    assert found == dict(zip(names, (3.0, 1.0, 9.0), strict=True))
    assert PairingGain(2, 3.0).columns() == {**found, "pairing_low": None, "pairing_high": None}
    assert PairingGain(1, why_not="few").columns() == dict.fromkeys(names)


def test_it_is_the_ratio_of_variances() -> None:
    a, b = draw(9, np.random.default_rng(1))
    result = pairing_gain(by_seed(a), by_seed(b))
    expected = (a.var(ddof=1) + b.var(ddof=1)) / (a - b).var(ddof=1)
    assert result.gain == pytest.approx(expected)
    assert result.seeds == 9


def test_the_interval_ends_where_pitmans_and_morgans_test_says_5_percent() -> None:
    a, b = draw(9, np.random.default_rng(1))
    interval = pairing_gain(by_seed(a), by_seed(b)).interval
    assert interval is not None
    for end in (interval.low, interval.high):
        # With the ratio of variances taken out, sum and difference of S and D are uncorrelated.
        scaled = (a + b) / math.sqrt(2 * end - 1)
        p_value = stats.pearsonr(scaled + (a - b), scaled - (a - b)).pvalue
        assert p_value == pytest.approx(0.05, rel=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(1000):
        a, b = draw(6, rng)
        interval = pairing_gain(by_seed(a), by_seed(b)).interval
        assert interval is not None
        covered += interval.low <= TRUE <= interval.high
    assert 930 <= covered <= 970


def test_only_seeds_that_both_have_count() -> None:
    a, b = draw(5, np.random.default_rng(3))
    values: dict[int, float | None] = by_seed(a) | {5: None, 6: 1.0, 7: math.nan}
    reference: dict[int, float | None] = by_seed(b) | {5: 9.0, 7: 2.0}
    assert pairing_gain(values, reference) == pairing_gain(by_seed(a), by_seed(b))


def test_a_baseline_that_does_not_vary_is_said_instead() -> None:
    result = pairing_gain({0: 0.5, 1: 0.7, 2: 0.6}, dict.fromkeys(range(3), 0.1))
    assert result.gain is None
    assert "baseline does not vary" in result.sentence()
    same = pairing_gain({0: 0.4, 1: 0.5, 2: 0.6}, {0: 0.3, 1: 0.4, 2: 0.5})
    assert "differences do not vary" in same.sentence()
    assert "fewer than two" in pairing_gain({0: 1.0}, {0: 2.0}).sentence()


def test_the_sentence() -> None:
    a, b = draw(9, np.random.default_rng(1))
    text = pairing_gain(by_seed(a), by_seed(b)).sentence()
    assert text.startswith("pairing by seed was worth ")
    assert " times the seeds (95 % " in text
    two = pairing_gain({0: 1.0, 1: 2.0}, {0: 1.5, 1: 1.0})
    assert two.interval is None
    assert two.gain is not None


def test_large_gains_have_no_powers_of_ten() -> None:
    found = PairingGain(6, gain=30_345.6, interval=Interval(144.2, 8_111.0))
    assert "worth 30,300 times the seeds (95 % 144 to 8,110)" in found.sentence()
