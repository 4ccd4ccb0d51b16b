"""Answers: the word, its ground, the figures beside it."""

import dataclasses

import numpy as np
import pytest

from study.statistics.answer_words import sentence
from study.statistics.answers import Answer, Ground, Ruling, decisions, rule
from study.statistics.design import SET_ASIDE, ConfirmationDesign
from study.statistics.looks import Evidence
from study.statistics.paired import Paired
from tests.support.differences import sample
from trainables.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")

SIX = ConfirmationDesign((6,))
FIVE = ConfirmationDesign((5,))
LOOKS = ConfirmationDesign((6, 9, 12))
STRONG = [0.010, 0.012, 0.009, 0.011, 0.013, 0.008]
NOTHING = [0.010, -0.012, 0.004, -0.006, 0.014, -0.016]


def ruled(
    differences: list[float] | list[float | None],
    design: ConfirmationDesign = SIX,
    *,
    margin: float = 0.003,
    higher_is_better: bool = True,
    **flags: frozenset[int],
) -> Ruling:
    known = Paired(tuple(range(len(differences))), tuple(differences))
    family = {"only": Evidence(known, **flags)}
    return rule(
        family, design, margin=margin, higher_is_better=higher_is_better, resamples=0
    )["only"]  # fmt: skip


def test_the_four_words() -> None:
    assert ruled(STRONG).answer is Answer.BETTER
    assert ruled(STRONG, higher_is_better=False).answer is Answer.WORSE
    assert ruled(NOTHING).answer is Answer.UNDECIDED
    assert ruled([0.001, -0.001, 0.0005, 0.001, -0.0005, 0.0]).answer is Answer.EQUIVALENT


def test_significant_and_within_the_margin_is_equivalent_with_its_sign() -> None:
    within = ruled([0.001, 0.0012, 0.0009, 0.0011, 0.0008, 0.001])
    assert (within.answer, within.higher) == (Answer.EQUIVALENT, True)
    assert "though shown to be better" in sentence(within)
    lower = ruled([0.001, 0.0012, 0.0009, 0.0011, 0.0008, 0.001], higher_is_better=False)
    assert "though shown to be worse" in sentence(lower)


def test_all_zero_is_equivalent_since_the_noise_never_began() -> None:
    never = ruled([0.0] * 6)
    assert (never.answer, never.ground) == (Answer.EQUIVALENT, Ground.NO_NOISE)
    assert "the noise never began" in sentence(never)
    assert "at most 39.3 % of seeds" in sentence(never)
    assert ruled([0.0] * 6, without_noise=frozenset(range(6))).ground is Ground.NO_NOISE
    began = ruled([0.0] * 6, without_noise=frozenset({0, 1}))
    assert (began.answer, began.ground) == (Answer.EQUIVALENT, Ground.ALL_ZERO)


def test_two_of_five_runs_diverged_with_a_tiny_p_is_not_better() -> None:
    """Three seeds with p = 0.0006: what won before lost runs counted."""
    differences = [0.0100, None, 0.0104, None, 0.0102]
    lost = ruled(differences, FIVE, collapsed=frozenset({1, 3}))
    assert lost.course.p_value == pytest.approx(0.00013, rel=1)
    assert lost.course.p_value is not None
    assert lost.course.p_value < 0.001
    assert (lost.answer, lost.ground) == (Answer.UNDECIDED, Ground.COLLAPSED)
    assert "collapsed on 2 of 5" in sentence(lost)
    assert lost.collapse_bound == pytest.approx(0.8107, abs=1e-4)


def test_a_lost_run_is_named_and_makes_no_winner() -> None:
    lost = ruled([*STRONG, None], ConfirmationDesign((7,)))
    assert (lost.answer, lost.ground) == (Answer.UNDECIDED, Ground.LOST)
    assert "runs were lost, seed 6" in sentence(lost)
    assert lost.more_seeds is None
    kept = ruled([*STRONG, None], ConfirmationDesign((7,)), without_baseline=frozenset({6}))
    assert kept.answer is Answer.BETTER
    assert "without a difference on seed 6" in sentence(kept)


