"""Paired statistics: hand-worked cases, scipy called directly, studies with a known true effect."""

import math
from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from study.statistics import paired as module
from study.statistics.comparison import Verdict, compare, winners_curse
from study.statistics.paired import (
    ALPHA,
    MAX_SEEDS,
    Paired,
    estimate,
    holm,
    pair,
    power,
    required_seeds,
    t_test,
)
from study.statistics.sequential import (
    SequentialDesign,
    alpha_spent,
    decide,
    look_schedule,
    nominal_levels,
)
from trainables.errors import InputError

# No case, however degenerate, may leak a warning of numpy or scipy.
pytestmark = pytest.mark.filterwarnings("error")

REPETITIONS = 400
ERRORS_ALLOWED = 27
"""The 95 % binomial bound of errors in 400 repetitions at 5 %."""

ONE_TO_FIVE = [1.0, 2.0, 3.0, 4.0, 5.0]
DESIGN = SequentialDesign(look_schedule(5, 20))


def sample(differences: Sequence[float]) -> Paired:
    """Differences of seeds 0, 1, …; the baseline's value is 0 on every seed."""
    return pair(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))


def verdict(differences: Sequence[float], higher_is_better: bool = True) -> Verdict:
    """The verdict on a single configuration."""
    samples = {"only": sample(differences)}
    return compare(samples, higher_is_better=higher_is_better, resamples=0)["only"].verdict


# --- differences by seed


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


# --- one configuration


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


FLOATS = st.floats(-1e150, 1e150) | st.sampled_from([0.0, 0.1, 0.2, math.nan, math.inf, 5e-324])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(FLOATS, FLOATS), max_size=8), st.booleans())
def test_any_numbers_give_defined_answers(pairs: list[tuple[float, float]], up: bool) -> None:
    paired = pair(
        {seed: value for seed, (value, _) in enumerate(pairs)},
        {seed: other for seed, (_, other) in enumerate(pairs)},
    )
    comparison = compare({"only": paired}, higher_is_better=up, resamples=50)["only"]
    found = comparison.estimate
    assert found.n + len(paired.left_out) == len(pairs)
    for p_value in (found.p_t, found.p_wilcoxon, comparison.p_t_holm):
        assert (p_value is None) == (found.n < 2)
        assert p_value is None or 0 <= p_value <= 1
    assert comparison.sentence().startswith(comparison.verdict)
    if found.t_interval:
        assert found.mean is not None
        assert found.t_interval.low <= found.mean <= found.t_interval.high
    if found.p_t is not None and found.p_t <= ALPHA:
        assert comparison.verdict in (Verdict.BETTER, Verdict.WORSE)
    else:
        assert comparison.verdict in (Verdict.NO_DIFFERENCE, Verdict.TOO_FEW)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.sampled_from([1e-140, 3.0, 1e140]))
def test_the_unit_of_a_metric_does_not_matter(differences: list[float], factor: float) -> None:
    found = estimate(differences, resamples=0)
    scaled = estimate([value * factor for value in differences], resamples=0)
    if min(abs(value) for value in differences) < 1e-100:
        return  # these may vanish in the other unit
    assert scaled.p_t == pytest.approx(found.p_t, abs=1e-6)
    assert scaled.std == pytest.approx(found.std * factor if found.std else 0, abs=1e-9 * factor)


# --- families


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


def test_the_verdict_rests_on_the_corrected_p() -> None:
    """p = 0.0132 alone; among four configurations 0.053: not shown, and the level says why."""
    noise = [0.3, -0.2, 0.1, -0.3, 0.15]
    alone = compare({"a": sample(ONE_TO_FIVE)}, higher_is_better=True)["a"]
    assert (alone.verdict, alone.level) == (Verdict.BETTER, ALPHA)
    family = {"a": sample(ONE_TO_FIVE)} | {name: sample(noise) for name in "bcd"}
    among = compare(family, higher_is_better=True)
    assert among["a"].p_t_holm == pytest.approx(4 * 0.01324, abs=1e-4)
    assert among["a"].verdict == Verdict.TOO_FEW
    assert among["a"].level == ALPHA / 4
    assert among["a"].estimate == alone.estimate
    assert among["a"].more_seeds == required_seeds(3 / math.sqrt(2.5), ALPHA / 4, 0.8) - 5  # type: ignore[operator]


