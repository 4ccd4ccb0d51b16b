"""Verdicts: families of configurations, and studies with a known true effect."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.statistics.comparison import Verdict, compare, winners_curse
from study.statistics.estimate import ALPHA, estimate, power, required_seeds
from study.statistics.paired import pair
from study.statistics.sequential import SequentialDesign
from tests.support.differences import DESIGN, ONE_TO_FIVE, sample, verdict

# No case, however degenerate, may leak a warning of numpy or scipy.
pytestmark = pytest.mark.filterwarnings("error")

REPETITIONS = 400
ERRORS_ALLOWED = 27
"""The 95 % binomial bound of errors in 400 repetitions at 5 %."""


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


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.0, 0.0], Verdict.NO_DIFFERENCE),
        ([0.0], Verdict.TOO_FEW),
        ([0.25] * 5, Verdict.TOO_FEW),  # 2/32
        ([0.25] * 6, Verdict.BETTER),
        ([1.0, -1.0, 1.0, -1.0], Verdict.TOO_FEW),  # nothing in the mean, but a spread
    ],
)
def test_without_a_spread_or_a_mean(differences: list[float], expected: Verdict) -> None:
    assert verdict(differences) == expected


def test_before_the_first_look_nothing_is_said() -> None:
    comparison = compare({"a": sample([0.0] * 3)}, higher_is_better=True, design=DESIGN)["a"]
    assert (comparison.verdict, comparison.level) == (Verdict.TOO_FEW, 0.0)


def test_a_p_at_its_level_is_enough() -> None:
    """Six equal differences: 2/64, exactly."""
    six = {"a": sample([0.25] * 6)}
    at = compare(six, higher_is_better=True, alpha=2**-5)["a"]
    assert (at.verdict, at.p_t_holm) == (Verdict.BETTER, 2**-5)
    assert compare(six, higher_is_better=True, alpha=2**-5.01)["a"].verdict == Verdict.TOO_FEW


def test_more_seeds_are_at_least_one() -> None:
    found = compare({"a": sample([1.0, -0.5, 0.8])}, higher_is_better=True)["a"]
    for needed, more in ((2, 1), (3, 1), (4, 1), (5, 2), (None, None)):
        assert replace(found, seeds_needed=needed).more_seeds == more


def test_a_power_at_its_target_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    nine = [1.0, -1.0, 2.0, -2.0, 0.5, -0.4, 0.3, -0.5, 0.2]
    assert verdict(nine) == Verdict.TOO_FEW
    target = power(9, 1.0)
    monkeypatch.setattr("study.statistics.comparison.POWER", target)
    assert verdict(nine) == Verdict.NO_DIFFERENCE
    monkeypatch.setattr("study.statistics.comparison.POWER", math.nextafter(target, 1.0))
    assert verdict(nine) == Verdict.TOO_FEW


SIZE_SEEN = "would show a difference of the size seen with 80 % power"
MISSING = (
    "where a run failed, diverged or is missing "
    "(this favours a configuration that fails where it would have lost)"
)


@pytest.mark.parametrize(
    ("differences", "needed", "sentence"),
    [
        ([], None, "too few seeds to tell: 0 seeds"),
        ([1.0], None, "too few seeds to tell: mean paired difference +1 over 1 seed"),
        ([0.0], None, "too few seeds to tell: mean paired difference +0 over 1 seed"),
        (  # t = 2 with one degree of freedom: ± 12.706, p = 2 arctan(1/2) / π
            [1.0, 3.0],
            7,
            "too few seeds to tell: mean paired difference +2 over 2 seeds, 95 % interval -10.71 "
            f"to +14.71, p = 0.3; 5 more seeds {SIZE_SEEN}",
        ),
        (  # equal: p = 2^(1 - n), which 6 seeds bring below 5 %
            [1.0, 1.0],
            6,
            "too few seeds to tell: mean paired difference +1 over 2 seeds, p = 0.5; "
            f"4 more seeds {SIZE_SEEN}",
        ),
        (
            [0.25] * 5,
            6,
            "too few seeds to tell: mean paired difference +0.25 over 5 seeds, p = 0.062; "
            f"1 more seed {SIZE_SEEN}",
        ),
        ([0.25] * 6, None, "better: mean paired difference +0.25 over 6 seeds, p = 0.031"),
        ([-0.25] * 6, None, "worse: mean paired difference -0.25 over 6 seeds, p = 0.031"),
        (
            [0.0, 0.0],
            None,
            "no difference shown: mean paired difference +0 over 2 seeds, p = 1; "
            "no difference was seen at all",
        ),
        (
            [1.0, -1.0],
            None,
            "too few seeds to tell: mean paired difference +0 over 2 seeds, 95 % interval -12.71 "
            "to +12.71, p = 1; no difference was seen at all",
        ),
        (  # a mean of a millionth of its spread
            [1.000001, -0.999999],
            None,
            "too few seeds to tell: mean paired difference +1e-06 over 2 seeds, 95 % interval "
            "-12.71 to +12.71, p = 1; not even 10,000 seeds would show a difference of the size "
            "seen",
        ),
    ],
)
def test_what_is_printed(differences: list[float], needed: int | None, sentence: str) -> None:
    found = compare({"a": sample(differences)}, higher_is_better=True)["a"]
    assert (found.seeds_needed, found.sentence()) == (needed, sentence)


def test_a_family_is_printed_with_its_correction() -> None:
    """p = 2^-2, twice; and the seeds needed are those at α/2, which 2^-6 is below."""
    both = compare({"a": sample([1.0, 1.0, 1.0]), "b": sample([1.0])}, higher_is_better=True)
    assert both["a"].sentence() == (
        "too few seeds to tell: mean paired difference +1 over 3 seeds, p = 0.5 "
        f"(corrected for 2 configurations); 4 more seeds {SIZE_SEEN}"
    )
    assert both["b"].sentence() == "too few seeds to tell: mean paired difference +1 over 1 seed"


@pytest.mark.parametrize(
    ("failed", "words"), [([6], "seed 6"), ([6, 7], "seeds 6, 7"), ([6, 7, 9], "seeds 6, 7, 9")]
)
def test_failed_seeds_are_named(failed: list[int], words: str) -> None:
    values = dict.fromkeys(range(6), 0.25) | dict.fromkeys(failed, math.nan)
    found = compare({"a": pair(values, dict.fromkeys(values, 0.0))}, higher_is_better=True)["a"]
    assert found.sentence() == (
        f"better: mean paired difference +0.25 over 6 seeds, p = 0.031; without {words}, {MISSING}"
    )


TWO_LOOKS = SequentialDesign((5, 8))


def test_a_decided_design_says_when() -> None:
    """2^-4 is above every level of 5 % in all, 2^-7 is below the last look's; a ninth is extra."""
    found = compare({"a": sample([0.25] * 9)}, higher_is_better=True, design=TWO_LOOKS)["a"]
    assert (found.decided_at, found.seeds_needed) == (8, None)
    assert found.sentence() == (
        "better: mean paired difference +0.25 over 9 seeds, p = 0.0039, decided after 8 seeds by "
        "a sequential design (stopping early overstates a mean somewhat)"
    )


