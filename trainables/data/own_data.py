"""Data of one's own, by the dotted name of a function: ``package.module:function``.

It is called without arguments, or with ``--data-dir``, and returns ``(train, test)`` or ``(train,
test, classes)``: parts as in ``given_images``.
"""

from collections.abc import Sequence
from typing import Any

from trainables.data.dataset import ClassCounts, Progress, Source
from trainables.data.given_images import class_counts_of, source_of
from trainables.data_config import DataConfig
from trainables.errors import InputError
from trainables.own_import import import_own

_FORM = "it must return (train, test) or (train, test, classes)"

_kept: dict[DataConfig, Source] = {}
"""What was read to count the images, until it is asked for: its function may take minutes."""


def class_counts(config: DataConfig) -> ClassCounts:
    source = read(config, None)
    _kept.clear()
    _kept[config] = source
    return class_counts_of(source)


def read(config: DataConfig, progress: Progress | None) -> Source:
    if config in _kept:
        return _kept.pop(config)
    where = f"dataset = {config.dataset!r}"
    function = import_own("dataset", config.dataset, "a function that returns (train, test)")
    arguments = () if config.data_dir is None else (config.data_dir,)
    try:
        found: Any = function(*arguments)
    except Exception as error:
        called = f"with {config.data_dir!r}" if arguments else "without arguments"
        raise InputError(
            f"{where}: called {called}, it raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, tuple | list) or len(found) not in (2, 3):
        raise InputError(f"{where}: {_FORM}, not {type(found).__name__}")
    train, test, *rest = found
    classes = _classes(where, rest[0]) if rest else getattr(train, "classes", None)
    return source_of(where, {"train": train, "test": test}, classes, config, progress)


def _classes(where: str, given: Any) -> Sequence[str] | None:
    if given is None:
        return None
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise InputError(f"{where}: classes = {given!r}; give their names, in the order of labels")
    return list(given)
