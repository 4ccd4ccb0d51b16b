"""Everything that touches tyro's private parts, each with its reason."""

from typing import Any

from study.commands.settings import Option


def described(annotation: Any, default: str) -> Option:
    """Read back what ``tyro.conf.arg`` put into an option's annotation.

    The help's tables and the suggestions for unknown options need it; tyro offers no way to ask.
    What ``arg`` returns is an object of a private class with these attributes. tyro's other
    markers, which may stand beside it, have no ``aliases``.
    """
    given = next(item for item in annotation.__metadata__ if hasattr(item, "aliases"))
    hint, value = given.help_behavior_hint, given.metavar or ""
    return Option(
        long=value if given.name is None else f"--{given.name}",
        short=next((name for name in given.aliases or () if not name.startswith("--")), None),
        value="" if given.name is None else value,
        default=hint.removeprefix("(default: ").removesuffix(")") if hint is not None else default,
        help=given.help or "",
    )
