"""Sequential designs: published levels, the error level kept, fewer seeds."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from study.statistics.comparison import Verdict, compare
from study.statistics.estimate import ALPHA
from study.statistics.paired import pair
from study.statistics.sequential import (
    SequentialDesign,
    alpha_spent,
    decide,
    look_schedule,
    nominal_levels,
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
