"""Importing code of one's own by dotted name: what is trusted, from the working folder."""

import importlib
import os
import platform
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainables.code_identity import changed_modules, code_identity, search_path
from trainables.code_trust import check_trusted
from trainables.errors import FOREIGN, InputError

if TYPE_CHECKING:
    from trainables.config import TrainConfig


def check_unchanged(setting: str, name: str, recorded: Sequence[str] | None) -> None:
    """Refuse code whose source is not what was recorded; None: nothing was."""
    changed = changed_modules(recorded, code_identity(name)) if recorded is not None else []
    if changed:
        raise InputError(
            f"{setting} = {name!r}: the source of {', '.join(changed)} in "
            f"{os.getcwd()} ({platform.node()}) is not the one that was recorded"
        )


def check_same_code(config: "TrainConfig") -> None:
    """Refuse a run of code whose source is not what its configuration recorded."""
    known = config.identities
    for setting, name in config.own_names.items():
        check_unchanged(setting, name, known.get(name))


def import_own(setting: str, name: str, wanted: str) -> Any:
    """What ``package.module:name`` names, which can be called; the working folder is importable.

    ``setting`` is what names it, and ``wanted`` says what is to be given, both for messages.
    """
    where = f"{setting} = {name!r}"
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        kind = "class" if setting == "task" else "function"
        raise InputError(f"{where}: write your own {setting} as package.module:{kind}")
    if module_name == "__main__":
        raise InputError(
            f"{where}: __main__ is this notebook or script, and the workers have another one; put "
            f"the code into a file of the same folder, say mine.py, and name it mine:{attribute}"
        )
    check_trusted(name, setting)
    folder = os.getcwd()
    # As with ``python -m``; a command's own path begins at the folder it is installed in.
    sys.path[:] = search_path()
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except FOREIGN as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):
            raise InputError(
                f"{where}: there is no module {missing!r}, neither in {folder} nor installed"
            ) from None
        raise InputError(
            f"{where}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [
                key
                for key, value in getattr(found, "__dict__", {}).items()
                if _is_candidate(key, value)
            ]
            raise InputError(
                f"{where}: {module_name} has no {attribute!r}; "
                f"it has: {', '.join(public) or 'nothing that can be called'}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{where}: {attribute} is of type {type(found).__name__}; give {wanted}")
    return found


def _is_candidate(key: str, value: object) -> bool:
    return not key.startswith("_") and callable(value)