def test_a_configuration_shown_frees_its_share_of_the_level() -> None:
    clear = [5.0, 5.1, 4.9, 5.2, 4.8]
    both = compare({"a": sample(ONE_TO_FIVE), "z": sample(clear)}, higher_is_better=True)
    assert both["z"].level == ALPHA / 2
    assert both["a"].level == ALPHA
    assert both["a"].verdict == both["z"].verdict == Verdict.BETTER
    weak = [1.0, -0.5, 0.8, -0.2, 0.4]
    rest = compare({"w": sample(weak), "z": sample(clear)}, higher_is_better=True)["w"]
    alone = compare({"w": sample(weak)}, higher_is_better=True)["w"]
    assert (rest.level, rest.seeds_needed) == (alone.level, alone.seeds_needed) == (ALPHA, 38)


def test_an_untestable_configuration_stays_in_the_family() -> None:
    both = compare({"a": sample(ONE_TO_FIVE), "b": sample([1.0])}, higher_is_better=True)
    assert both["a"].p_t_holm == pytest.approx(2 * 0.01324, abs=1e-5)
    assert both["b"].p_t_holm is None
    assert both["b"].verdict == Verdict.TOO_FEW


def test_direction_turns_the_verdict_and_nothing_else() -> None:
    down = [-value for value in ONE_TO_FIVE]
    assert verdict(ONE_TO_FIVE, True) == verdict(down, False) == Verdict.BETTER
    assert verdict(ONE_TO_FIVE, False) == verdict(down, True) == Verdict.WORSE
    up = compare({"a": sample(ONE_TO_FIVE)}, higher_is_better=True)["a"]
    turned = compare({"a": sample(ONE_TO_FIVE)}, higher_is_better=False)["a"]
    assert up.estimate == turned.estimate


def test_no_difference_is_claimed_only_where_one_would_have_been_seen() -> None:
    """Ten seeds show a difference of one standard deviation with 80 % power, nine don't."""
    nothing = [1.0, -1.0, 2.0, -2.0, 0.5, -0.4, 0.3, -0.5, 0.2, -0.1]
    assert verdict(nothing) == Verdict.NO_DIFFERENCE
    assert verdict(nothing[:9]) == Verdict.TOO_FEW
    pairs = compare({"a": sample(nothing), "b": sample(nothing)}, higher_is_better=True)
    assert pairs["a"].verdict == Verdict.TOO_FEW  # at α/2 ten are not enough


def test_sentences_say_what_matters() -> None:
    family = {
        "good": pair(dict(enumerate([0.52, 0.53, 0.54, 0.53, 0.52])), dict.fromkeys(range(5), 0.5)),
        "weak": pair({0: 0.6, 1: 0.5, 2: 0.55, 3: math.nan}, dict.fromkeys(range(4), 0.5)),
    }
    found = compare(family, higher_is_better=True)
    good, weak = found["good"].sentence(), found["weak"].sentence()
    assert good.startswith("better: mean paired difference +0.028 over 5 seeds, 95 % interval +0.0")
    assert "corrected for 2 configurations" in good
    assert weak.startswith("too few seeds to tell: mean paired difference +0.05 over 3 seeds")
    assert f"{found['weak'].more_seeds} more seeds would show" in weak
    assert "without seed 3" in weak


# --- power


def test_power_and_seeds_as_in_the_tables() -> None:
    """Cohen's small, medium and large effect: 199, 34, 15 pairs (G*Power 3.1, two-sided, 80 %)."""
    assert [required_seeds(d) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]
    assert power(34, 0.5) >= 0.8 > power(33, 0.5)
    assert required_seeds(-0.5) == 34
    assert required_seeds(0.5, alpha=0.05 / 3) > 34  # type: ignore[operator]
    assert power(1, 5.0) == 0


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


# --- simulated studies with a known true effect


def simulate(effect: float, seeds: int, configurations: int, rng: np.random.Generator) -> int:
    """How many of 400 studies show a difference; all configurations share their baseline."""
    shown = 0
    for _ in range(REPETITIONS):
        baseline = rng.normal(0.8, 0.05, seeds)
        noise = rng.normal(effect, 1.0, (configurations, seeds))
        # One source of spread for all, as a shared baseline is.
        common = rng.normal(0.0, 1.0, seeds) if configurations > 1 else 0.0
        differences = 0.01 * (noise + common)
        reference = dict(enumerate(baseline.tolist()))
        samples = {
            str(index): pair(dict(enumerate((baseline + row).tolist())), reference)
            for index, row in enumerate(differences)
        }
        found = compare(samples, higher_is_better=True, resamples=0)
        shown += any(item.verdict in (Verdict.BETTER, Verdict.WORSE) for item in found.values())
    return shown


@pytest.mark.parametrize(("seeds", "configurations"), [(5, 1), (10, 1), (5, 3)])
def test_errs_no_more_often_than_promised(seeds: int, configurations: int) -> None:
    shown = simulate(0.0, seeds, configurations, np.random.default_rng([7, seeds, configurations]))
    assert shown <= ERRORS_ALLOWED


