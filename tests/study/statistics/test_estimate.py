"""Estimates and tests: hand-worked cases, scipy called directly, tables of power."""

import math
from itertools import takewhile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from study.statistics import estimate as module
from study.statistics.comparison import Verdict, compare
from study.statistics.estimate import MAX_SEEDS, estimate, holm, power, required_seeds, t_test
from study.statistics.paired import pair
from tests.support.differences import ONE_TO_FIVE, sample, verdict

# No case, however degenerate, may leak a warning of numpy or scipy.
pytestmark = pytest.mark.filterwarnings("error")


def test_hand_worked_estimate() -> None:
    """1 … 5: mean 3, variance 2.5, t = 3 / √(2.5 / 5) = 3√2 with 4 degrees of freedom."""
    found = estimate(ONE_TO_FIVE)
    assert found.n == 5
    assert found.mean == 3
    assert found.std == pytest.approx(math.sqrt(2.5))
    assert found.p_t == pytest.approx(0.01324, abs=5e-6)  # 2 P(t_4 > 4.2426)
    assert found.t_interval is not None
    half = 2.776445 * math.sqrt(0.5)  # the 97.5 % point of t_4, from the tables
    assert found.t_interval.low == pytest.approx(3 - half, abs=1e-5)
    assert found.t_interval.high == pytest.approx(3 + half, abs=1e-5)
    assert found.effect_size == pytest.approx(3 / math.sqrt(2.5))
    # J(4) = Γ(2) / (√2 Γ(3/2)) = 2 / √(2π) = 0.797885
    assert found.hedges_g == pytest.approx(3 / math.sqrt(2.5) * 2 / math.sqrt(2 * math.pi))
    assert found.p_wilcoxon == 2 / 2**5  # the most extreme of the 32 assignments of signs, twice
    assert not found.wilcoxon_can_reject


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
def test_agrees_with_scipy_called_directly(n: int) -> None:
    rng = np.random.default_rng(n)
    reference = rng.normal(0.7, 0.05, n)
    values = reference + rng.normal(0.01, 0.02, n)
    paired = pair(dict(enumerate(values)), dict(enumerate(reference)))
    found = estimate(paired.complete, resamples=999)
    t = stats.ttest_rel(values, reference)
    assert found.p_t == pytest.approx(t.pvalue, rel=1e-7)
    assert found.t_interval is not None
    interval = t.confidence_interval(0.95)
    assert (found.t_interval.low, found.t_interval.high) == pytest.approx(tuple(interval))
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(values, reference).pvalue)
    assert found.effect_size == pytest.approx(t.statistic / math.sqrt(n))
    if n == 2:
        assert found.bootstrap_interval is None
        return
    bootstrap = stats.bootstrap(
        (np.array(paired.complete),),
        np.mean,
        n_resamples=999,
        method="BCa",
        rng=np.random.default_rng(module._BOOTSTRAP_SEED),
    ).confidence_interval
    assert found.bootstrap_interval is not None
    ours = (found.bootstrap_interval.low, found.bootstrap_interval.high)
    assert ours == pytest.approx(tuple(bootstrap), rel=1e-6)


def test_the_bootstrap_is_repeatable_and_roughly_students_for_many_seeds() -> None:
    differences = np.random.default_rng(0).normal(0.5, 1, 200).tolist()
    found = estimate(differences)
    assert found == estimate(differences)
    assert found.bootstrap_interval is not None
    assert found.t_interval is not None
    assert found.bootstrap_interval.low == pytest.approx(found.t_interval.low, abs=0.02)
    assert found.bootstrap_interval.high == pytest.approx(found.t_interval.high, abs=0.02)


