"""Ranges and choices that several spaces share."""

from typing import get_args

from optuna.distributions import CategoricalDistribution, FloatDistribution

from trainables.noise.decay import DECAYS
from trainables.noise_config import Distribution, Scaling

_RANGES: dict[Scaling, tuple[float, float]] = {
    # 1 helped and 5 destroyed a small network (METHOD, section 5).
    "relative": (0.01, 3.0),
    # Compared with the size of gradients, so the range reaches lower.
    "absolute": (1e-4, 3.0),
    # A step as large as the weights themselves makes every one of them noise (METHOD, section 6).
    "step": (0.01, 1.0),
}


def magnitudes(scaling: Scaling) -> FloatDistribution:
    """The range of a noise's standard deviation."""
    return FloatDistribution(*_RANGES[scaling], log=True)


def schedules() -> CategoricalDistribution:
    return CategoricalDistribution(tuple(DECAYS))


def noise_distributions() -> CategoricalDistribution:
    return CategoricalDistribution(get_args(Distribution))
