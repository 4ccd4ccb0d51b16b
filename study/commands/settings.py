"""Options: those made from the settings of a configuration, and those written by hand."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from study.search.samplers import SAMPLERS
from trainables.config import setting_paths
from trainables.errors import InputError
from trainables.settings import Named

_LISTED: Mapping[str, Collection[str]] = {"sampler": SAMPLERS}
"""Names that a configuration can't list, since their registry lies above it; for the help."""

OWN_NAME = "MODULE:NAME"
"""What stands for code of one's own among the names of an option."""

THE_STUDYS = "the study's own"
"""The default of an option that changes one setting of a stored study."""


@dataclass(frozen=True)
class Option:
    """One option, as the help and docs/options.md show it.

    The names have their dashes; ``long`` is what stands for the value of an argument without.
    ``value`` is what stands for its value (``INT``), empty for a switch.
    """

    long: str
    short: str | None
    value: str
    default: str
    help: str


class SettingOptions:
    """The options of a configuration class.

    Args:
        kind: the configuration class; its fields made by ``setting(option=…)`` become options.
        defaults: a configuration whose values the help shows as defaults, or one text for all.
        only: paths (or groups, ``"data"``) to offer; None: all.
        omit: paths (or groups) not to offer.
        short: whether to offer short names.
        title: heading of the settings that belong to no group.
    """

    def __init__(
        self,
        kind: type[BaseModel],
        defaults: BaseModel | str,
        *,
        only: Collection[str] | None = None,
        omit: Collection[str] = (),
        short: bool = True,
        title: str = "run",
    ) -> None:
        self._title = title
        self._fields: dict[str, FieldInfo] = {
            path: field
            for path, field in setting_paths(kind).items()
            if _extra(field).get("option")
            and (only is None or _within(path, only))
            and not _within(path, omit)
        }
        self.options: dict[str, Option] = {
            path: _option(path, field, _default(defaults, path, field), short)
            for path, field in self._fields.items()
        }

    @property
    def long_names(self) -> dict[str, str]:
        """Setting path → long option, for messages."""
        return {path: option.long for path, option in self.options.items()}

    def names_of(self, given: Collection[str]) -> dict[str, str]:
        """Setting path → long option, of the settings that a command line gave."""
        return {path: long for path, long in self.long_names.items() if path in given}

    @cached_property
    def groups(self) -> dict[str, type]:
        """Heading → a dataclass for tyro, one field an option, nothing given by default."""
        by_title: dict[str, list[tuple[str, Any, Any]]] = {}
        for path, option in self.options.items():
            *parents, _ = path.split("/")
            title = parents[-1] if parents else self._title
            by_title.setdefault(title, []).append(_tyro_field(path, option, self._fields[path]))
        return {
            title: dataclasses.make_dataclass(title, fields, frozen=True)
            for title, fields in by_title.items()
        }

    def given(self, parsed: object) -> dict[str, Any]:
        """The settings that the command line gave, by path, as text still to be validated.

        ``parsed`` is the parsed command, with one attribute for each of ``groups``.
        """
        values = {
            name: value
            for title in self.groups
            for name, value in vars(getattr(parsed, title)).items()
            if value not in (None, ())
        }
        return {
            path: _plain(self._fields[path], option.long, values[_attribute(path)])
            for path, option in self.options.items()
            if _attribute(path) in values
        }


def option(*names: str, help: str, value: str | None = None, default: str | None = None) -> Any:
    """Names and help of a hand-written option: ``Annotated[str, option("--gpu", "-g", …)]``.

    The long name comes first; ``value`` stands for the value, ``default`` for the field's own.
    """
    long, *others = names
    return tyro.conf.arg(
        name=long.removeprefix("--"),
        aliases=others,
        help=help,
        metavar=value,
        help_behavior_hint=None if default is None else f"(default: {default})",
    )


def positional(value: str, help: str) -> Any:
    """An argument without dashes: ``Positional[Annotated[str, positional("NAME", …)]]``."""
    # The hint is empty: a name that is not given is answered in words, so it has no default.
    return tyro.conf.arg(help=help, metavar=value, help_behavior_hint="")


def _default(defaults: BaseModel | str, path: str, field: FieldInfo) -> object:
    if isinstance(defaults, str):
        return defaults
    value: Any = defaults
    for part in path.split("/"):
        value = getattr(value, part)
    return _extra(field).get("shown", value)


def default_text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return "+".join(str(item) for item in value) or "none"
    return str(value)


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def _within(path: str, choices: Collection[str]) -> bool:
    return any(path == choice or path.startswith(f"{choice}/") for choice in choices)


def _attribute(path: str) -> str:
    return path.replace("/", "__")


def _option(path: str, field: FieldInfo, default: object, short: bool) -> Option:
    extra = _extra(field)
    return Option(
        long=str(extra["option"]),
        short=str(extra["short"]) if short and "short" in extra else None,
        value=_value_name(path, field),
        default=default_text(default),
        help=": ".join(filter(None, (field.description, ", ".join(_LISTED.get(path, ()))))),
    )


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The members of a union other than None; the annotation itself if it is none."""
    if get_origin(annotation) in (None, Literal, tuple):
        return (annotation,)
    return tuple(kind for kind in get_args(annotation) if kind is not NoneType)


def _value_name(path: str, field: FieldInfo) -> str:
    (kind, *_) = _kinds(field.annotation)
    for marker in field.metadata:
        if isinstance(marker, Named):
            own = (OWN_NAME,) if marker.or_own else ()
            return "{" + ",".join((*marker.allowed, *own)) + "}"
    if kind is bool:
        return ""
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if get_origin(kind) is tuple:
        return "NAME …"
    if kind in (int, float):
        return "INT" if kind is int else "FLOAT"
    return re.split(r"[/_]", path)[-1].upper()


def _tyro_field(path: str, option: Option, field: FieldInfo) -> tuple[str, Any, Any]:
    described = tyro.conf.arg(
        name=option.long.removeprefix("--"),
        aliases=[option.short] if option.short else [],
        metavar=option.value or None,
        help=option.help,
        help_behavior_hint=f"(default: {option.default})",
    )
    name = _attribute(path)
    (kind, *_) = _kinds(field.annotation)
    if kind is bool:
        return name, Annotated[bool | None, described], None
    if get_origin(kind) is tuple:
        repeated = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]
        return name, Annotated[repeated, described], ()
    return name, Annotated[str | None, described], None


def _plain(field: FieldInfo, long: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        words = [word for words in value for word in words]
        items = [item for word in words for item in re.split(r"[,+]", word) if item]
        if not items:
            raise InputError(f"{long}: give at least one name after it")
        return items
    optional = NoneType in get_args(field.annotation)
    return None if optional and value.lower() == "none" else value
