"""Designs: levels by look, shares of the error, what is set aside."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from study.statistics.design import EQUIVALENCE_ALPHA, SET_ASIDE, ConfirmationDesign
from study.statistics.sequential import alpha_spent_early, nominal_levels
from trainables.errors import InputError

LOOKS = (6, 9, 12)


def test_one_look_has_the_whole_level() -> None:
    design = ConfirmationDesign((6,))
    assert design.level(6, 1) == pytest.approx(0.05)
    assert design.level(6, 2) == pytest.approx(0.025)
    assert design.equivalence_level(6, 1) == pytest.approx(0.05)
    assert not design.extendable


def test_what_is_set_aside_is_missing_from_both_levels() -> None:
    design = ConfirmationDesign((6,), set_aside=SET_ASIDE)
    assert design.extendable
    assert design.level(6, 1) == pytest.approx(0.04)
    assert design.equivalence_level(6, 2) == pytest.approx(0.02)


def test_equivalence_is_spent_early_as_published() -> None:
    """Pocock-type, five equal looks: 2.4380 2.4268 2.4101 2.3966 2.3859 (Lan and DeMets)."""
    assert stats.norm.isf(alpha_spent_early(0.2, 0.05) / 2) == pytest.approx(2.4380, abs=1e-4)
    assert alpha_spent_early(1.0, 0.05) == pytest.approx(0.05)
    z = stats.norm.isf(np.array(nominal_levels((8, 16, 24, 32, 40), 0.05, alpha_spent_early)) / 2)
    assert z == pytest.approx([2.4380, 2.4268, 2.4101, 2.3966, 2.3859], rel=0.015)


def test_one_sided_tests_at_the_looks_keep_their_level_at_the_margin() -> None:
    design = ConfirmationDesign(LOOKS)
    draws = np.random.default_rng(1).normal(0.0, 1.0, (20_000, 12))
    wrong = np.zeros(len(draws), dtype=bool)
    for look in LOOKS:
        p_values = stats.ttest_1samp(draws[:, :look], 0.0, axis=1, alternative="greater").pvalue
        wrong |= p_values <= design.equivalence_level(look, 1)
    spread = (EQUIVALENCE_ALPHA * (1 - EQUIVALENCE_ALPHA) / len(draws)) ** 0.5
    assert wrong.mean() == pytest.approx(EQUIVALENCE_ALPHA, abs=3.5 * spread)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ConfirmationDesign((6, 5)), "looks = (6, 5)"),
        (lambda: ConfirmationDesign((6,), set_aside=0.05), "set_aside = 0.05"),
        (lambda: ConfirmationDesign((6,), set_aside=-0.01), "set_aside = -0.01"),
        (lambda: ConfirmationDesign((6,), extended_to=6), "extended_to = 6"),
    ],
)
def test_a_wrong_design_is_refused(make: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError, match="must") as caught:
        make()
    assert named in str(caught.value)
