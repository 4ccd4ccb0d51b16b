"""Strict JSON, in which there is no NaN and no infinity, and files that are written whole."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.files import write_atomically


def json_line(value: object) -> str:
    """JSON on one line; a number that is not finite becomes null."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: object, *, indent: int | None = 2) -> None:
    """Write JSON, whole or not at all; a number that is not finite raises ``ValueError``."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    # A file name may be no Unicode; its escape is JSON's, too.
    write_atomically(path, (text + "\n").encode(errors="backslashreplace"))


def plain(value: Any, odd: Callable[[float], str | None] = lambda number: None) -> Any:
    """The same as dicts, lists and what JSON has a word for; other numbers as ``odd`` says."""
    if isinstance(value, float):
        return value if math.isfinite(value) else odd(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, odd) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, odd) for item in value]
    return value
