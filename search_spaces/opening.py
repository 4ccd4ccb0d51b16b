"""What a search begins with: the half decades of a magnitude's range, the likely ones first."""

import math
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

SCHEDULE = "exponential"
"""The one that runs through a decade of magnitudes in 45 epochs, so that little lies between two
half decades; and by the end there is hardly any noise left."""

_DECADES = 4
"""Decades below its end that a range is opened in which begins at 0."""


def half_decades(distribution: BaseDistribution) -> list[float]:
    """The powers of √10 in a range: the middle one, those above it, those below.

    Of a range in which there are none, its geometric mean; of choices, all of them.
    """
    if isinstance(distribution, CategoricalDistribution):
        values = [float(choice) for choice in distribution.choices if choice is not None]
    else:
        assert isinstance(distribution, FloatDistribution)
        values = _powers(distribution.low, distribution.high)
    middle = len(values) // 2
    return [*values[middle:], *reversed(values[:middle])]


def _powers(low: float, high: float) -> list[float]:
    if high <= 0:
        return [high]
    above_zero = low if low > 0 else high * 10**-_DECADES
    first = math.ceil(2 * math.log10(above_zero) - 1e-9)
    last = math.floor(2 * math.log10(high) + 1e-9)
    values = [float(f"{10 ** (n / 2):.3g}") for n in range(first, last + 1)]
    # Rounded, the ends of a user's range may lie outside of it.
    inside = [value for value in values if low <= value <= high]
    return inside or [math.sqrt(above_zero * high)]


def preferred(distribution: BaseDistribution, value: Any) -> Any:
    """A value if a dimension has it, else the dimension's first."""
    if isinstance(distribution, CategoricalDistribution):
        return value if value in distribution.choices else distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return min(max(value, distribution.low), distribution.high)