def test_wilcoxon_stays_exact_with_ties_and_zeros() -> None:
    """Five equal differences: 2/32. The normal approximation would say 0.025, and reject."""
    approximate = stats.wilcoxon([1.0] * 5, method="asymptotic").pvalue
    assert approximate < 0.05
    assert estimate([1.0] * 5).p_wilcoxon == 2 / 2**5
    assert estimate([1.0, 1.0, 2.0, 2.0, 2.0, 3.0]).p_wilcoxon == 2 / 2**6
    assert estimate([0.0, 1.0, 2.0, 3.0]).p_wilcoxon == 2 / 2**3


def test_wilcoxon_cannot_reject_below_six() -> None:
    assert not estimate(ONE_TO_FIVE).wilcoxon_can_reject
    assert estimate([*ONE_TO_FIVE, 6.0]).wilcoxon_can_reject
    # Zeros carry no sign: six seeds, but five of them to test with.
    assert not estimate([*ONE_TO_FIVE, 0.0]).wilcoxon_can_reject
    assert not estimate([*ONE_TO_FIVE, 6.0], alpha=0.01).wilcoxon_can_reject


def test_nothing_is_made_up_for_one_difference_or_none() -> None:
    assert estimate([]) == module.Estimate(0)
    assert estimate([0.5]) == module.Estimate(1, 0.5)
    assert verdict([]) == verdict([0.5]) == Verdict.TOO_FEW


def test_equal_differences_have_no_spread_to_judge_by() -> None:
    found = estimate([0.25] * 4)
    assert (found.mean, found.std) == (0.25, 0.0)
    assert found.t_interval is found.bootstrap_interval is found.effect_size is None
    # One of 16 assignments of signs is as far up, one as far down: no infinite t, no p of 0.
    assert found.p_t == 2 / 2**4
    assert verdict([0.25] * 5) == Verdict.TOO_FEW
    assert verdict([0.25] * 6) == Verdict.BETTER
    comparison = compare({"only": sample([0.25] * 4)}, higher_is_better=True)["only"]
    assert comparison.more_seeds == 2


def test_no_difference_at_all_is_said_as_such() -> None:
    """A configuration whose noise never begins is its baseline, on every seed."""
    found = estimate([0.0] * 3)
    assert (found.mean, found.std, found.p_t, found.p_wilcoxon) == (0, 0, 1, 1)
    assert found.effect_size == found.hedges_g == 0
    comparison = compare({"only": sample([0.0] * 3)}, higher_is_better=True)["only"]
    assert comparison.verdict == Verdict.NO_DIFFERENCE
    assert comparison.more_seeds is None
    assert "no difference was seen at all" in comparison.sentence()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.sampled_from([1e-140, 3.0, 1e140]))
def test_the_unit_of_a_metric_does_not_matter(differences: list[float], factor: float) -> None:
    found = estimate(differences, resamples=0)
    scaled = estimate([value * factor for value in differences], resamples=0)
    if min(abs(value) for value in differences) < 1e-100:
        return  # these may vanish in the other unit
    assert scaled.p_t == pytest.approx(found.p_t, abs=1e-6)
    assert scaled.std == pytest.approx(found.std * factor if found.std else 0, abs=1e-9 * factor)


def test_t_test_needs_two() -> None:
    assert t_test([]) is t_test([1.0]) is None
    assert t_test([1.0, 3.0]) == pytest.approx(stats.ttest_1samp([1.0, 3.0], 0).pvalue)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02], [0.02]),
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.01, 0.011, 1.0], [0.03, 0.03, 1.0]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.2))
def test_holm_is_the_step_down_procedure(p_values: list[float], alpha: float) -> None:
    """Adjusted p ≤ α is what Holm's (1979) sequence of tests against α/m, α/(m − 1), … rejects."""
    m = len(p_values)
    assume(all(abs(p * k - alpha) > 1e-12 for p in p_values for k in range(1, m + 1)))
    shares = [alpha / (m - rank) for rank in range(m)]
    steps = list(
        takewhile(lambda step: step[0] <= step[1], zip(sorted(p_values), shares, strict=True))
    )
    assert sum(p <= alpha for p in holm(p_values)) == len(steps)


