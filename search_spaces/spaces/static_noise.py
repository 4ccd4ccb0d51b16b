"""The space of static noise: the same kind in every epoch, only its magnitude decays."""

from optuna.distributions import BaseDistribution, CategoricalDistribution

from search_spaces.ranges import magnitudes, noise_distributions, schedules
from trainables.config import TrainConfig
from trainables.noise.kinds import NOISE_KINDS

POLICY = "always"
DESCRIPTION = "noise in every epoch: kind, magnitude, schedule and distribution"


def distributions(base: TrainConfig) -> dict[str, BaseDistribution]:
    """Noise lasts as long as training does: any budget is large enough."""
    return {
        "noise/kind": CategoricalDistribution(tuple(NOISE_KINDS)),
        "noise/magnitude": magnitudes(base.noise.scaling),
        "noise/schedule": schedules(),
        "noise/distribution": noise_distributions(),
    }
