"""Frozen configurations: a setting with its help, and documents parsed into them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from trainables.code_identity import is_own
from trainables.errors import InputError, explain, nearest

LARGEST = 1e30
"""What tensors of fp32 are multiplied with at most: torch refuses what is no fp32 number."""

LARGEST_INTEGER = 2**62
"""Half of what a 64-bit integer holds: seeds and epochs are counted on from it."""


class FrozenConfig(BaseModel):
    """Base of all configurations: immutable, finite numbers only, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, strict=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """A document's ``true`` is not 1; pydantic would take it for that."""
        if isinstance(value, bool) and not _takes_truth(cls, str(info.field_name)):
            raise ValueError("true and false are not allowed here")
        return value

    @field_validator("*")
    @classmethod
    def _computable(cls, value: Any) -> Any:
        """Numbers that no 64-bit integer holds end deep inside torch otherwise."""
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise ValueError(f"too large; at most {LARGEST_INTEGER}")
        return value


@cache
def _takes_truth(kind: type[BaseModel], field: str) -> bool:
    def kinds(annotation: Any) -> Iterator[Any]:
        yield annotation
        for part in get_args(annotation):
            yield from kinds(part)

    return not {bool, Any}.isdisjoint(kinds(kind.model_fields[field].annotation))


@dataclass(frozen=True)
class Named:
    """Marks a setting whose value is one of some names; a wrong one is answered with the nearest.

    The command lines read ``allowed`` for their help. ``or_own``: code of one's own may be named
    instead, as ``package.module:function``.
    """

    allowed: tuple[str, ...]
    any_case: bool = False
    or_own: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = (
            core_schema.str_schema()
            if self.or_own
            else core_schema.literal_schema(list(self.allowed))
        )
        return core_schema.no_info_before_validator_function(self._check, schema)

    def _check(self, value: object) -> object:
        if not isinstance(value, str) or (self.or_own and is_own(value)):
            return value
        canonical = {name.lower(): name for name in self.allowed} if self.any_case else {}
        name = canonical.get(value.lower(), value)
        if name not in self.allowed:
            own = "; or your own as package.module:function" if self.or_own else ""
            raise ValueError(nearest(value, self.allowed) + own)
        return name


def setting(
    default: Any,
    help: str,
    *,
    option: str | None = None,
    short: str | None = None,
    later: bool = False,
    shown: JsonValue = None,
    **bounds: Any,
) -> Any:
    """A pydantic field with its command-line spelling.

    Args:
        option: the long option if it is not the field's name with dashes, e.g. ``--wd``.
        short: the short option, e.g. ``-b``.
        later: for a setting that is added when studies are recorded already: at its default it
            does not show in their digests, which stay what they are.
        shown: what the help gives as the default, where commands begin with another one.
    """
    named = {"option": option, "short": short, "later": later, "shown": shown}
    extra: dict[str, JsonValue] = {key: value for key, value in named.items() if value}
    return Field(default, description=help, json_schema_extra=extra, **bounds)


def came_later(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and "later" in field.json_schema_extra


Config = TypeVar("Config", bound=BaseModel)


def parse_config(
    kind: type[Config],
    values: Any,
    *,
    where: str = "",
    options: Mapping[str, str] | None = None,
) -> Config:
    """Validate ``values`` as a ``kind``; ``where`` and ``options`` are as in ``explain``."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, where=where, options=options)) from None


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
