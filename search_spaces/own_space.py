"""A space of one's own, as a document: of a file, or what one's own function returned.

A study stores the document, so that it goes on, is reported and confirmed without running the
function again: nobody's code, and no change in it, can move the space under a study.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.conditions import Conditions
from search_spaces.registry import SPACES, SpaceSpec
from search_spaces.written import (
    Dimension,
    check_name,
    from_distribution,
    read_dimension,
    read_value,
)
from trainables.config import TrainConfig
from trainables.documents import read_document
from trainables.errors import FOREIGN, InputError, nearest, shortened
from trainables.own_import import import_own
from trainables.paths import given_path

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_PARTS = ("policy", "description", "dimensions", "conditions", "opening")
_POLICIES = ("on_stagnation", "always")
_FILES = (".yaml", ".yml", ".json")


def is_own_space(name: str) -> bool:
    """Whether a space's name is that of one's own function, or of a file."""
    return ":" in name or name.lower().endswith(_FILES)


def check_space_name(name: str) -> None:
    """Refuse what names no space; a file and a function are looked up only when a study begins."""
    if name not in SPACES and not is_own_space(name):
        raise InputError(
            f"unknown space; {nearest(name, SPACES)}, or your own as package.module:function or "
            "FILE.yaml (docs/own-space.md)"
        )


def load_space(name: str, base: TrainConfig) -> dict[str, Any]:
    """The document of a space of one's own: its file is read, or its function called, now."""
    where = f"space (--space) = {name!r}"
    if name.lower().endswith(_FILES):
        path = given_path(name, "space (--space)")
        try:
            return checked_document(read_document(path), where)
        except InputError as error:
            raise InputError(str(error) if where in str(error) else f"{where}: {error}") from None
    function = import_own("space", name, "a function of the base configuration")
    first, second = (_called(function, base, where) for _ in range(2))
    if first != second:
        raise InputError(
            f"{where}: called twice it returned two different spaces ({_difference(first, second)})"
            "; let it follow from its argument alone"
        )
    return first


