"""The cache of a decoded image folder."""

import hashlib
import json
import logging
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import Source
from trainables.data.image_listing import FolderListing
from trainables.data_config import FIRST_SHAPE, ImageShape
from trainables.paths import cache_folder

_FORMAT = "noise-study images 1"
_CHECKSUM_BYTES = 4

_log = logging.getLogger(__name__)


def fingerprint(listing: FolderListing, decoding: str = "") -> str:
    """A hash over every image's relative path, size in bytes and time of change in ns.

    ``decoding``: what else decides the pixels, in words; empty as long as there was no choice.
    """
    digest = hashlib.blake2b(decoding.encode(), digest_size=16)
    root = str(listing.root)
    for name in listing.names:
        try:
            status = os.stat(os.path.join(root, name))
            found = f"\0{status.st_size}\0{status.st_mtime_ns}\0"
        except OSError as error:
            # Decoding names it, with all others that can't be read.
            found = f"\0{error.errno}\0"
        digest.update(os.fsencode(name))
        digest.update(found.encode())
    return digest.hexdigest()


def cache_path(root: Path, decoding: str = "") -> Path:
    """The cache file of a folder: in ``$XDG_CACHE_HOME`` or ``~/.cache``, by the resolved path.

    ``decoding`` as in ``fingerprint``: each has a file of its own.
    """
    resolved = root.resolve()
    named = os.fsencode(resolved) + (b"\0" + decoding.encode() if decoding else b"")
    key = hashlib.blake2b(named, digest_size=8).hexdigest()
    return cache_folder() / f"{resolved.name}-{key}.images"


_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def write_cache(path: Path, mark: str, images: Source) -> None:
    header = {
        "format": _FORMAT,
        "fingerprint": mark,
        "train": len(images.train_labels),
        "test": len(images.test_labels),
        "left_out": images.left_out,
    }
    parts: list[bytes | memoryview] = [json.dumps(header).encode() + b"\n"]
    # Views: a copy of the images would take as much memory again.
    parts += [_bytes_of(getattr(images, name)) for name in _ARRAYS]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            try:
                checksum = 0
                for part in parts:
                    file.write(part)
                    checksum = zlib.crc32(part, checksum)
                file.write(checksum.to_bytes(_CHECKSUM_BYTES, "big"))
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        _log.warning(
            "the decoded images can't be kept in %s (%s); they will be decoded again next time",
            path,
            error,
        )


def _bytes_of(array: NDArray[np.generic]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read_cache(
    path: Path, mark: str, classes: tuple[str, ...], shape: ImageShape = FIRST_SHAPE
) -> Source | None:
    """The cached images, or None if there are none, they are out of date, or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s can't be read (%s); decoding the images again", path, error)
        return None
    body = memoryview(content)[:-_CHECKSUM_BYTES]
    checksum = zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big")
    if not body or checksum != content[-_CHECKSUM_BYTES:]:
        _log.warning("%s is damaged; decoding the images again", path)
        return None
    # From here on the content is what was written: nothing needs checking twice.
    start = content.index(b"\n") + 1
    header = json.loads(content[:start])
    if header["format"] != _FORMAT or header["fingerprint"] != mark:
        _log.info("%s: the folder has changed; decoding its images again", path)
        return None
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in _ARRAYS:
        count = header[name.split("_", maxsplit=1)[0]]
        sides, kind = (
            ((count, shape.size, shape.size, shape.channels), np.dtype(np.uint8))
            if name.endswith("images")
            else ((count,), np.dtype(np.int64))
        )
        size = int(np.prod(sides)) * kind.itemsize
        arrays[name] = np.frombuffer(body[start : start + size], kind).reshape(sides)
        start += size
    left_out = tuple(header.get("left_out", ()))
    return Source(**arrays, classes=classes, left_out=left_out)  # type: ignore[arg-type]
