"""Labels of images that are given: numbers or names, their classes, their places among these."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainables.data.dataset import Labels
from trainables.data.image_listing import some
from trainables.errors import InputError, shortened

LABEL_KEYS = ("label", "labels")

_MOST_UNUSED = 1000
"""Classes without an image that are named in the refusal; more are not counted out, nor kept."""


def label_of(where: str, label: Any) -> int | str:
    one = hasattr(label, "item") and all(side == 1 for side in getattr(label, "shape", ()))
    value = label.item() if one else label
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | bool):
        return int(value)
    raise InputError(
        f"{where} is {' '.join(shortened(value).split())}; a label is a whole number from 0 on, or "
        "a name"
    )


def class_names(where: str, given: Any) -> list[str] | None:
    """Names of classes as an array, a list or a tuple gives them; None where none are given."""
    if given is None:
        return None
    names = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(names, str) or not isinstance(names, list | tuple):
        raise InputError(f"{where}: classes = {given!r}; give their names, in the order of labels")
    found = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]
    # ImageNet's classes are tuples of words.
    found = [", ".join(name) if isinstance(name, tuple) else name for name in found]
    if not all(isinstance(name, str) for name in found):
        raise InputError(f"{where}: classes = {given!r}; give their names, in the order of labels")
    return found


def same_classes(where: str, train: list[str] | None, test: list[str] | None) -> list[str] | None:
    """The names of both parts; refused where they differ: equal labels would mean other classes."""
    if train is not None and test is not None and train != test:
        raise InputError(
            f"{where}: train has the classes {some(train)}, test {some(test)}; both need the same, "
            "in the same order"
        )
    return train if train is not None else test


def numbered(
    where: str, labels: Mapping[str, Sequence[int | str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """The classes' names, and the labels of each part by their places; none may lack a class."""
    values = {value for part in labels.values() for value in part}
    named = {isinstance(value, str) for value in values}
    if len(named) > 1:
        raise InputError(f"{where}: some labels are numbers, others names; give one kind")
    if named == {True}:
        names = tuple(classes) if classes else tuple(sorted(map(str, values)))
        unknown = sorted(map(str, values - set(names)))
        if unknown:
            raise InputError(f"{where}: labels {some(unknown)} are none of the classes")
    else:
        highest = max((int(value) for value in values), default=-1)
        if not classes and highest > len(values) + _MOST_UNUSED:
            raise InputError(
                f"{where}: label {highest}, but there are {len(values)} different ones; labels are "
                "numbers of classes, from 0 on without a gap"
            )
        names = tuple(map(str, classes)) if classes else tuple(map(str, range(highest + 1)))
        wrong = sorted(int(value) for value in values if not 0 <= int(value) < len(names))
        if wrong:
            raise InputError(
                f"{where}: label {wrong[0]} with {len(names)} classes; labels are whole numbers "
                "from 0 on"
            )
    if len(names) < 2:
        raise InputError(f"{where}: {len(names)} classes; at least two are needed")
    if len(set(names)) < len(names):
        raise InputError(f"{where}: a class is named twice among {some(names)}")
    place: dict[int | str, int] = (
        {name: number for number, name in enumerate(names)}
        if named == {True}
        else {number: number for number in range(len(names))}
    )
    numbers = {
        part: np.array([place[value] for value in own], np.int64) for part, own in labels.items()
    }
    for part, own_numbers in numbers.items():
        found = set(own_numbers.tolist())
        empty = [each for number, each in enumerate(names) if number not in found]
        if empty:
            raise InputError(
                f"{where}: {part} has no image of {some(empty)}; each class needs some"
            )
    return names, numbers
