"""Data of one's own, by the dotted name of a function: ``package.module:function``.

It is called without arguments, or with ``--data-dir``, and returns ``(train, test)`` or ``(train,
test, classes)``: parts as in ``given_images``.
"""

from functools import partial
from typing import Any

from trainables.data.given_images import Given, counted_once
from trainables.data.given_labels import class_names, same_classes
from trainables.data.streamed import read_given
from trainables.data_config import DataConfig
from trainables.errors import FOREIGN, InputError
from trainables.own_import import import_own

_FORM = "it must return (train, test) or (train, test, classes)"


def given(config: DataConfig) -> Given:
    """What the function returns."""
    where = f"dataset = {config.dataset!r}"
    function = import_own("dataset", config.dataset, "a function that returns (train, test)")
    arguments = () if config.data_dir is None else (config.data_dir,)
    try:
        found: Any = function(*arguments)
    except FOREIGN as error:
        called = f"with {config.data_dir!r}" if arguments else "without arguments"
        raise InputError(
            f"{where}: called {called}, it raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, tuple | list) or len(found) not in (2, 3):
        raise InputError(f"{where}: {_FORM}, not {type(found).__name__}")
    train, test, *rest = found
    if rest:
        classes = class_names(where, rest[0])
    else:
        own = [class_names(where, getattr(part, "classes", None)) for part in (train, test)]
        classes = same_classes(where, *own)
    return Given(where, {"train": train, "test": test}, classes)


class_counts, read = counted_once(partial(read_given, given))
