"""JSON files: floats that JSON has no word for, and writes that are whole or not at all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.files import write_atomically


def json_line(value: Mapping[str, Any]) -> str:
    """Strict JSON on one line; a number that is not finite becomes null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write strict JSON, whole or not at all; a number that is not finite becomes null."""

    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
