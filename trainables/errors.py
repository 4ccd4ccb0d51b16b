"""A user's mistake, said in one message: which field, what it was, what is allowed."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pydantic import BaseModel, ValidationError


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or none of this project."""


class InputError(ValueError):
    """Bad input. The commands print its message alone and exit with code 2."""


FOREIGN = (Exception, SystemExit)
"""What code of one's own may raise: a script without a main guard ends when it is imported."""


@contextmanager
def failures_named(doing: str) -> Iterator[None]:
    """Tell what code of one's own raises meanwhile as bad input; ``doing`` begins the message."""
    try:
        yield
    except InputError:
        raise
    except FOREIGN as error:
        raise InputError(f"{doing} raised {said_by(error)}") from error


def said_by(error: BaseException) -> str:
    """An error's kind and words in one line, however many it has, of bounded length."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words if len(words) <= 300 else words[:299] + '…'}"


def nearest(name: str, choices: Iterable[str]) -> str:
    """Say what is allowed instead of ``name``, with the nearest choice, in any case, first."""
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
        where: the name of a file, put before each line about a setting that no option gave.
        options: setting path (``"noise/patience"``) → the option it was given by, to be named too.
    """
    lines = []
    for item in error.errors(include_url=False):
        parts = [str(part) for part in item["loc"]]
        path = ".".join(parts) or "configuration"
        prefix = f"{where}: " if where else ""
        # An element of a list is named by the option of the list.
        setting = "/".join(part for part in parts if not part.isdigit())
        if options and setting in options:
            path += f" ({options[setting]})"
            prefix = ""
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "no such setting"
        elif item["type"] == "value_error" and _names_itself(message, parts, item["input"]):
            lines.append(prefix + message)
            continue
        lines.append(f"{prefix}{path} = {shortened(item['input'])}: {message}")
    return "\n".join(lines)


def _names_itself(message: str, parts: list[str], value: object) -> bool:
    """Whether a check's message has the field and its value already, as cross-field checks do."""
    return isinstance(value, (Mapping, BaseModel)) or (
        bool(parts) and message.startswith(f"{parts[-1]} = ")
    )


def shortened(value: object, limit: int = 80) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
