"""Points of a search space, drawn by hypothesis, ends included."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.conditions import Conditions, build_point


def values(distribution: BaseDistribution) -> st.SearchStrategy[Any]:
    """Every value that a distribution has."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return st.sampled_from(choices)
        case IntDistribution(low=low, high=high):
            return st.integers(low, high)
        case FloatDistribution(low=low, high=high):
            return st.floats(low, high)
    raise AssertionError(distribution)


def points(
    space: Mapping[str, BaseDistribution], conditions: Conditions | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    """Every point of a space."""
    everything = st.fixed_dictionaries({name: values(d) for name, d in space.items()})
    return everything.map(
        lambda drawn: build_point(space, conditions or {}, lambda name: drawn[name])
    )
