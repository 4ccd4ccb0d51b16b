"""Futility: a confirmation need not go on where ``better`` is out of reach."""

from functools import lru_cache

import scipy

from study.statistics.sequential import alpha_spent_early

GAIN_SOUGHT = 1.0
"""The gain, in standard deviations of the differences, that must hardly ever be given up."""

POWER_GIVEN_UP = 0.02
"""The most power for ``GAIN_SOUGHT`` that stopping may cost."""


@lru_cache(maxsize=256)
def futility_bounds(looks: tuple[int, ...]) -> dict[int, float]:
    """Look, but the last, → the t statistic of the gain at or below which it is not worth going on.

    The power given up is spent over the looks as an error level is (beta spending: Pampallona,
    Tsiatis and Kim 2001, Drug Inf. J. 35, 1113–1121), by a Pocock-type function that is used up at
    the last but one. Each bound is the quantile of its share in the noncentral t distribution of
    ``GAIN_SOUGHT``, so that all together are crossed with at most ``POWER_GIVEN_UP``. The bounds
    are non-binding: no level for ``better`` is raised because of them.
    """
    interim = looks[:-1]
    bounds, before = {}, 0.0
    for look in interim:
        spent = alpha_spent_early(look / interim[-1], POWER_GIVEN_UP)
        shift = look**0.5 * GAIN_SOUGHT
        bounds[look] = float(scipy.stats.nct.ppf(spent - before, look - 1, shift))
        before = spent
    return bounds