@pytest.mark.parametrize(
    ("differences", "alone", "needed", "more"),
    [
        (ONE_TO_FIVE, 5, 8, 3),  # the next look is at 8
        ([0.0, 2.0, 1.5, 0.2, 0.3], 12, 12, 7),
        ([1.0, 3.0], 7, 7, 5),  # the next look is at 5
        ([1.0, 3.0, 2.0], 5, 5, 2),
        ([2.0, 3.0], 3, 5, 3),
    ],
)
def test_an_unfinished_design_needs_the_seeds_of_its_next_look(
    differences: list[float], alone: int, needed: int, more: int
) -> None:
    effect = np.mean(differences) / np.std(differences, ddof=1)
    assert required_seeds(float(effect)) == alone
    found = compare({"a": sample(differences)}, higher_is_better=True, design=TWO_LOOKS)["a"]
    assert (found.decided_at, found.seeds_needed, found.more_seeds) == (None, needed, more)
    assert found.sentence().endswith(f"; {more} more seeds {SIZE_SEEN}")


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


def test_a_promise_is_lost_in_the_better_direction() -> None:
    curse = winners_curse(0.3, -0.05, estimate([-0.02, -0.01]), higher_is_better=False)
    assert curse.lost == pytest.approx(0.035)
    of_accuracy = winners_curse(0.9, 0.05, estimate([0.01, 0.02]), higher_is_better=True)
    assert of_accuracy.lost == pytest.approx(0.035)
    nothing_yet = winners_curse(0.3, -0.05, estimate([]), higher_is_better=False)
    assert nothing_yet.confirmed is nothing_yet.lost is None
