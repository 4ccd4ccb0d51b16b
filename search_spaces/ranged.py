"""A user's ranges on top of any space (``--range``), and whether noise can begin at its points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from search_spaces.conditions import Conditions, build_point, path_of
from search_spaces.registry import SpaceSpec
from search_spaces.written import RANGE, read_dimension, within
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_POINTS = 256

CANNOT_BEGIN = "its noise can't begin"
"""What the reason of a trial begins with that was pruned before it was trained."""


def with_ranges(space: SpaceSpec, ranges: Mapping[str, Any]) -> SpaceSpec:
    """A space in which a user's ranges stand in the place of its own, or beside them.

    A range given by its path holds for every dimension that sets it, e.g. for the magnitude of each
    kind of noise. The opening keeps its points within the ranges.
    """
    if not ranges:
        return space
    found = {name: read_dimension(name, written, RANGE) for name, written in ranges.items()}

    def distributions(base: TrainConfig) -> "dict[str, BaseDistribution]":
        box = space.distributions(base)
        for name, dimension in found.items():
            if name != path_of(name) and name not in box:
                of_path = [each for each in box if path_of(each) == path_of(name)]
                raise InputError(
                    f"{RANGE}: space {space.name} has no {name!r}; "
                    f"{nearest(name, [path_of(name), *of_path])}"
                )
            mine = [each for each in box if name in (each, path_of(each))] or [name]
            box |= {each: dimension.distribution() for each in mine}
        # A range of one dimension wins over one of its path.
        return box | {n: d.distribution() for n, d in found.items() if n in box}

    def opening(box: "Mapping[str, BaseDistribution]") -> Sequence[Mapping[str, Any]]:
        return [point for point in space.opening(box) if _fits(point, box)]

    return replace(space, distributions=distributions, opening=opening, ranged=frozenset(ranges))


def _fits(point: Mapping[str, Any], box: "Mapping[str, BaseDistribution]") -> bool:
    return all(name in box and _contains(box[name], value) for name, value in point.items())


def _contains(distribution: Any, value: Any) -> bool:
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return value in choices
    return isinstance(value, int | float) and within(
        value, distribution.low, distribution.high, distribution.step
    )


@dataclass(frozen=True)
class Beginnings:
    """At how many of some points drawn from a space no noise can begin, and why at the first."""

    points: int
    without: int
    reason: str


def why_not(base: TrainConfig, overrides: Mapping[str, Any]) -> str:
    """Why noise can't begin with these settings, in a line; empty where it can."""
    try:
        apply_overrides(base, overrides)
    except InputError as error:
        return "; ".join(str(error).splitlines())
    return ""


def check_points(space: SpaceSpec, base: TrainConfig) -> Beginnings:
    """Draw points of a space that nobody has tried; refuse one in which none is a trial."""
    from search_spaces.sampling import sample

    box = space.distributions(base)
    conditions = space.conditions(box)
    columns = sample(box, _POINTS, seed=0)
    points = []
    for index in range(_POINTS):
        drawn = {name: column[index] for name, column in columns.items()}
        points.append(build_point(box, conditions, drawn.__getitem__))
    _check_once(space, points, conditions)
    for name in space.ranged:
        if not any(name in (each, path_of(each)) for point in points for each in point):
            raise InputError(
                f"{RANGE}: {name}: no trial of space {space.name} would have it, as its conditions "
                "and the other ranges are; leave it out, or widen those"
            )
    reasons = [why for p in points if (why := why_not(base, space.overrides(p)))]
    if len(reasons) == _POINTS:
        raise InputError(
            f"space (--space) = {space.name!r}: noise can begin at none of its points: {reasons[0]}"
        )
    return Beginnings(_POINTS, len(reasons), reasons[0] if reasons else "")


def _check_once(
    space: SpaceSpec, points: Sequence[Mapping[str, Any]], conditions: Conditions
) -> None:
    """Refuse a space with a point that has a setting twice."""
    for point in points:
        by_path: dict[str, str] = {}
        for name in point:
            other = by_path.setdefault(path_of(name), name)
            if other != name:
                raise InputError(
                    f"space (--space) = {space.name!r}: a trial would have both {other} and "
                    f"{name}, which set the same; give them conditions that exclude each other, "
                    "or narrow what they depend on"
                )
