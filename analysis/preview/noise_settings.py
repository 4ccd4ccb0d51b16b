"""The noise settings that a user means: from a file, a study's trial, and single options."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainables.config import TrainConfig
from trainables.documents import read_document
from trainables.errors import InputError, nearest
from trainables.noise_config import NoiseConfig
from trainables.settings import merge, nest, parse_config


@dataclasses.dataclass(frozen=True)
class NoiseFile:
    """Noise settings as a file gives them, and what else it says that is not looked at."""

    noise: Mapping[str, Any]
    notice: str | None = None


def read_noise_file(path: str, entry: int | None, baseline: TrainConfig) -> NoiseFile:
    """Read noise settings from a file, in any form that this project writes or reads.

    A whole run configuration, a part of one, noise settings alone (``{"patience": 3}``), overrides
    by path (``{"noise/patience": 3}``), or a list of such entries, as ``--configs`` takes.

    ``entry``: which one of a list, from 0; ``baseline``: which only noise may differ from.
    """
    content = read_document(path)
    if isinstance(content, list):
        content = _entry_of(path, content, entry)
    elif entry is not None:
        raise InputError(f"--entry = {entry}: {path} holds one configuration, not a list of them")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected settings, found {type(content).__name__}")
    noise_alone = content and set(content) <= set(NoiseConfig.model_fields)
    values = {"noise": content} if noise_alone else nest(content)
    noise = values.get("noise", {})
    if not isinstance(noise, dict):
        raise InputError(f"{path}: noise = {noise!r}: expected a mapping of settings")
    unknown = set(values) - set(TrainConfig.model_fields)
    if unknown:
        name = sorted(unknown)[0]
        raise InputError(f"{path}: {name}: {nearest(name, TrainConfig.model_fields)}")
    return NoiseFile(noise, _others(path, values, baseline))


def _entry_of(path: str, entries: list[Any], entry: int | None) -> Any:
    if entry is None and len(entries) == 1:
        return entries[0]
    if entry is None or not 0 <= entry < len(entries):
        given = "" if entry is None else f"--entry = {entry}: "
        raise InputError(
            f"{given}{path} holds {len(entries)} configurations; choose one by --entry 0 to "
            f"{len(entries) - 1}"
        )
    return entries[entry]


def _others(path: str, values: Mapping[str, Any], baseline: TrainConfig) -> str | None:
    """Say which settings of the file differ from the baseline's outside of the noise."""
    stored = baseline.model_dump(mode="json")
    changed = [
        name
        for name, value in values.items()
        if name != "noise"
        and (merge(stored[name], value) if isinstance(value, dict) else value) != stored[name]
    ]
    if not changed:
        return None
    return (
        f"{path}: {', '.join(changed)} differ from the baseline's; only the noise settings are "
        "looked at"
    )


def resolve_noise(
    base: NoiseConfig,
    from_file: Mapping[str, Any],
    given: Mapping[str, Any],
    options: Mapping[str, str],
    where: str = "",
) -> NoiseConfig:
    """Lay a file's settings and single options over a base.

    A base without noise becomes adaptive, unless file or options say something else.

    Args:
        from_file: by name.
        given: by path (``noise/patience``), as options gave them.
        options: path → option, for messages.
        where: the file's name, for messages.
    """
    values = base.model_dump(mode="json")
    if base.policy == "off":
        values["policy"] = "on_stagnation"
    parse_config(NoiseConfig, merge(values, from_file), where=where)
    chosen = nest(given).get("noise", {})
    return parse_config(
        NoiseConfig,
        merge(merge(values, from_file), chosen),
        options={path.removeprefix("noise/"): long for path, long in options.items()},
    )
