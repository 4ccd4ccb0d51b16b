"""The space of static noise: the same kind in every epoch, only its magnitude decays."""

from typing import get_args

from optuna.distributions import BaseDistribution, CategoricalDistribution

from search_spaces.ranges import magnitudes, noise_distributions, schedules
from trainables.config import TrainConfig
from trainables.noise_config import NoiseKind


def static_noise(base: TrainConfig) -> dict[str, BaseDistribution]:
    """Kind, magnitude (log), schedule and distribution; for policy ``always``.

    Noise begins in the first epoch and lasts as long as training does: any budget is large enough.
    """
    return {
        "noise/kind": CategoricalDistribution(get_args(NoiseKind)),
        "noise/magnitude": magnitudes(base.noise.scaling),
        "noise/schedule": schedules(),
        "noise/distribution": noise_distributions(),
    }