@pytest.mark.parametrize("seeds", [5, 10])
def test_finds_an_effect_as_often_as_the_power_says(seeds: int) -> None:
    shown = simulate(1.0, seeds, 1, np.random.default_rng([8, seeds]))
    low, high = stats.binom.interval(0.95, REPETITIONS, power(seeds, 1.0))
    assert low <= shown <= high


# --- sequential designs


def test_looks() -> None:
    assert look_schedule(5, 20) == (5, 8, 11, 14, 17, 20)
    assert look_schedule(5, 9) == (5, 8, 9)
    assert look_schedule(5, 5) == (5,)
    assert look_schedule(5, 7, step=1) == (5, 6, 7)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: look_schedule(1, 20), "1..20"),
        (lambda: look_schedule(9, 5), "9..5"),
        (lambda: look_schedule(5, 20, 0), "step = 0"),
        (lambda: SequentialDesign((5, 5)), "(5, 5)"),
        (lambda: SequentialDesign(()), "()"),
    ],
)
def test_wrong_looks_are_refused(make: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError, match=r"must|at least") as caught:
        make()
    assert named in str(caught.value)


def test_spending_ends_at_alpha_and_starts_as_published() -> None:
    assert alpha_spent(1.0, 0.05) == pytest.approx(0.05)
    # The first of five equal looks: z = 4.8769 (Lan and DeMets; R's ldbounds prints it).
    assert stats.norm.isf(alpha_spent(0.2, 0.05) / 2) == pytest.approx(4.8769, abs=5e-5)
    assert nominal_levels((7,), 0.05) == pytest.approx([0.05])


def test_levels_approach_the_published_ones_as_seeds_grow() -> None:
    """Five equal looks with a known variance: 4.8769 3.3569 2.6803 2.2898 2.0310."""
    z = stats.norm.isf(np.array(nominal_levels((8, 16, 24, 32, 40), 0.05)) / 2)
    assert z == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], rel=0.01)


@pytest.mark.parametrize("looks", [DESIGN.looks, (3, 4, 5, 6, 7, 8)])
def test_each_look_spends_what_it_may(looks: tuple[int, ...]) -> None:
    """Against simulation, vectorised, with t tests of normal differences."""
    paths = 200_000
    draws = np.random.default_rng(5).standard_normal((paths, looks[-1]))
    open_paths = np.ones(paths, bool)
    spent = 0.0
    for look, level in zip(looks, nominal_levels(looks), strict=True):
        seen = draws[:, :look]
        t = np.abs(seen.mean(1)) / (seen.std(1, ddof=1) / math.sqrt(look))
        leaves = open_paths & (t >= stats.t.isf(level / 2, look - 1))
        share = alpha_spent(look / looks[-1]) - spent
        assert abs(leaves.sum() - paths * share) <= 4 * math.sqrt(paths * share) + 1
        open_paths &= ~leaves
        spent += share
    assert abs(paths - open_paths.sum() - paths * ALPHA) <= 3 * math.sqrt(paths * ALPHA)


def test_a_greater_share_of_the_level_never_tests_more_strictly() -> None:
    """What the group-sequential Holm procedure rests on."""
    strict, middle, lax = (np.array(nominal_levels((5, 8, 11), 0.05 / m)) for m in (3, 2, 1))
    assert (strict < middle).all()
    assert (middle < lax).all()


def test_asks_for_seeds_until_decided() -> None:
    rng = np.random.default_rng(1)
    clear = (1 + rng.normal(0, 0.3, 20)).tolist()
    unclear = rng.normal(0, 1, 20).tolist()
    start = decide({"a": sample(clear[:3])}, DESIGN)
    assert (start.next_seeds, start.pending, start.level) == (5, ("a",), 0.0)
    first = decide({"a": sample(clear[:5]), "b": sample(unclear[:5])}, DESIGN)
    assert (first.next_seeds, first.finished) == (8, False)
    second = decide({"a": sample(clear[:8]), "b": sample(unclear[:8])}, DESIGN)
    assert second.decided["a"].seeds == 8
    assert second.decided["a"].higher
    assert (second.pending, second.next_seeds) == (("b",), 11)
    # The decided one needs no further seed, and what it gets anyway changes nothing.
    last = decide({"a": sample(clear[:8]), "b": sample(unclear)}, DESIGN)
    assert last.decided == second.decided
    assert (last.pending, last.next_seeds) == (("b",), None)
    assert last == decide({"a": sample(clear), "b": sample(unclear)}, DESIGN)
    alone = decide({"a": sample(clear)}, DESIGN)
    assert alone.finished
    assert alone.pending == ()


