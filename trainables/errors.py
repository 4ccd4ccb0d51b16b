"""A user's mistake, said in one message: which field, what it was, what is allowed."""

import difflib
from collections.abc import Iterable, Mapping

from pydantic import ValidationError


class InputError(ValueError):
    """Bad input. The commands print its message alone and exit with code 2."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Say what is allowed instead of ``name``, with the nearest choice first.

    The comparison ignores case, as people do.
    """
    options = sorted(choices)
    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f"did you mean {by_lower[close[0]]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(options)}"


def explain(
    error: ValidationError, *, where: str = "", options: Mapping[str, str] | None = None
) -> str:
    """Render a pydantic error as one line for each field: path, value, what is allowed.

    Args:
        error: what pydantic raised.
        where: a file's name, put before each line.
        options: setting path (``"noise/patience"``) → the option it was given by, to be named too.
    """
    lines = []
    for item in error.errors(include_url=False):
        parts = [str(part) for part in item["loc"]]
        path = ".".join(parts) or "configuration"
        # An element of a list is named by the option of the list.
        setting = "/".join(part for part in parts if not part.isdigit())
        if options and setting in options:
            path += f" ({options[setting]})"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "no such setting"
        elif item["type"] == "value_error" and not item["loc"]:
            # A cross-field check names its fields and values itself.
            lines.append(message)
            continue
        lines.append(f"{path} = {_shorten(item['input'])}: {message}")
    prefix = f"{where}: " if where else ""
    return "\n".join(prefix + line for line in lines)


def _shorten(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
