"""Ranges and choices that several spaces share."""

from typing import get_args

from optuna.distributions import CategoricalDistribution, FloatDistribution

from trainables.noise.decay import DECAYS
from trainables.noise_config import Distribution, Scaling

_LARGEST = 3.0
"""With relative scaling, 1 helped and 5 destroyed a small network (METHOD, section 5)."""

_SMALLEST: dict[Scaling, float] = {"relative": 0.01, "absolute": 1e-4}
"""An absolute magnitude is compared with the size of gradients, so its range reaches lower."""


def magnitudes(scaling: Scaling) -> FloatDistribution:
    """The range of a noise's standard deviation."""
    return FloatDistribution(_SMALLEST[scaling], _LARGEST, log=True)


def schedules() -> CategoricalDistribution:
    return CategoricalDistribution(tuple(DECAYS))


def noise_distributions() -> CategoricalDistribution:
    return CategoricalDistribution(get_args(Distribution))
