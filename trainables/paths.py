"""Paths that a person gave, checked in one place before anything is looked up there."""

import os
import stat
from pathlib import Path

from trainables.errors import InputError

LONGEST_NAME = 255
"""Bytes of a file's name that common file systems take."""

LONGEST = 4000
"""Bytes of a path that Linux takes, with room for the names below it."""

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}


def given_path(text: str | os.PathLike[str], field: str) -> Path:
    """The path that a person's text means, ``~`` expanded; it need not exist.

    Args:
        field: what the text was given as, for the message.
    """
    given = os.fspath(text)

    def refused(why: str) -> InputError:
        return InputError(f"{field} = {given!a}: {why}")

    if not given:
        raise refused("empty; give a path")
    if "\0" in given:
        raise refused("holds a NUL, which no path can")
    try:
        path = Path(given).expanduser()
        size = max(map(len, map(os.fsencode, path.parts)), default=0)
    except RuntimeError:
        raise refused("there is no such user's home folder") from None
    except UnicodeEncodeError:
        raise refused("holds what is no character") from None
    if size > LONGEST_NAME or len(os.fsencode(path)) > LONGEST:
        raise refused(f"too long; a name has at most {LONGEST_NAME} bytes, a path {LONGEST}")
    try:
        # Links in a circle are found only by following them.
        path.resolve()
    except (OSError, RuntimeError) as error:
        raise refused(f"can't be looked up: {error}") from None
    return path


def cache_folder() -> Path:
    """This user's, in ``$XDG_CACHE_HOME`` or ``~/.cache``; it may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noise-study"


def check_regular(file: int | Path) -> None:
    """Raise an OSError for what is no file: a pipe is waited for, a device may never end."""
    mode = os.stat(file).st_mode
    if not stat.S_ISREG(mode):
        found = next((words for is_it, words in _KINDS.items() if is_it(mode)), "something")
        raise OSError(f"{found}, not a file")


def check_writable(folder: Path, field: str, option: str = "") -> None:
    """Refuse a folder that can't be written, or made, without writing to it.

    ``option``: how another one is given, where ``field`` does not say it.
    """
    existing = folder.expanduser().resolve()
    # Path.exists() raises where a folder above may not be entered.
    while not os.path.exists(existing):
        existing = existing.parent
    wrong = "" if existing.is_dir() else "is a file"
    if not wrong and not os.access(existing, os.W_OK | os.X_OK):
        wrong = "can't be written"
    if wrong:
        how = f" ({option})" if option else ""
        raise InputError(f"{field} = {folder}: {existing} {wrong}; give another folder{how}")
