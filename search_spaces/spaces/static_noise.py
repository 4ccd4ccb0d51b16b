"""The space of static noise: the same kind in every epoch, only its magnitude decays."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from search_spaces.opening import SCHEDULE, half_decades, preferred
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


def opening(box: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Every kind at the middle half decade of the magnitudes, then at those above, then below."""
    return [
        {
            "noise/kind": kind,
            "noise/magnitude": magnitude,
            "noise/schedule": preferred(box["noise/schedule"], SCHEDULE),
            "noise/distribution": preferred(box["noise/distribution"], "gaussian"),
        }
        for magnitude in half_decades(box["noise/magnitude"])
        for kind in NOISE_KINDS
    ]
