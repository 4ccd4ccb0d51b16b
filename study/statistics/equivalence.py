"""Equivalence: the mean difference lies within a margin, shown by two one-sided tests."""

from collections.abc import Sequence

import numpy as np
import scipy

from study.statistics.estimate import Interval, estimate, mean_and_std, t_test


def one_sided(differences: Sequence[float], bound: float) -> float:
    """P-value of a one-sided t test that the mean lies above ``bound``; 1 for n < 2.

    Where all differences are equal: the one-sided sign-flip probability 2^(−n).
    """
    shifted = np.asarray(differences, dtype=np.float64) - bound
    two_sided = t_test(shifted.tolist())
    if two_sided is None:
        return 1.0
    return two_sided / 2 if float(shifted.mean()) > 0 else 1 - two_sided / 2


def equivalence_test(differences: Sequence[float], margin: float) -> float:
    """P-value of both one-sided tests, that the mean lies above −margin and below +margin.

    The larger of the two: each must reject (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15,
    657–680). Below a level it is exactly where the interval of confidence 1 − 2 · level lies within
    the margin.
    """
    mirrored = [-value for value in differences]
    return max(one_sided(differences, -margin), one_sided(mirrored, -margin))


def equivalence_interval(differences: Sequence[float], level: float) -> Interval | None:
    """The interval that lies within the margin exactly if ``equivalence_test`` is below it."""
    return estimate(differences, alpha=2 * level, resamples=0).t_interval


def within_reach(differences: Sequence[float], margin: float, seeds: int, level: float) -> bool:
    """Whether ``equivalence_test`` passes after ``seeds`` seeds if mean and spread stay as seen."""
    found = mean_and_std(differences)
    if found is None:
        return False
    mean, std = found
    half_width = -float(scipy.special.stdtrit(seeds - 1, level)) * std / seeds**0.5
    return abs(mean) + half_width < margin