def test_power_and_seeds_as_in_the_tables() -> None:
    """Cohen's small, medium and large effect: 199, 34, 15 pairs (G*Power 3.1, two-sided, 80 %)."""
    assert [required_seeds(d) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]
    assert power(34, 0.5) >= 0.8 > power(33, 0.5)
    assert required_seeds(-0.5) == 34
    assert required_seeds(0.5, alpha=0.05 / 3) > 34  # type: ignore[operator]
    assert power(1, 5.0) == 0
    assert required_seeds(100.0) == 2


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40, 1000, MAX_SEEDS])
@pytest.mark.parametrize("effect", [0.0, 0.01, 0.3, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 1e-5])
def test_power_is_the_noncentral_fs(n: int, effect: float, alpha: float) -> None:
    """t² follows the noncentral F distribution, which scipy calculates by another way."""
    if effect == 0:
        assert power(n, effect, alpha) == pytest.approx(alpha, rel=1e-6)
        return
    critical = stats.t.isf(alpha / 2, n - 1) ** 2
    expected = stats.ncf.sf(critical, 1, n - 1, n * effect**2)
    assert power(n, effect, alpha) == pytest.approx(expected, abs=2e-4)


def test_no_number_of_seeds_shows_nothing() -> None:
    assert required_seeds(0.0) is None
    assert required_seeds(0.01) is None
    beyond = compare(
        {"a": sample([1.0, -1.0, 1.001, -1.0, 1.0, -1.0])}, higher_is_better=True, resamples=0
    )["a"]
    assert beyond.more_seeds is None
    assert f"not even {MAX_SEEDS:,} seeds" in beyond.sentence()


def test_the_bootstrap_draws_as_often_and_from_the_seed_that_results_were_published_with() -> None:
    values = [0.13, -0.41, 0.77, 1.93, 0.051, -0.29, 0.617]
    found = estimate(values).bootstrap_interval
    expected = stats.bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=9999,
        method="BCa",
        rng=np.random.default_rng(20240229),
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_ten_thousand_seeds_are_the_most_that_are_asked_for() -> None:
    just = optimize.brentq(lambda effect: power(10_000, effect) - 0.8, 0.02, 0.04, xtol=1e-15)
    assert required_seeds(just * (1 + 1e-6)) == 10_000
    assert required_seeds(just * (1 - 1e-6)) is None


def test_a_rank_test_can_reject_at_its_smallest_p_and_not_without_two() -> None:
    six = [*ONE_TO_FIVE, 6.0]
    assert estimate(six, alpha=2**-5).wilcoxon_can_reject
    assert not estimate(six, alpha=2**-5.01).wilcoxon_can_reject
    assert not estimate([]).wilcoxon_can_reject
    assert not estimate([0.5], alpha=1.0).wilcoxon_can_reject


def test_an_interval_with_an_open_end_is_none() -> None:
    assert module._interval(SimpleNamespace(low=-1.0, high=0.5), 2.0) == module.Interval(-2.0, 1.0)
    assert module._interval(SimpleNamespace(low=-math.inf, high=0.5), 1.0) is None
    assert module._interval(SimpleNamespace(low=0.5, high=math.nan), 1.0) is None


def test_the_smallest_numbers_there_are_do_not_vanish() -> None:
    found = estimate([5e-324, 0.0, 0.0])
    assert found.p_t == pytest.approx(estimate([1.0, 0.0, 0.0]).p_t)
    assert found.effect_size == pytest.approx(1 / math.sqrt(3))


def test_a_bootstrap_needs_two_resamples_and_three_seeds() -> None:
    values = [0.1, 0.5, -0.3, 0.7]
    found = [estimate(values, resamples=count).bootstrap_interval for count in (0, 1, 2)]
    assert [interval is None for interval in found] == [True, True, False]
    assert estimate(values[:2]).bootstrap_interval is None
    assert estimate(values[:3]).bootstrap_interval is not None