def test_failed_seeds_count_towards_a_look() -> None:
    failed = pair(dict.fromkeys(range(20), math.nan), dict.fromkeys(range(20), 0.5))
    state = decide({"a": failed}, DESIGN)
    assert state.finished
    assert state.pending == ("a",)
    verdicts = compare({"a": failed}, higher_is_better=True, design=DESIGN)
    assert verdicts["a"].verdict == Verdict.TOO_FEW


def test_the_sequential_verdict_rests_on_the_looks() -> None:
    """p = 0.013 after five seeds is below 5 %, but far above the first look's level."""
    family = {"a": sample(ONE_TO_FIVE)}
    early = compare(family, higher_is_better=True, design=DESIGN)["a"]
    assert early.p_t_holm == pytest.approx(0.01324, abs=1e-5)
    assert early.verdict == Verdict.TOO_FEW
    assert early.level == pytest.approx(alpha_spent(0.25))
    assert early.seeds_needed == 8  # five would do, but the next look is there
    later = compare({"a": sample(ONE_TO_FIVE * 3)}, higher_is_better=False, design=DESIGN)["a"]
    assert later.decided_at == 11
    assert later.verdict == Verdict.WORSE
    assert "sequential design" in later.sentence()


def first_shown(effect: float, configurations: int, rng: np.random.Generator) -> int | None:
    """Seeds at which a study of configurations that share a baseline shows a difference, if so."""
    draws = rng.normal(effect, 1.0, (configurations, DESIGN.looks[-1]))
    if configurations > 1:
        draws += rng.normal(0.0, 1.0, DESIGN.looks[-1])
    state = decide({str(i): sample(row) for i, row in enumerate(draws.tolist())}, DESIGN)
    assert state.finished
    return min((how.seeds for how in state.decided.values()), default=None)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_adding_seeds_as_asked_ends_where_all_of_them_would(effect: float) -> None:
    """As ``confirm`` runs it: decided configurations get no further seeds."""
    rng = np.random.default_rng(12)
    for _ in range(10):
        rows = dict(zip("abc", rng.normal(effect, 1.0, (3, 20)).tolist(), strict=True))
        have = dict.fromkeys(rows, DESIGN.looks[0])
        state = decide({name: sample(rows[name][: have[name]]) for name in rows}, DESIGN)
        while state.next_seeds is not None:
            have |= dict.fromkeys(state.pending, state.next_seeds)
            state = decide({name: sample(rows[name][: have[name]]) for name in rows}, DESIGN)
        assert state == decide({name: sample(rows[name]) for name in rows}, DESIGN)
        for name, how in state.decided.items():
            assert have[name] == how.seeds


@pytest.mark.parametrize("configurations", [1, 2])
def test_looking_often_keeps_the_error_level(configurations: int) -> None:
    rng = np.random.default_rng([9, configurations])
    ends = [first_shown(0.0, configurations, rng) for _ in range(REPETITIONS)]
    assert sum(end is not None for end in ends) <= ERRORS_ALLOWED


def test_looking_often_finds_an_effect_with_fewer_seeds() -> None:
    """One standard deviation: found nearly always, as by 20 seeds (99 %), but with fewer."""
    rng = np.random.default_rng(10)
    found = [end for _ in range(100) if (end := first_shown(1.0, 1, rng)) is not None]
    assert len(found) >= 95
    assert np.mean(found) < 14


# --- the winner's curse


def test_the_winners_curse_shows_in_a_simulated_search() -> None:
    """Forty configurations without any effect: the best one promises much and confirms nothing."""
    rng = np.random.default_rng(11)
    promised = float(rng.normal(0, 0.01, 40).max())
    confirmed = estimate(rng.normal(0, 0.01, 20).tolist())
    curse = winners_curse(0.9 + promised, promised, confirmed, higher_is_better=True)
    assert curse.score == 0.9 + promised
    assert promised > 0.015
    assert curse.confirmed is not None
    assert abs(curse.confirmed) < 0.01
    assert curse.lost == promised - curse.confirmed
    assert curse.interval == confirmed.t_interval


def test_a_promise_of_a_lower_loss_is_lost_upwards() -> None:
    curse = winners_curse(0.3, -0.05, estimate([-0.02, -0.01]), higher_is_better=False)
    assert curse.lost == pytest.approx(0.035)
    nothing_yet = winners_curse(0.3, -0.05, estimate([]), higher_is_better=False)
    assert nothing_yet.confirmed is nothing_yet.lost is None


def test_t_test_needs_two() -> None:
    assert t_test([]) is t_test([1.0]) is None
    assert t_test([1.0, 3.0]) == pytest.approx(stats.ttest_1samp([1.0, 3.0], 0).pvalue)
