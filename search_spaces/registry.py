"""Search spaces by name.

A space is a function of the base configuration: its epoch budget bounds what depends on time. It
returns Optuna distributions keyed by config path (``"noise/patience"``), so that one dictionary
serves the sampler, the documentation and the tests. Every point of a space, laid over the base
together with the space's policy, is a valid configuration. The files are in ``spaces/``; here
only their names are listed, so that a configuration is checked without Optuna.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from search_spaces import spaces
from search_spaces.conditions import Conditions, to_overrides
from trainables.config import TrainConfig
from trainables.errors import InputError, nearest
from trainables.noise_config import Policy

if TYPE_CHECKING:  # the names of the spaces are known without Optuna
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class SpaceSpec:
    """A space, and what is said of it.

    Attributes:
        policy: that of all its trials; where the space searches ``noise/policy``, that one counts.
        distributions: raises an ``InputError`` if the epoch budget is too small for the space.
        conditions: where its dimensions are there, by its distributions, calibrated or not.
        opening: the points that a search begins with, in order.
        ranged: the settings, or dimensions, whose ranges a user gave; nothing changes those.
    """

    name: str
    policy: Policy
    description: str
    distributions: "Callable[[TrainConfig], dict[str, BaseDistribution]]"
    conditions: "Callable[[Mapping[str, BaseDistribution]], Conditions]" = lambda box: {}
    opening: "Callable[[Mapping[str, BaseDistribution]], Sequence[Mapping[str, Any]]]" = (
        lambda box: ()
    )
    ranged: frozenset[str] = frozenset()

    def overrides(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The overrides of a trial at ``point``, which is keyed by dimension."""
        return {"noise/policy": self.policy, **to_overrides(point)}


SPACES: tuple[str, ...] = tuple(
    sorted(m.name for m in iter_modules(spaces.__path__) if not m.name.startswith("_"))
)
"""The names of all spaces."""


@cache
def get_space(name: str) -> SpaceSpec:
    """The space called ``name``; its file is imported now."""
    if name not in SPACES:
        raise InputError(f"space = {name!r}: {nearest(name, SPACES)}")
    module = import_module(f"{spaces.__name__}.{name}")
    optional = {
        part: getattr(module, part) for part in ("conditions", "opening") if hasattr(module, part)
    }
    return SpaceSpec(name, module.POLICY, module.DESCRIPTION, module.distributions, **optional)


def first_possible_injection(
    space: SpaceSpec,
    base: TrainConfig,
    distributions: "Mapping[str, BaseDistribution] | None" = None,
) -> int:
    """The earliest epoch at which any point of a space lets noise begin, whatever training does.

    Args:
        distributions: the space's distributions if they differ from ``space.distributions(base)``,
            as those of a calibrated space do.
    """
    return min(possible_injections(space, base, distributions))


def possible_injections(
    space: SpaceSpec,
    base: TrainConfig,
    distributions: "Mapping[str, BaseDistribution] | None" = None,
) -> list[int]:
    """As ``first_possible_injection``, for each policy that points of the space may have."""
    from search_spaces.adaptive import earliest_of

    box = space.distributions(base) if distributions is None else distributions
    policies = getattr(box.get("noise/policy"), "choices", (space.policy,))
    sometimes = space.conditions(box).keys()
    return [
        earliest_of(box, base, sometimes) if policy == "on_stagnation" else 0 for policy in policies
    ]
