"""What a search begins with: the half decades of a magnitude's range, the likely ones first."""

import math

from optuna.distributions import BaseDistribution, FloatDistribution

SCHEDULE = "exponential"
"""The one that runs through a decade of magnitudes in 45 epochs, so that little lies between two
half decades; and by the end there is hardly any noise left."""


def half_decades(distribution: BaseDistribution) -> list[float]:
    """The powers of √10 in a range: the middle one, those above it, those below."""
    assert isinstance(distribution, FloatDistribution)
    first = math.ceil(2 * math.log10(distribution.low) - 1e-9)
    last = math.floor(2 * math.log10(distribution.high) + 1e-9)
    values = [float(f"{10 ** (n / 2):.3g}") for n in range(first, last + 1)]
    middle = len(values) // 2
    return [*values[middle:], *reversed(values[:middle])]
