"""The anytime-valid t test: the published mixture, and its error after any number of looks."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from study.statistics.anytime import PRIOR_VARIANCE, anytime_evidence


def mixture(differences: np.ndarray) -> float:
    """The likelihood ratio of t itself, noncentral against central, averaged over the prior."""
    n = len(differences)
    t = float(differences.mean() / differences.std(ddof=1) * math.sqrt(n))

    def weighted(effect: float) -> float:
        prior = stats.norm.pdf(effect, scale=math.sqrt(PRIOR_VARIANCE))
        return float(stats.nct.pdf(t, n - 1, math.sqrt(n) * effect) * prior)

    return integrate.quad(weighted, -6, 6, limit=200)[0] / float(stats.t.pdf(t, n - 1))


@pytest.mark.parametrize(("n", "mean"), [(2, 0.5), (5, 0.0), (5, 1.0), (12, -0.8), (20, 0.3)])
def test_it_is_the_mixture_over_the_effect(n: int, mean: float) -> None:
    differences = np.random.default_rng(n).normal(mean, 1.0, n)
    assert anytime_evidence(differences.tolist()) == pytest.approx(mixture(differences), rel=1e-5)


def test_looking_after_every_seed_keeps_the_error_level() -> None:
    """95 % binomial bound of 600 paths at 10 %: 73."""
    draws = np.random.default_rng(6).normal(0.0, 1.0, (600, 40))
    crossed = sum(
        any(anytime_evidence(path[:n]) >= 10 for n in range(2, 41)) for path in draws.tolist()
    )
    assert 15 <= crossed <= 73


def test_it_is_scale_free_and_has_no_sign() -> None:
    differences = [0.4, 1.0, -0.2, 0.7, 0.9]
    evidence = anytime_evidence(differences)
    assert anytime_evidence([-1e-5 * value for value in differences]) == pytest.approx(evidence)


def test_few_or_equal_differences() -> None:
    assert anytime_evidence([]) == anytime_evidence([3.0]) == anytime_evidence([0.0] * 9) == 1.0
    assert anytime_evidence([0.2] * 6) == 2.0**5
    assert anytime_evidence([0.2] * 2) == pytest.approx(math.sqrt(3))
