"""The exact sign-flip test: it needs no normal differences, only symmetric ones."""

import math
from collections.abc import Sequence

import numpy as np

from study.statistics.estimate import Values

FEWEST_SEEDS = 6
"""From here on the test can reject at 5 %: its smallest p-value is 2^(1 − n)."""

MOST_EXACT = 30
FLIPS = 99_999
_SEED = 20260101
_TOLERANCE = 1e-9


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided p-value: the share of all 2^n flips of signs with a sum at least as far from 0.

    Exact up to ``MOST_EXACT`` differences: the sums of one half are sorted, and each sum of the
    other half is looked up among them (Horowitz and Sahni 1974, J. ACM 21, 277–292). Beyond it,
    ``FLIPS`` random flips with a fixed seed, the observed one counted among them.
    """
    values = np.abs(np.asarray(differences, dtype=np.float64))
    n, largest = len(values), float(values.max(initial=0.0))
    if largest == 0:
        return 1.0
    values = values / largest
    seen = abs(math.fsum(float(value) / largest for value in differences))
    least = seen - _TOLERANCE * n  # sums that differ by rounding alone are ties
    if least <= 0:
        return 1.0
    if n > MOST_EXACT:
        signs = np.random.default_rng(_SEED).integers(0, 2, (FLIPS, n)) * 2.0 - 1
        farther = int(np.count_nonzero(np.abs(signs @ values) >= least))
        return (1 + farther) / (1 + FLIPS)
    half = np.sort(_sums(values[: n // 2]))
    positions = np.searchsorted(half, least - _sums(values[n // 2 :]), side="left")
    return 2 * float(np.sum(len(half) - positions)) / 2.0**n


def _sums(values: Values) -> Values:
    """All 2^n signed sums of n values."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums + value, sums - value))
    return sums
