"""Frozen configurations: a setting with its help, and documents parsed into them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from trainables.errors import InputError, explain, nearest


class FrozenConfig(BaseModel):
    """Base of all configurations: immutable, finite numbers only, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, strict=False
    )


def named(allowed: tuple[str, ...], *, any_case: bool = False) -> BeforeValidator:
    """Check a name against ``allowed`` and answer a wrong one with the nearest."""
    canonical = {name.lower(): name for name in allowed}

    def check(value: object) -> object:
        if isinstance(value, str):
            if any_case and value.lower() in canonical:
                return canonical[value.lower()]
            if value not in allowed:
                raise ValueError(nearest(value, allowed))
        return value

    return BeforeValidator(check)


def setting(
    default: Any, help: str, *, option: str | None = None, short: str | None = None, **bounds: Any
) -> Any:
    """A pydantic field with its command-line spelling.

    Args:
        default: the field's default.
        help: one sentence for ``--help`` and the README's table.
        option: the long option if it is not the field's name with dashes, e.g. ``--wd``.
        short: the short option, e.g. ``-b``.
        bounds: pydantic's bounds (``gt``, ``ge``, ``le`` …).
    """
    extra: dict[str, JsonValue] = {
        key: value for key, value in (("option", option), ("short", short)) if value
    }
    return Field(default, description=help, json_schema_extra=extra, **bounds)


Config = TypeVar("Config", bound=BaseModel)


def parse_config(
    kind: type[Config],
    values: Any,
    *,
    where: str = "",
    options: Mapping[str, str] | None = None,
) -> Config:
    """Validate ``values`` as a ``kind``; ``where`` and ``options`` are as in ``explain``.

    Raises:
        InputError: naming each wrong field, its value and what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, where=where, options=options)) from None


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds one mapping.

    Raises:
        InputError: if the file is missing, is neither, or holds something else.
    """
    values = read_document(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return values


def read_document(path: str | Path) -> Any:
    """Read a JSON or YAML file, told apart by its ending (``.yaml``, ``.yml``, else JSON)."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None
    try:
        if path.suffix.lower() in {".yaml", ".yml"}:
            return yaml.safe_load(text)
        return json.loads(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not valid JSON or YAML: {error}") from None


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``changes`` over ``base``, mapping by mapping; neither is modified."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = (
            merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged


def nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``{"noise/patience": 3}`` → ``{"noise": {"patience": 3}}``."""
    nested: dict[str, Any] = {}
    for path, value in overrides.items():
        *parents, last = path.split("/")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise InputError(f"{path}: {parent} is a value, not a group of settings")
        level[last] = value
    return nested