@pytest.mark.parametrize("reported", ["diverged", "lost"])
@pytest.mark.parametrize("seeds", [6, 12])
def test_a_mean_of_zero_without_its_worst_16_percent_is_not_better(
    reported: str, seeds: int
) -> None:
    """Nominal 2.5 %: the 99.9 % binomial bound of 1,000 is 42. Left out, they make 68 and 149."""
    draws = np.random.default_rng(seeds).standard_normal((1000, seeds))
    design, better = ConfirmationDesign((seeds,)), 0
    for row in draws.tolist():
        differences = tuple(value if value > -1 else None for value in row)
        gone = frozenset(seed for seed, value in enumerate(differences) if value is None)
        known = Evidence(
            Paired(tuple(range(seeds)), differences),
            collapsed=gone if reported == "diverged" else frozenset(),
        )
        found = decisions({"a": known}, design, margin=0.01, higher_is_better=True)
        better += found["a"].answer is Answer.BETTER
    assert better <= 42


def test_many_collapses_are_worse() -> None:
    five = frozenset(range(5))
    found = ruled([None] * 5 + [0.001], collapsed=five)
    assert (found.answer, found.ground) == (Answer.WORSE, Ground.COLLAPSES)
    assert found.collapse_p == 2.0**-5
    four = ruled([None] * 4 + [0.001, 0.002], collapsed=frozenset(range(4)))
    assert four.ground is Ground.COLLAPSED
    both = ruled([None] * 5 + [0.001], collapsed=five, baseline_collapsed=five)
    assert both.answer is Answer.UNDECIDED
    assert both.ground is not Ground.COLLAPSED


def test_collapses_are_corrected_for_the_family() -> None:
    one = Evidence(Paired(tuple(range(6)), (None,) * 5 + (0.1,)), collapsed=frozenset(range(5)))
    other = Evidence(sample(NOTHING))
    found = rule({"a": one, "b": other}, SIX, margin=0.003, higher_is_better=True, resamples=0)
    assert found["a"].collapse_p == 2 * 2.0**-5
    assert found["a"].ground is Ground.COLLAPSED


def test_collapses_beyond_the_planned_end_are_not_tested() -> None:
    design = dataclasses.replace(SIX, set_aside=SET_ASIDE)
    late = frozenset(range(4, 12))
    differences = [*NOTHING[:4], *[None] * 8]
    assert ruled(differences, design, collapsed=late).collapse_p == 2.0**-2


@pytest.mark.parametrize("share", [0.0, SET_ASIDE])
def test_worse_by_collapses_at_the_planned_end_keeps_its_answer_and_gets_no_seed(
    share: float,
) -> None:
    design = dataclasses.replace(SIX, set_aside=share, extended_to=12)
    gone = frozenset(range(6))
    at_the_end = ruled([None] * 6, design, collapsed=gone)
    assert (at_the_end.answer, at_the_end.ground) == (Answer.WORSE, Ground.COLLAPSES)
    assert (at_the_end.seeds_wanted, at_the_end.finished) == (6, True)
    # What was trained beyond it nevertheless takes nothing back.
    later = ruled([*[None] * 6, *NOTHING], design, collapsed=gone)
    assert (later.answer, later.ground) == (Answer.WORSE, Ground.COLLAPSES)
    assert later.seeds_wanted == 6
    # Collapses that are not enough for it are open, and go on.
    assert ruled([None, *NOTHING[:5]], design, collapsed=frozenset({0})).seeds_wanted == 12


def test_a_collapse_turns_better_into_undecided() -> None:
    assert ruled(STRONG).answer is Answer.BETTER
    planted = ruled([*STRONG[:5], None], collapsed=frozenset({5}))
    assert (planted.answer, planted.ground) == (Answer.UNDECIDED, Ground.COLLAPSED)


def test_better_and_equivalent_tell_how_often_it_may_collapse() -> None:
    text = sentence(ruled(STRONG))
    assert "collapsed on 0 of 6, at most 39.3 % of its runs collapse" in text
    assert "of its runs collapse" in sentence(ruled([0.001, -0.001, 0.0005, 0.001, -0.0005, 0.0]))
    assert "collapse" not in sentence(ruled(NOTHING))


def test_figures() -> None:
    found = ruled(STRONG)
    assert found.median == pytest.approx(0.0105)
    assert (found.worst, found.worst_seed) == (0.008, 5)
    lower = ruled(STRONG, higher_is_better=False)
    assert (lower.worst, lower.worst_seed) == (0.013, 4)
    assert "mean difference +0.0105 over 6 seeds, 95 % interval" in sentence(found)


def test_seeds_without_noise_are_counted_and_named() -> None:
    text = sentence(ruled([*NOTHING[:5], 0.0], without_noise=frozenset({5})))
    assert "the noise never began on 1 of 6, seed 5" in text


def test_a_veto_is_told() -> None:
    vetoed = ruled([1.0, 1.1, 0.9, 1.2, 0.8, -0.01])
    assert (vetoed.answer, vetoed.ground) == (Answer.UNDECIDED, Ground.VETO)
    assert "sign-flip test does not agree" in sentence(vetoed)


