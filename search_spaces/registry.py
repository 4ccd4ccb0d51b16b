"""Search spaces by name.

A space is a function of the base configuration: its epoch budget bounds what depends on time. It
returns Optuna distributions keyed by config path (``"noise/patience"``), so that one dictionary
serves the sampler, the documentation and the tests. Every point of a space, laid over the base
together with the space's policy, is a valid configuration.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution

from search_spaces.adaptive import adaptive_noise, adaptive_noise_small, earliest_of
from search_spaces.static import static_noise
from trainables.config import TrainConfig
from trainables.errors import InputError, nearest
from trainables.noise_config import Policy

Distributions = dict[str, BaseDistribution]


@dataclass(frozen=True)
class SpaceSpec:
    """A search space: its name, the policy of its trials, one sentence, the function itself."""

    name: str
    policy: Policy
    description: str
    function: Callable[[TrainConfig], Distributions]

    def distributions(self, base: TrainConfig) -> Distributions:
        """The space over ``base``.

        Raises:
            InputError: if the epoch budget of ``base`` is too small for the space.
        """
        return self.function(base)

    def overrides(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial at ``point`` changes in the base configuration: the point and the policy."""
        return {"noise/policy": self.policy, **point}


_SPACES = (
    SpaceSpec(
        "adaptive_noise",
        "on_stagnation",
        "adaptive noise: how strong, which signals, their thresholds, timing and cooldown",
        adaptive_noise,
    ),
    SpaceSpec(
        "adaptive_noise_small",
        "on_stagnation",
        "the five settings of adaptive noise that matter most",
        adaptive_noise_small,
    ),
    SpaceSpec(
        "static_noise",
        "always",
        "noise in every epoch: kind, magnitude, schedule and distribution",
        static_noise,
    ),
)

SPACES: dict[str, SpaceSpec] = {space.name: space for space in _SPACES}
"""All spaces by name."""


def get_space(name: str) -> SpaceSpec:
    """The space called ``name``.

    Raises:
        InputError: with the nearest name.
    """
    if name not in SPACES:
        raise InputError(f"space = {name!r}: {nearest(name, SPACES)}")
    return SPACES[name]


def first_possible_injection(
    space: SpaceSpec, base: TrainConfig, distributions: Mapping[str, BaseDistribution] | None = None
) -> int:
    """The earliest epoch at which any point of a space lets noise begin, whatever training does.

    Args:
        space: the space.
        base: the base configuration.
        distributions: the space's distributions if they differ from ``space.function(base)``,
            as those of a calibrated space do.
    """
    if space.policy != "on_stagnation":
        return 0
    return earliest_of(space.function(base) if distributions is None else distributions, base)
