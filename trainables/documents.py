"""Documents in JSON or YAML that a person or a study wrote: opened, bounded and parsed here only.

A document is a regular file of bounded size in UTF-8. YAML is read as its version 1.2 core schema
means it, without tags and aliases: what it says is what it holds, and nothing in it grows.
"""

import json
import os
import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from trainables.code_identity import remember_named
from trainables.errors import InputError
from trainables.paths import check_regular

MOST_BYTES = 64 * 2**20
DEEPEST = 50
"""Levels of a document; a study's own files have less than ten."""

_WORDS = 300
"""Characters of a parser's message that are shown."""


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds one mapping."""
    values = read_document(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return values


def read_document(path: str | Path) -> Any:
    """Read a JSON or YAML file, told apart by its ending (``.yaml``, ``.yml``, else JSON)."""
    text = read_text(path)
    try:
        if Path(path).suffix.lower() in {".yaml", ".yml"}:
            found = yaml.load(text, _Loader)
        else:
            found = json.loads(text, object_pairs_hook=_unique)
        remember_named(path, found)
        return found
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not valid JSON or YAML: {_shortened(error)}") from None


def read_text(path: str | Path, most: int = MOST_BYTES) -> str:
    """The text of a regular file of at most ``most`` bytes."""
    try:
        # A pipe without a writer would be waited for.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            check_regular(handle)
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        # ValueError: a path with a NUL, or with what can't be encoded.
        raise InputError(f"{str(path)!a}: can't be read: {error}") from None
    if len(content) > most:
        raise InputError(f"{path}: can't be read: larger than {most / 2**20:.0f} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: can't be read: not UTF-8: {error}") from None


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"{key!r} is there twice")
        values[key] = value
    return values


_YAML = "tag:yaml.org,2002:"
_SCALARS = {
    "null": re.compile(r"(?:~|null|Null|NULL|)"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)"),
    "int": re.compile(r"[-+]?\d+|0o[0-7]+|0x[\da-fA-F]+"),
    "float": re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|[-+]?\.inf|\.nan", re.I),
}
"""The core schema's plain scalars (yaml.org/spec/1.2.2, section 10.3.2); all else is text."""


class _Loader(yaml.SafeLoader):
    """YAML's core schema; nothing that grows, nothing that is there twice."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {line}: aliases are not read; write out what they stand for")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"line {line}: tags are not read, here {event.tag}")
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"line {line}: deeper than {DEEPEST} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return str(super().resolve(kind, value, implicit))
        plain = implicit[0]
        found = (name for name, form in _SCALARS.items() if plain and form.fullmatch(value))
        return _YAML + next(found, "str")

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        for key, _ in node.value:
            if key.tag != f"{_YAML}str":
                raise ValueError(f"line {key.start_mark.line + 1}: keys must be text")
        _unique((key.value, None) for key, _ in node.value)
        return super().construct_mapping(node, deep)


def _integer(loader: _Loader, node: Any) -> int:
    text = node.value
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _number(loader: _Loader, node: Any) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor(f"{_YAML}int", _integer)
_Loader.add_constructor(f"{_YAML}float", _number)


def _shortened(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"
