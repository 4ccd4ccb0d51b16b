"""Paths in an object store, used like ``pathlib.Path``: whatever pyarrow's file systems reach.

So a checkpoint lies under a folder or under ``s3://…`` and the code that writes it is the same.
Objects are written whole: a store shows one when its upload has ended; where the URI means a file
system, a temporary file is renamed. A move in a store is a copy and a removal, which is not atomic.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from trainables.errors import InputError
from trainables.uris import is_uri, redact_uri

_WHOLE_UPLOADS = frozenset({"s3", "gcs", "abfs"})
"""pyarrow's names of the stores in which an object appears when its upload ends."""


class ObjectStat(NamedTuple):
    st_size: int


@dataclass(frozen=True)
class ObjectPath:
    """A place in an object store; it pickles, and each process opens the store for itself.

    A store that can't be asked or written raises ``OSError``.

    Attributes:
        root: the URI below which it lies, with the secrets that the URI may hold.
        parts: the names that lead from there to it.
    """

    root: str = field(repr=False)
    parts: tuple[str, ...] = ()

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.root, (*self.parts, *PurePosixPath(name).parts))

    def __str__(self) -> str:
        """The place for people: without secrets and parameters."""
        base = redact_uri(self.root).partition("?")[0].rstrip("/")
        return "/".join((base, *self.parts))

    @property
    def uri(self) -> str:
        """The whole URI, with its secrets and parameters."""
        base, mark, query = self.root.partition("?")
        return "/".join((base.rstrip("/"), *self.parts)) + mark + query

    @property
    def name(self) -> str:
        return self.parts[-1] if self.parts else ""

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> "ObjectPath":
        return ObjectPath(self.root, self.parts[:-1])

    def exists(self) -> bool:
        return bool(self._info().type.name != "NotFound")

    def is_dir(self) -> bool:
        return bool(self._info().type.name == "Directory")

    def stat(self) -> ObjectStat:
        """Its size in bytes, or FileNotFoundError."""
        info = self._info()
        if not info.is_file:
            raise FileNotFoundError(f"{self}: not there")
        return ObjectStat(int(info.size))

    def read_bytes(self) -> bytes:
        system, path = self._opened()
        # As a file, not as a stream, it knows its size and is read in one request; a stream makes
        # one for every 256 KB.
        with system.open_input_file(path) as file:
            content: bytes = file.read()
        return content

    def write_bytes(self, content: bytes) -> None:
        """Write it whole or not at all, replacing what was there."""
        system, path = self._opened()
        if system.type_name in _WHOLE_UPLOADS:
            with system.open_output_stream(path) as stream:
                stream.write(content)
            return
        folder, _, name = path.rpartition("/")
        system.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
        with system.open_output_stream(temporary) as stream:
            stream.write(content)
        system.move(temporary, path)

    def replace(self, target: "ObjectPath") -> None:
        system, path = self._opened()
        system.move(path, target._opened()[1])

    def unlink(self, missing_ok: bool = False) -> None:
        system, path = self._opened()
        if missing_ok and not self.exists():
            return
        system.delete_file(path)

    def rmdir(self) -> None:
        system, path = self._opened()
        system.delete_dir(path)

    def iterdir(self) -> Iterator["ObjectPath"]:
        """What is in the folder; nothing if there is no folder."""
        return self.glob("*")

    def files(self) -> Iterator["ObjectPath"]:
        """The objects directly below; nothing if there is no folder."""
        for name, info in self._below(deep=False):
            if info.is_file:
                yield self / name

    def folders(self) -> Iterator["ObjectPath"]:
        for name, info in self._below(deep=False):
            if not info.is_file:
                yield self / name

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """The objects and folders below that fit a pattern such as ``*/*``."""
        depth = pattern.count("/") + 1
        for name, _ in self._below(deep=depth > 1):
            relative = PurePosixPath(name)
            if len(relative.parts) == depth and relative.match(pattern):
                yield self / name

    def _below(self, *, deep: bool) -> Iterator[tuple[str, Any]]:
        """What is below: names relative to here, and what pyarrow says of them."""
        from pyarrow.fs import FileSelector

        system, path = self._opened()
        selector = FileSelector(path, allow_not_found=True, recursive=deep)
        for info in system.get_file_info(selector):
            yield str(PurePosixPath(info.path).relative_to(path)), info

    def _info(self) -> Any:
        system, path = self._opened()
        return system.get_file_info(path)

    def _opened(self) -> tuple[Any, str]:
        system, base = _open(self.root)
        return system, "/".join((base.rstrip("/"), *self.parts))


@cache
def _open(root: str) -> tuple[Any, str]:
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem

    try:
        system, path = FileSystem.from_uri(root)
    except (ArrowException, OSError, ValueError, NotImplementedError) as error:
        scheme = root.partition("://")[0]
        shown = str(error).replace(root, "the URI")
        reason = "" if "@" in shown or "=" in shown else f" ({shown.splitlines()[0][:200]})"
        raise InputError(
            f"storage = {scheme}://…: no place that pyarrow can open{reason}; allowed: a folder, "
            "or a URI such as s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, file:///FOLDER"
        ) from None
    if system.type_name in _WHOLE_UPLOADS and not path.strip("/"):
        raise InputError(
            f"storage = {redact_uri(root).partition('?')[0]}: names no bucket; give one, as in "
            "s3://BUCKET/FOLDER"
        )
    return system, path


Location = Path | ObjectPath


def location(text: str) -> Location:
    return ObjectPath(text) if is_uri(text) else Path(text)
