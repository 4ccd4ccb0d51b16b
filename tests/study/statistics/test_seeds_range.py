"""How many seeds: a range, from five seeds on."""

import math

import numpy as np
import pytest
from scipy import stats

from study.statistics.estimate import estimate, power
from study.statistics.seeds_range import SeedsRange, effect_interval, seeds_range


@pytest.mark.parametrize(("effect", "n"), [(0.3, 5), (-0.9, 6), (2.0, 10), (0.0, 5), (8.0, 6)])
def test_the_interval_inverts_the_noncentral_t(effect: float, n: int) -> None:
    interval = effect_interval(effect, n)
    t, root = effect * math.sqrt(n), math.sqrt(n)
    assert stats.nct.cdf(t, n - 1, interval.low * root) == pytest.approx(0.9, abs=1e-5)
    assert stats.nct.cdf(t, n - 1, interval.high * root) == pytest.approx(0.1, abs=1e-5)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1).normal(0.7, 1.0, (1000, 6))
    effects = draws.mean(axis=1) / draws.std(axis=1, ddof=1)
    intervals = [effect_interval(float(effect), 6) for effect in effects]
    assert 760 <= sum(i.low <= 0.7 <= i.high for i in intervals) <= 840


@pytest.mark.parametrize("effect", [9.0, -40.0])
def test_a_huge_effect_has_an_interval_too(effect: float) -> None:
    """There scipy's noncentral t has NaN in its tails. Beyond them the normal law is near."""
    interval = effect_interval(effect, 6)
    assert interval.low < effect < interval.high
    # d / δ is about √(5 / χ²) with 5 degrees of freedom.
    ends = sorted(effect * np.sqrt(stats.chi2.ppf([0.1, 0.9], 5) / 5))
    assert (interval.low, interval.high) == pytest.approx(ends, rel=0.03)


def test_differences_that_hardly_vary_break_nothing() -> None:
    assert seeds_range(estimate([1.0, 1.0, 1.0, 1.0, 1.0 + 1e-9], resamples=0), 0.05) is not None


def test_both_ends_have_80_percent_power_for_their_effect() -> None:
    found = estimate([1.0, 0.2, 1.5, 0.9, 2.4, -0.1, 1.3], resamples=0)
    result = seeds_range(found, 0.01)
    assert result is not None
    assert found.effect_size is not None
    interval = effect_interval(found.effect_size, 7)
    assert result.fewest == 8  # fewer would do, but seven have not
    assert result.most is not None
    assert (
        power(result.most, interval.low, 0.01) >= 0.8 > power(result.most - 1, interval.low, 0.01)
    )


def test_an_interval_across_zero_has_no_most() -> None:
    result = seeds_range(estimate([1.0, -0.8, 0.3, 0.5, -0.4], resamples=0), 0.05)
    assert result is not None
    assert result.most is None
    assert result.fewest is not None
    assert "to more than 10,000 seeds in all" in result.sentence()


def test_the_next_look_is_the_least() -> None:
    found = estimate([1.0, 1.2, 0.9, 1.1, 1.3], resamples=0)
    assert seeds_range(found, 0.05, at_least=9) == SeedsRange(9, 9, 5)


@pytest.mark.parametrize("differences", [[1.0, 2.0, 0.5, 1.5], [0.0] * 6, [0.3] * 6, []])
def test_too_few_or_equal_differences_say_nothing(differences: list[float]) -> None:
    assert seeds_range(estimate(differences, resamples=0), 0.05) is None


def test_the_sentence() -> None:
    assert SeedsRange(6, 40, 5).sentence().startswith("6 to 40 seeds in all would show")
    # Never one number: where both ends are raised to what can be added, that is a bound.
    assert (
        SeedsRange(9, 9, 5)
        .sentence()
        .startswith("at most 9 seeds in all, the fewest that can be added, would show")
    )
    assert SeedsRange(None, None, 5).sentence().startswith("more than 10,000 seeds in all would")
    for found in (SeedsRange(6, 40, 5), SeedsRange(9, 9, 5), SeedsRange(None, None, 5)):
        assert found.sentence().endswith("with 80 % power (80 % confidence)")
