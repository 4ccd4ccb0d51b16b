"""Which code a command may run: what its command line names, and what its user has trusted before.

A file that comes from somebody else (weights, a configuration, a study) may name code, which an
import would run. The commands therefore run code only in ``only_named``. A program that calls the
functions is code itself: nothing is asked there, nor in a worker, which runs what its driver
accepted.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainables.code_identity import code_identity, identity_digest, named_in
from trainables.errors import InputError
from trainables.files import write_atomically

log = logging.getLogger(__name__)

_WITH_THE_PRODUCT = re.compile(r"trainables\.models\.control_networks:\w+")
"""Code by dotted name that is this project's own. No further dot: it might lead anywhere."""

_allowed: set[str] | None = None
"""Code that the command line names; None: no command runs."""


@contextmanager
def only_named(words: Sequence[str]) -> Iterator[None]:
    """Within, code is run only if one of a command line's words names it, or it is trusted."""
    global _allowed  # noqa: PLW0603 (a process runs one command)
    before, _allowed = _allowed, {part for word in words for part in re.split(r"[=,+]", word)}
    try:
        yield
    finally:
        _allowed = before


def allow(name: str) -> None:
    """Treat code as named by the command line."""
    if _allowed is not None:
        _allowed.add(name)


def check_trusted(name: str, setting: str = "classifier") -> None:
    """Refuse to run code that only a file names, unless the user has trusted its source before."""
    if _allowed is None or _WITH_THE_PRODUCT.fullmatch(name):
        return
    identity = code_identity(name)
    if name in _allowed:
        _trust(name, identity)
    elif not is_trusted(name, identity):
        known = " Its source is not the one that you trusted before." if _read().get(name) else ""
        raise InputError(
            f"{named_in(name) or 'a file'} names code of its own, {setting} = {name!r}. Code that "
            f"only a file names is not run.{known} If you know what it does, allow it by "
            f"--trust {name}, which is remembered with its source"
        )


def is_trusted(name: str, identity: Sequence[str]) -> bool:
    return bool(identity) and identity_digest(identity) in _read().get(name, [])


def trust_file() -> Path | None:
    """The user's own list; None where the user has no folder."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        folder = Path(given) if os.path.isabs(given) else Path.home() / ".config"
    except RuntimeError:
        return None
    return folder / "noise-study" / "trusted.json"


def _read() -> Mapping[str, list[str]]:
    path = trust_file()
    try:
        found = json.loads(path.read_bytes()) if path else {}
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: digests for name, digests in found.items() if isinstance(digests, list)}


def _trust(name: str, identity: Sequence[str]) -> None:
    path, known, digest = trust_file(), dict(_read()), identity_digest(identity)
    if path is None or not identity or digest in known.get(name, []):
        return
    known[name] = [*known.get(name, []), digest]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(known, indent=2, sort_keys=True).encode())
    except OSError as error:
        log.warning("%s: can't be written (%s); it will be asked again", path, error.strerror)