def _called(function: Any, base: TrainConfig, where: str) -> dict[str, Any]:
    try:
        found = function(base)
    except FOREIGN as error:
        raise InputError(
            f"{where}: called with the base configuration, as a space is, it raised "
            f"{type(error).__name__}: {shortened(str(error), 200)}"
        ) from error
    if not isinstance(found, Mapping):
        raise InputError(
            f"{where}: it returned a {type(found).__name__}; give a mapping of settings to "
            'ranges, e.g. {"noise/patience": "1..20"}'
        )
    return checked_document(found if "dimensions" in found else {"dimensions": found}, where)


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The first part in which two documents differ."""
    part = next(part for part in _PARTS if first[part] != second[part])
    one, other = first[part], second[part]
    if isinstance(one, dict):
        names = [*one, *(name for name in other if name not in one)]
        name = next((n for n in names if one.get(n) != other.get(n)), "")
        part = f"{part}: {name}" if name else f"{part}: their order"
        one, other = one.get(name), other.get(name)
    return f"{part} = {shortened(one)}, then {shortened(other)}"


def checked_document(document: Any, where: str) -> dict[str, Any]:
    """A space's document in its plain form, every name and value checked.

    Its parts are ``policy``, ``description``, ``dimensions``, ``conditions`` and ``opening``; only
    ``dimensions`` must be there.
    """
    if not isinstance(document, Mapping):
        raise InputError(f"{where}: expected a mapping, found {type(document).__name__}")
    for part in document:
        if part not in _PARTS:
            raise InputError(
                f"{where}: {part!r} is no part of a space; {nearest(str(part), _PARTS)}"
            )
    given = document.get("dimensions")
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            f'{where}: it has no dimensions; give at least one, e.g. {{"noise/patience": "1..20"}}'
        )
    policy = document.get("policy") or _POLICIES[0]
    if policy not in _POLICIES:
        raise InputError(f"{where}: policy = {policy!r}: {nearest(str(policy), _POLICIES)}")
    description = document.get("description") or "a space of one's own"
    if not isinstance(description, str):
        raise InputError(f"{where}: description = {description!r}: give a sentence")
    dimensions: dict[str, Dimension] = {}
    for name, written in given.items():
        check_name(name, where)
        dimensions[name] = read_dimension(name, from_distribution(name, written, where), where)
    return {
        "policy": policy,
        "description": " ".join(description.split()),
        "dimensions": {name: found.written for name, found in dimensions.items()},
        "conditions": _conditions(document.get("conditions") or {}, dimensions, where),
        "opening": _opening(document.get("opening") or [], dimensions, where),
    }


def _conditions(
    given: Any, dimensions: Mapping[str, Dimension], where: str
) -> dict[str, list[dict[str, list[Any]]]]:
    if not isinstance(given, Mapping):
        raise InputError(
            f"{where}: conditions: expected a mapping of dimensions to what others must be, "
            f"found {type(given).__name__}"
        )
    found: dict[str, list[dict[str, list[Any]]]] = {}
    order = list(dimensions)
    for name, several in given.items():
        about = f"{where}: conditions of {name}"
        _check_there(name, dimensions, about)
        found[name] = []
        for condition in several if isinstance(several, list | tuple) else [several]:
            if not isinstance(condition, Mapping) or not condition:
                raise InputError(
                    f"{about}: expected a mapping such as {{noise/signals: stuck}}, "
                    f"found {shortened(condition)}"
                )
            found[name].append({})
            for other, values in condition.items():
                _check_there(other, dimensions, about)
                if order.index(other) >= order.index(name):
                    raise InputError(
                        f"{about}: {other} stands behind it; a dimension can only depend on those "
                        "before it"
                    )
                listed = values if isinstance(values, list | tuple) else [values]
                found[name][-1][other] = [
                    _member(other, value, dimensions[other], about) for value in listed
                ]
    return found


def _opening(given: Any, dimensions: Mapping[str, Dimension], where: str) -> list[dict[str, Any]]:
    if not isinstance(given, list | tuple):
        raise InputError(
            f"{where}: opening: expected a list of points, found {type(given).__name__}"
        )
    found: list[dict[str, Any]] = []
    for index, point in enumerate(given):
        about = f"{where}: opening, point {index}"
        if not isinstance(point, Mapping):
            raise InputError(f"{about}: expected a mapping of values, found {shortened(point)}")
        found.append({})
        for name, value in point.items():
            _check_there(name, dimensions, about)
            found[-1][name] = _member(name, value, dimensions[name], about)
    return found


def _check_there(name: Any, dimensions: Mapping[str, Dimension], about: str) -> None:
    if name not in dimensions:
        raise InputError(f"{about}: {name!r} is no dimension; {nearest(str(name), dimensions)}")


def _member(name: str, value: Any, dimension: Dimension, about: str) -> Any:
    """A value of a dimension, as its setting has it; refused where it lies outside."""
    found = read_value(name, value, about)
    if not dimension.contains(found):
        raise InputError(
            f"{about}: {name} = {value!r} is not in its range {shortened(dimension.written)}"
        )
    return found


def own_spec(name: str, document: Mapping[str, Any]) -> SpaceSpec:
    """The space that a checked document is."""
    where = f"space (--space) = {name!r}"
    dimensions = {
        each: read_dimension(each, written, where)
        for each, written in document["dimensions"].items()
    }

    def distributions(base: TrainConfig) -> "dict[str, BaseDistribution]":
        return {each: found.distribution() for each, found in dimensions.items()}

    def conditions(box: "Mapping[str, BaseDistribution]") -> Conditions:
        return {each: given for each, given in document["conditions"].items() if each in box}

    def opening(box: "Mapping[str, BaseDistribution]") -> Sequence[Mapping[str, Any]]:
        points: list[Mapping[str, Any]] = document["opening"]
        return [{each: value for each, value in p.items() if each in box} for p in points]

    return SpaceSpec(
        name, document["policy"], document["description"], distributions, conditions, opening
    )
