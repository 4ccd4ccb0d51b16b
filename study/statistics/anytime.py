"""A t test that may be looked at after every seed: what a design holds back for going on."""

import math
from collections.abc import Sequence

import numpy as np

from study.statistics.estimate import scaled

PRIOR_VARIANCE = 1.0
"""Variance of the normal prior of the standardised effect that the test is a mixture over."""


def anytime_evidence(differences: Sequence[float]) -> float:
    """The evidence B against a mean of 0; it reaches 1/α for any n with probability at most α.

    The scale-invariant t-test martingale with a normal prior of variance g on mean / standard
    deviation (Wang and Ramdas, arXiv 2310.03722; at a fixed n the Bayes factor of Gönen et al.
    2005, Am. Stat. 59, 252–257). With ν = n − 1:
    B = (1 + n g)^(−1/2) [(1 + t²/ν) / (1 + t²/(ν (1 + n g)))]^((ν + 1)/2).

    B is 1 for n < 2 and where all differences are 0. Differences that are all equal are no normal
    ones: there B is at most 2^(n − 1), the reciprocal of the sign-flip probability.
    """
    n = len(differences)
    if n < 2:
        return 1.0
    values, _ = scaled(differences)
    total, squares = float(values.sum()) ** 2, n * float(np.square(values).sum())
    if squares == 0:
        return 1.0
    # t²/ν = r² / (1 − r²) with r² = (Σx)² / (n Σx²).
    ratio = min(1.0, total / squares)
    spread = 1 + n * PRIOR_VARIANCE
    exponent = n / 2 * -math.log1p(-ratio * (1 - 1 / spread)) - math.log(spread) / 2
    evidence = math.exp(min(exponent, 700.0))
    return min(evidence, 2.0 ** (n - 1)) if (values == values[0]).all() else evidence
