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


def points(space: Mapping[str, BaseDistribution]) -> st.SearchStrategy[dict[str, Any]]:
    """Every point of a space."""
    return st.fixed_dictionaries({path: values(d) for path, d in space.items()})
