"""The sign-flip test: every flip counted, ties and rounding included."""

import itertools

import numpy as np
import pytest
from scipy import stats

from study.statistics.sign_flip import MOST_EXACT, sign_flip_test


def by_hand(differences: list[float]) -> float:
    """All flips, one by one."""
    seen = abs(sum(differences)) - 1e-9
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in flips]
    return sum(value >= seen for value in sums) / len(sums)


@pytest.mark.parametrize(
    "differences",
    [
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        [1.0, 2.0, 3.0, 4.0, 5.0, -1.0],
        [0.1, 0.2, 0.3, -0.6, 0.7],
        [0.0, 0.0, 1.0, 1.0, -1.0, 2.0, 3.0],
        [-0.5] * 8,
        [3.0],
        [1.0, -1.0],
    ],
)
def test_it_counts_every_flip(differences: list[float]) -> None:
    assert sign_flip_test(differences) == pytest.approx(by_hand(differences), rel=1e-12)


def test_no_difference_is_no_evidence() -> None:
    assert sign_flip_test([0.0] * 7) == 1.0
    assert sign_flip_test([]) == 1.0


def test_it_agrees_with_scipy_for_many_differences() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1.0, 12)
    other = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(differences.tolist()) == pytest.approx(other.pvalue, rel=1e-9)


def test_beyond_the_exact_ones_random_flips_come_near_the_normal_law() -> None:
    differences = np.random.default_rng(4).normal(0.3, 1.0, MOST_EXACT + 10)
    p_value = sign_flip_test(differences.tolist())
    z = abs(differences.sum()) / np.sqrt(np.square(differences).sum())
    assert p_value == pytest.approx(2 * stats.norm.sf(z), abs=0.01)
    assert p_value == sign_flip_test(differences.tolist())
    longest = differences[:MOST_EXACT]
    z = abs(longest.sum()) / np.sqrt(np.square(longest).sum())
    assert sign_flip_test(longest.tolist()) == pytest.approx(2 * stats.norm.sf(z), abs=0.01)
