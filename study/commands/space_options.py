"""The option for ranges on top of a space, and what a command line's own space excludes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from search_spaces.written import HOW
from study.commands.settings import option
from trainables.errors import InputError

Range = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    option(
        "--range",
        help="search a setting of the noise in a range of yours, on top of any space (repeatable): "
        f"SETTING={HOW}, e.g. noise/patience=1..20, noise/magnitude_min=1e-3..1:log, "
        "noise/schedule=cosine,constant, noise/window=5; yours stays as it is where the space's "
        "own would be calibrated (docs/own-space.md)",
        value="SETTING=RANGE",
        default="the space's own",
    ),
]


def with_space(
    values: Mapping[str, Any], ranges: Sequence[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """A study's values, not yet validated, with the ranges and the space of a command line."""
    changed = dict(values)
    if "space" in given:
        # What a file says of another space does not hold for this one.
        changed["own_space"] = None
    if ranges:
        before = changed.get("ranges")
        changed["ranges"] = {**(before if isinstance(before, dict) else {}), **_read(ranges)}
    return changed


def _read(ranges: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in ranges:
        name, equals, written = (part.strip() for part in text.partition("="))
        if not (name and equals and written):
            raise InputError(
                f"range (--range) = {text!r}: write it as SETTING={HOW}, e.g. noise/patience=1..20"
            )
        if name in found:
            raise InputError(f"range (--range): {name} is given twice; give it once")
        found[name] = written
    return found