def test_seeds_added_after_the_end_withhold_the_answer() -> None:
    more = ruled([*NOTHING, 0.1])
    assert (more.answer, more.ground) == (Answer.UNDECIDED, Ground.SEEDS_ADDED)
    assert more.higher is None
    assert more.more_seeds is None
    assert "the error level is not kept" in sentence(more)
    assert "p = " not in sentence(more)
    assert "over 7 seeds" in sentence(more)
    extendable = dataclasses.replace(SIX, set_aside=SET_ASIDE)
    assert ruled([*STRONG, 0.01], extendable).answer is Answer.BETTER


def test_what_is_decided_keeps_its_answer_though_others_get_more_seeds() -> None:
    # The seventh seed was trained for others; its baseline diverged, and this one never ran there.
    kept = ruled([*STRONG, None], baseline_collapsed=frozenset({6}), untrained=frozenset({6}))
    assert kept.answer is Answer.BETTER
    assert "over 6 seeds" in sentence(kept)


def test_a_seed_on_which_it_was_not_trained_bounds_no_rate_of_collapse() -> None:
    absent = {"baseline_collapsed": frozenset({6}), "untrained": frozenset({6})}
    found = ruled([*STRONG, None], ConfirmationDesign((7,)), **absent)
    assert found.answer is Answer.BETTER
    assert found.collapse_bound == pytest.approx(1 - 0.05 ** (1 / 6))
    assert "collapsed on 0 of 6, at most 39.3 %" in sentence(found)


def test_it_says_which_seeds_to_train() -> None:
    assert ruled(STRONG[:3]).seeds_wanted == 6
    assert not ruled(STRONG[:3]).finished
    assert ruled(STRONG[:3]).ground is Ground.UNFINISHED
    assert "3 of 6 seeds are in" in sentence(ruled(STRONG[:3]))
    assert ruled(NOTHING).seeds_wanted == 6
    assert ruled(NOTHING, LOOKS).seeds_wanted == 6  # not worth going on
    assert ruled(NOTHING, LOOKS).finished
    on = dataclasses.replace(LOOKS, futility=False)
    assert ruled(NOTHING, on).seeds_wanted == 9
    extended = dataclasses.replace(SIX, set_aside=SET_ASIDE, extended_to=12)
    assert ruled(NOTHING, extended).seeds_wanted == 12
    assert ruled(STRONG, extended).seeds_wanted == 6


def test_not_worth_going_on_is_undecided() -> None:
    ended = ruled(NOTHING, LOOKS)
    assert (ended.answer, ended.ground) == (Answer.UNDECIDED, Ground.FUTILE)
    assert "not worth going on" in sentence(ended)


def test_how_many_seeds_is_a_range_from_five_on() -> None:
    undecided = ruled([0.004, 0.02, -0.002, 0.009, 0.012, -0.001])
    assert undecided.more_seeds is not None
    assert "seeds in all would show a difference of the size seen" in sentence(undecided)
    assert ruled([0.01, 0.02, -0.01, 0.005], ConfirmationDesign((4,))).more_seeds is None
    assert ruled(STRONG).more_seeds is None


def test_holm_over_the_family() -> None:
    """p = 0.03 alone is a difference, one of two it is none."""
    weak = [0.001, 0.012, 0.003, 0.011, 0.002, 0.0065]
    assert ruled(weak).answer is Answer.BETTER
    family = {name: Evidence(sample(values)) for name, values in (("a", weak), ("b", NOTHING))}
    found = rule(family, SIX, margin=0.003, higher_is_better=True, resamples=0)
    assert (found["a"].course.p_value or 0) > 0.025 / 2
    assert found["a"].family == 2
    assert "one of 2 configurations" in sentence(found["a"])


def test_no_sentence_nests_parentheses() -> None:
    for found in (
        ruled(STRONG),
        ruled(NOTHING, LOOKS),
        ruled([0.0] * 6),
        ruled([None] * 5 + [0.001], collapsed=frozenset(range(5))),
        ruled([]),
    ):
        text, depth = sentence(found), 0
        for letter in text:
            depth += {"(": 1, ")": -1}.get(letter, 0)
            assert 0 <= depth <= 1
        assert text.startswith(f"{found.answer}: ")


@pytest.mark.parametrize("margin", [0.0, -0.003, float("nan")])
def test_a_margin_is_above_zero(margin: float) -> None:
    with pytest.raises(InputError, match="margin"):
        ruled(STRONG, margin=margin)
