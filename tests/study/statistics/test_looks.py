"""The looks: who is decided when, by which test, and what forbids it."""

import dataclasses

import numpy as np
import pytest

from study.statistics.design import SET_ASIDE, ConfirmationDesign
from study.statistics.futility import futility_bounds
from study.statistics.looks import Course, Evidence, follow
from study.statistics.paired import Paired
from study.statistics.sequential import SequentialDesign, decide
from tests.support.differences import sample

SIX = ConfirmationDesign((6,))
LOOKS = ConfirmationDesign((6, 9, 12))
STRONG = [1.0, 1.2, 0.9, 1.1, 1.3, 0.8, 1.0, 1.2, 0.9, 1.1, 1.3, 0.8]
NOTHING = [0.5, -0.6, 0.2, -0.3, 0.7, -0.8, 0.4, -0.1, 0.3, -0.5, 0.6, -0.4]


def course(
    differences: list[float],
    design: ConfirmationDesign = SIX,
    *,
    margin: float = 0.01,
    higher_is_better: bool = True,
) -> Course:
    family = {"only": Evidence(sample(differences))}
    return follow(family, design, margin=margin, higher_is_better=higher_is_better)["only"]


def test_a_difference_keeps_its_sign() -> None:
    assert course(STRONG[:6]).different is True
    assert course([-value for value in STRONG[:6]]).different is False
    assert course(STRONG[:6], higher_is_better=False).different is True


def test_nothing_is_said_before_the_planned_seeds_are_in() -> None:
    early = course(STRONG[:5])
    assert not early.decided
    assert early.next_seeds == 6


def test_what_the_t_test_shows_and_the_sign_flip_test_does_not_is_vetoed() -> None:
    """t = 4.1, p = 0.009; but two of 64 flips do not count and four do: 4/64 = 0.0625."""
    doubtful = course([1.0, 1.1, 0.9, 1.2, 0.8, -0.01])
    assert doubtful.p_value is not None
    assert doubtful.p_value < 0.05
    assert doubtful.vetoed
    assert doubtful.different is None
    fewer = course([1.0, 1.1, 0.9, 1.2, -0.01], ConfirmationDesign((5,)))
    assert fewer.different is True  # five seeds could never pass it


def test_equivalence_and_a_difference_may_both_be_shown() -> None:
    both = course([0.02, 0.03, 0.01, 0.02, 0.03, 0.02], margin=0.1)
    assert both.equivalent
    assert both.different is True
    beyond = course([0.02, 0.03, 0.01, 0.02, 0.03, 0.02], margin=0.022)
    assert not beyond.equivalent
    assert beyond.different is True


def test_all_zero_is_equivalent_at_the_first_look() -> None:
    nothing = course([0.0] * 6, LOOKS)
    assert nothing.equivalent
    assert nothing.seeds == 6
    assert nothing.different is None


def test_seeds_without_noise_show_no_equivalence() -> None:
    """Four zeros and two gains of the margin's size: the mean lies within it, noise does not."""
    differences = [0.0] * 10 + [0.45, 0.55]
    design = ConfirmationDesign((12,))
    idle = frozenset(range(10))
    unknown = {"a": Evidence(sample(differences))}
    told = {"a": Evidence(sample(differences), without_noise=idle)}
    assert follow(unknown, design, margin=0.4, higher_is_better=True)["a"].equivalent
    assert not follow(told, design, margin=0.4, higher_is_better=True)["a"].equivalent
    assert told["a"].with_noise == (0.45, 0.55)


@pytest.mark.parametrize("effect", [0.0, 0.8, -1.5])
def test_differences_are_decided_as_by_decide(effect: float) -> None:
    """The group-sequential Holm procedure that stood here before, without veto and futility."""
    rng = np.random.default_rng(3)
    plain = dataclasses.replace(LOOKS, looks=(3, 4, 5), futility=False)
    for _ in range(30):
        family = {name: sample(rng.normal(effect, 1.0, 5).tolist()) for name in "abc"}
        evidence = {name: Evidence(differences) for name, differences in family.items()}
        courses = follow(evidence, plain, margin=1e-9, higher_is_better=True)
        before = decide(family, SequentialDesign(plain.looks))
        after = {n: (c.seeds, c.level, c.different) for n, c in courses.items() if c.decided}
        assert after == {n: (d.seeds, d.level, d.higher) for n, d in before.decided.items()}


def test_a_look_waits_for_every_configuration() -> None:
    family = {"a": Evidence(sample(STRONG[:9])), "b": Evidence(sample(STRONG[:6]))}
    courses = follow(family, LOOKS, margin=0.01, higher_is_better=True)
    assert courses["a"].next_seeds == courses["b"].next_seeds == 9 or courses["a"].decided


def test_futility_ends_a_confirmation_of_nothing() -> None:
    ended = course(NOTHING[:6], LOOKS)
    assert ended.futile
    assert ended.seeds == 6
    assert ended.next_seeds is None
    assert not ended.decided


