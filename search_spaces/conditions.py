"""Dimensions that a point of a space has only where they have an effect.

A dimension is named by the path that it sets. Where a path has several ranges, a suffix tells them
apart: ``noise/magnitude@step`` and ``noise/magnitude@weight`` both set ``noise/magnitude``, and no
point has both.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Condition = Mapping[str, Sequence[Any]]
"""The values that other dimensions, all earlier in the space, must have: all of these."""

Conditions = Mapping[str, Sequence[Condition]]
"""By dimension: it is there where one of its conditions holds. Those not named are always there."""


def path_of(name: str) -> str:
    """The path that a dimension sets: ``noise/magnitude`` for ``noise/magnitude@step``."""
    return name.partition("@")[0]


def to_overrides(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point, by dimension, as overrides of a configuration, by path."""
    return {path_of(name): value for name, value in point.items()}


def build_point(
    names: Iterable[str], conditions: Conditions, value: Callable[[str], Any]
) -> dict[str, Any]:
    """The point that results when each dimension that is there is asked for its value, in order."""
    point: dict[str, Any] = {}
    for name in names:
        if _is_there(name, conditions, point):
            point[name] = value(name)
    return point


def from_overrides(
    names: Iterable[str], conditions: Conditions, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The inverse of ``to_overrides``; what a recorded trial lacks is left out."""
    point: dict[str, Any] = {}
    for name in names:
        if path_of(name) in overrides and _is_there(name, conditions, point):
            point[name] = overrides[path_of(name)]
    return point


def _is_there(name: str, conditions: Conditions, point: Mapping[str, Any]) -> bool:
    return name not in conditions or any(
        all(other in point and point[other] in values for other, values in condition.items())
        for condition in conditions[name]
    )
