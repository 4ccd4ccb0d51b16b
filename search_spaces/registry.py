"""Search spaces by name.

A space is a function of the base configuration: its epoch budget bounds what depends on time. It
returns Optuna distributions keyed by config path (``"noise/patience"``), so that one dictionary
serves the sampler, the documentation and the tests. Every point of a space, laid over the base
together with the space's policy, is a valid configuration. The files are in ``spaces/``; here
only their names are listed, so that a configuration is checked without Optuna.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from search_spaces import spaces
from trainables.config import TrainConfig
from trainables.errors import InputError, nearest
from trainables.noise_config import Policy

if TYPE_CHECKING:  # the names of the spaces are known without Optuna
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class SpaceSpec:
    """``distributions`` raises an ``InputError`` if the epoch budget is too small for the space."""

    name: str
    policy: Policy
    description: str
    distributions: "Callable[[TrainConfig], dict[str, BaseDistribution]]"

    def overrides(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {"noise/policy": self.policy, **point}


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
    return SpaceSpec(name, module.POLICY, module.DESCRIPTION, module.distributions)


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
    if space.policy != "on_stagnation":
        return 0
    from search_spaces.adaptive import earliest_of

    return earliest_of(space.distributions(base) if distributions is None else distributions, base)