def test_futility_begins_exactly_at_its_bound() -> None:
    spread = np.array(NOTHING[:6]) - np.mean(NOTHING[:6])
    spread /= spread.std(ddof=1)
    bound = futility_bounds(LOOKS.looks)[6] / 6**0.5
    for sign, higher in ((1, True), (-1, False)):
        below = (sign * (spread + bound - 0.01)).tolist()
        above = (sign * (spread + bound + 0.01)).tolist()
        assert course(below, LOOKS, higher_is_better=higher).futile
        assert not course(above, LOOKS, higher_is_better=higher).futile


def test_futility_waits_where_equivalence_is_near() -> None:
    """Three more seeds with this mean and spread would show it."""
    near = course([value - 0.05 for value in NOTHING[:6]], LOOKS, margin=0.65)
    assert not near.equivalent
    assert not near.futile
    assert near.next_seeds == 9
    assert course([value - 0.05 for value in NOTHING[:6]], LOOKS, margin=0.25).futile


def test_what_was_not_worth_going_on_with_may_go_on() -> None:
    """A non-binding rule: no level changes, and later seeds may decide."""
    late = [0.1, -0.2, 0.1, -0.1, 0.05, -0.05, 1.0, 1.1, 0.9]
    assert course(late[:6], LOOKS, margin=0.001).futile
    on = dataclasses.replace(LOOKS, futility=False)
    assert course(late[:6], on, margin=0.001).next_seeds == 9
    strong = [-0.01, 0.0, 0.01, 0.0, -0.005, 0.004, *([1.0] * 6)]
    assert course(strong[:6], LOOKS, margin=0.001).futile
    assert course(strong, LOOKS, margin=0.001) == course(strong, on, margin=0.001)


def test_beyond_the_end_only_an_extendable_design_decides() -> None:
    slow = [0.9, -0.4, 1.5, 0.3, 1.1, -0.2, 1.3, 0.8, 1.0, 1.4, 0.7, 1.2, 0.9, 1.1]
    assert not course(slow).decided
    extendable = dataclasses.replace(SIX, set_aside=SET_ASIDE)
    decided = course(slow, extendable)
    assert decided.late
    assert decided.different is True
    assert 6 < decided.seeds <= len(slow)
    assert decided.p_value is not None
    assert decided.p_value <= SET_ASIDE == decided.level
    # Asked again with more or fewer seeds it repeats itself.
    assert course(slow[: decided.seeds], extendable) == decided
    assert not course(slow[: decided.seeds - 1], extendable).decided


def test_equivalence_may_come_beyond_the_end() -> None:
    extendable = dataclasses.replace(SIX, set_aside=SET_ASIDE)
    late = course(NOTHING * 2, extendable, margin=0.55)
    assert late.equivalent
    assert late.late
    assert late.different is None


def evidence(differences: list[float | None], **flags: frozenset[int]) -> Evidence:
    seeds = tuple(range(len(differences)))
    return Evidence(Paired(seeds, tuple(differences)), **flags)


def test_a_lost_run_is_one_that_nothing_explains() -> None:
    differences = [1.0, None, None, None, None]
    family = evidence(
        differences,
        collapsed=frozenset({1}),
        baseline_collapsed=frozenset({2}),
        without_baseline=frozenset({3}),
    )
    assert family.lost == (4,)
    assert family.collapsed_alone == {1}
    assert family.first(4).lost == ()
    assert family.first(1).collapsed == frozenset()


@pytest.mark.parametrize("flags", [{"collapsed": frozenset({6})}, {}])
def test_lost_and_collapsed_runs_forbid_better_but_not_worse(
    flags: dict[str, frozenset[int]],
) -> None:
    """The seventh run diverged, or was lost."""
    seven = ConfirmationDesign((7,))
    good = evidence([*STRONG[:6], None], **flags)
    bad = evidence([*(-value for value in STRONG[:6]), None], **flags)
    same = evidence([*[0.01, -0.01] * 3, None], **flags)
    courses = follow(
        {"good": good, "bad": bad, "same": same}, seven, margin=0.1, higher_is_better=True
    )
    assert courses["good"].different is None
    assert courses["bad"].different is False
    assert not courses["same"].equivalent
    explained = {"baseline_collapsed": frozenset({6})}
    course = follow({"a": evidence([*STRONG[:6], None], **explained)}, seven, margin=0.1,
                    higher_is_better=True)["a"]  # fmt: skip
    assert course.different is True


def test_no_better_once_a_seed_has_collapsed_ends_it_early() -> None:
    ended = follow(
        {"a": evidence([*STRONG[:5], None], collapsed=frozenset({5}))},
        LOOKS,
        margin=0.01,
        higher_is_better=True,
    )["a"]
    assert ended.futile
    assert ended.seeds == 6
