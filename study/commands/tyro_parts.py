"""Everything that touches tyro's private parts, each with its reason."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Described:
    """What ``tyro.conf.arg`` was given for one option; empty or None: nothing."""

    name: str | None = None
    aliases: tuple[str, ...] = ()
    metavar: str = ""
    help: str = ""
    default: str | None = None


def described(annotation: Any) -> Described:
    """Read back what ``tyro.conf.arg`` put into an option's annotation.

    The help's tables and the suggestions for unknown options need it; tyro offers no way to ask.
    What ``arg`` returns is an object of a private class with these attributes. tyro's other
    markers, which may stand beside it, have no ``aliases``.
    """
    for item in getattr(annotation, "__metadata__", ()):
        if hasattr(item, "aliases"):
            hint = item.help_behavior_hint
            return Described(
                name=item.name,
                aliases=tuple(item.aliases or ()),
                metavar=item.metavar or "",
                help=item.help or "",
                default=hint if isinstance(hint, str) else None,
            )
    return Described()
