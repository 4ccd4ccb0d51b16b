"""Sequential designs: published levels, the error level kept, fewer seeds."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special, stats

from study.statistics.comparison import Verdict, compare
from study.statistics.estimate import ALPHA
from study.statistics.paired import pair
from study.statistics.sequential import (
    Decided,
    SequentialDesign,
    _below,
    alpha_spent,
    decide,
    look_schedule,
    nominal_levels,
    or_one,
)
from tests.support.differences import DESIGN, ONE_TO_FIVE, sample
from trainables.errors import InputError

# No case, however degenerate, may leak a warning of numpy or scipy.
pytestmark = pytest.mark.filterwarnings("error")

REPETITIONS = 400
ERRORS_ALLOWED = 27
"""The 95 % binomial bound of errors in 400 repetitions at 5 %."""


def test_looks() -> None:
    assert look_schedule(5, 20) == (5, 8, 11, 14, 17, 20)
    assert look_schedule(5, 9) == (5, 8, 9)
    assert look_schedule(5, 5) == (5,)
    assert look_schedule(2, 3) == (2, 3)
    assert look_schedule(5, 7, step=1) == (5, 6, 7)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: look_schedule(1, 20), "1..20"),
        (lambda: look_schedule(9, 5), "9..5"),
        (lambda: look_schedule(5, 20, 0), "step = 0"),
        (lambda: SequentialDesign((5, 5)), "(5, 5)"),
        (lambda: SequentialDesign((5, 3, 8)), "(5, 3, 8)"),
        (lambda: SequentialDesign((5, 8, 8)), "(5, 8, 8)"),
        (lambda: SequentialDesign((1, 5)), "(1, 5)"),
        (lambda: SequentialDesign((1,)), "(1,)"),
        (lambda: SequentialDesign(()), "()"),
    ],
)
def test_wrong_looks_are_refused(make: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError, match=r"must|at least") as caught:
        make()
    assert named in str(caught.value)


def test_the_fewest_seeds_that_a_t_test_takes_may_be_the_first_look() -> None:
    assert SequentialDesign((2,)).levels(0.05) == {2: pytest.approx(0.05)}
    assert SequentialDesign((2, 3)).looks == (2, 3)


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


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_looks_at_two_and_three_seeds_divide_the_sphere(alpha: float) -> None:
    """Without an effect three differences point anywhere with the same probability.

    By Archimedes, a grid of equal areas: the height along (1, 1, 1) and the angle around it.
    """
    steps = (np.arange(2000) + 0.5) / 2000
    height = steps[:, None]
    total = math.sqrt(3) * height
    around = np.sqrt(1 - height**2) * np.cos(math.pi * steps)
    third = (height - math.sqrt(2) * around) / math.sqrt(3)
    sum_of_two, squares_of_two = total - third, 1 - third**2
    t_of_two = np.abs(sum_of_two) / np.sqrt(2 * squares_of_two - sum_of_two**2)
    t_of_three = total / np.sqrt((3 - total**2) / 2)
    at_two, at_three = nominal_levels((2, 3), alpha)
    first = t_of_two >= stats.t.isf(at_two / 2, 1)
    second = ~first & (t_of_three >= stats.t.isf(at_three / 2, 2))
    assert at_two == alpha_spent(2 / 3, alpha)
    assert first.mean() == pytest.approx(at_two, rel=0.01)
    assert second.mean() == pytest.approx(alpha - at_two, rel=0.01)


def test_a_look_with_nothing_to_spend_decides_nothing() -> None:
    """Less than the smallest float is to be spent before the last look."""
    *early, last = nominal_levels((2, 3, 4), 1e-300)
    assert early == [0.0, 0.0]
    assert last == pytest.approx(1e-300, rel=1e-12, abs=0.0)


@pytest.mark.parametrize("before", [0.1, 0.3, 0.5, 0.9])
def test_the_chain_has_no_gap_where_its_quadratic_is_linear(before: float) -> None:
    """Where c = 1, |a + x| < √(1 + x²) says x < (1 − a²) / 2a; here n = 3 and ratio 1/2."""
    a = math.sqrt(3) * before
    exact = special.stdtr(3, math.sqrt(3) * (1 - a * a) / (2 * a))
    beside = [float(_below(np.array(0.5 + d), np.array(before), 3)) for d in (-1e-6, 0.0, 1e-6)]
    assert beside == pytest.approx([exact] * 3, abs=1e-5)
    assert beside[1] == pytest.approx(exact, abs=1e-6)
    assert beside == sorted(beside)


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


def test_a_look_waits_for_every_pending_sample() -> None:
    """Eight seeds decide a clear one, but not before the other has eight."""
    clear, unclear = [1.0, 1.2, 0.7, 1.3, 0.9, 1.1, 0.8, 1.0], [1.0, -1.0, 2.0, -2.0, 0.5]
    for names in (("a", "b"), ("b", "a")):
        have = {"a": sample(clear), "b": sample(unclear)}
        state = decide({name: have[name] for name in names}, SequentialDesign((8, 11)))
        assert (state.decided, state.pending, state.next_seeds) == ({}, names, 8)
        assert state.level == 0.0
    both = decide({"a": sample(clear), "b": sample([*unclear, 1.0, -1.0, 0.5])}, DESIGN)
    assert (set(both.decided), both.pending, both.next_seeds) == ({"a"}, ("b",), 11)


class OneLevel(SequentialDesign):
    """Every look has the whole level."""

    def levels(self, alpha: float) -> dict[int, float]:
        return dict.fromkeys(self.looks, alpha)


def test_a_p_value_equal_to_its_level_decides() -> None:
    """Five equal differences have p = 2^−4 exactly."""
    equal = {"a": sample([0.5] * 5)}
    state = decide(equal, OneLevel((5,), 2**-4))
    assert state.decided == {"a": Decided(seeds=5, level=2**-4, higher=True)}
    assert decide(equal, OneLevel((5,), math.nextafter(2**-4, 0))).pending == ("a",)


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_a_decided_difference_has_the_sign_of_its_mean(size: float) -> None:
    """The sum decides, be it far below 1 or above; one value of the other sign doesn't count."""
    above = [size * value for value in (1.0, 1.1, 0.9, 1.2, 1.0, 0.8, 1.1, -0.1)]
    rows = {"above": above, "below": [-value for value in above], "none": [0.0] * 8}
    state = decide({name: sample(row) for name, row in rows.items()}, OneLevel((8,), 0.05))
    assert {name: how.higher for name, how in state.decided.items()} == {
        "above": True,
        "below": False,
    }
    assert (state.pending, state.next_seeds) == (("none",), None)


def test_what_cannot_be_tested_has_the_p_value_of_no_evidence() -> None:
    assert or_one(None) == 1.0
    assert or_one(0.0) == 0.0
    assert or_one(0.25) == 0.25


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
