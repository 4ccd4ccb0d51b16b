"""A folder of images, ``train/<class>/`` and ``test/<class>/``, as arrays: decoded once, cached.

The cache is one file a folder. It carries a fingerprint of the folder, so that it is rebuilt when
the folder changes, and a checksum, so that it is rebuilt when it is damaged.
"""

import logging
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.config import DataConfig
from trainables.data.dataset import SIZE, ClassCounts, Pixels, Progress, Source
from trainables.data.image_cache import (
    FolderListing,
    cache_path,
    fingerprint,
    read_cache,
    write_cache,
)
from trainables.errors import InputError
from trainables.paths import given_path

_log = logging.getLogger(__name__)

IMAGE_BYTES = SIZE * SIZE * 3
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""File names that count as images; other files in a class folder are left alone."""

_CHUNK = 64
_IN_PROCESS_BELOW = 1000  # Starting processes takes as long as decoding this many small images.


def class_counts(config: DataConfig) -> ClassCounts:
    listing = list_folder(str(config.data_dir))
    return ClassCounts(
        [len(files) for files in listing.train],
        [len(files) for files in listing.test],
        listing.classes,
    )


def read(config: DataConfig, progress: Progress | None) -> Source:
    return load_folder(str(config.data_dir), workers=config.workers, progress=progress)


def list_folder(data_dir: str | Path) -> FolderListing:
    """List a folder's classes and images without opening one."""
    root = given_path(data_dir, "data.data_dir (--data-dir)")
    field = f"data.data_dir = {str(data_dir)!r}"
    if not root.is_dir():
        raise InputError(
            f"{field}: no such folder; give one that holds train/<class>/ and test/<class>/"
        )
    others: list[str] = []
    train = _list_part(root / "train", field, others)
    test = _list_part(root / "test", field, others)
    if train.keys() != test.keys():
        differences = [
            f"only in {part}: {_some(sorted(mine.keys() - other.keys()))}"
            for part, mine, other in (("train", train, test), ("test", test, train))
            if mine.keys() - other.keys()
        ]
        raise InputError(
            f"{field}: train and test must hold the same classes; {'; '.join(differences)}"
        )
    if len(train) < 2:
        raise InputError(f"{field}: one class only ({_some(train)}); at least two are needed")
    classes = tuple(train)
    return FolderListing(
        root=root,
        classes=classes,
        train=tuple(train.values()),
        test=tuple(test[name] for name in classes),
        others=tuple(others),
    )


def _list_part(folder: Path, field: str, others: list[str]) -> dict[str, tuple[str, ...]]:
    """Class → names of its images, both sorted; files that are no images are added to others."""
    if not folder.is_dir():
        raise InputError(
            f"{field}: it has no folder {folder.name}/; "
            "images belong in train/<class>/ and test/<class>/"
        )
    classes = {}
    for name in sorted(entry.name for entry in _entries(folder) if entry.is_dir()):
        # A link that leads nowhere is listed too: it is named when it can't be read, not dropped.
        files = [entry.name for entry in _entries(folder / name) if not entry.is_dir()]
        images = sorted(file for file in files if file.lower().endswith(ENDINGS))
        others += [f"{folder.name}/{name}/{file}" for file in sorted({*files} - {*images})]
        if not images:
            raise InputError(
                f"{field}: the class folder {folder.name}/{name}/ holds no image; add images "
                f"({' '.join(ENDINGS)}) or remove the folder"
            )
        classes[name] = tuple(images)
    if not classes:
        raise InputError(
            f"{field}: {folder.name}/ is empty; it needs one folder of images for each class"
        )
    return classes


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: can't be read: {error}") from None
    for entry in found:
        if not entry.name.isprintable():
            # Names go into records, tables and pages as UTF-8.
            raise InputError(f"{str(folder)!a}: {entry.name!a} is no name in UTF-8; rename it")
    return found


def _some(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def load_folder(
    data_dir: str | Path, *, workers: int = 0, progress: Progress | None = None
) -> Source:
    """Read a folder of images, from the cache if that is valid.

    Args:
        workers: processes that decode; 0 and 1 decode in this one.
        progress: called with (images decoded, images in all); not called on a cached read.
    """
    listing = list_folder(data_dir)
    if listing.others:
        _log.warning(
            "%s: %d files are left out, for their names end like no image's: %s",
            data_dir,
            len(listing.others),
            _some(listing.others),
        )
    mark = fingerprint(listing)
    cache = cache_path(listing.root)
    images = read_cache(cache, mark, listing.classes)
    if images is None:
        images = _labelled(listing, _decode_all(listing, workers, progress))
        write_cache(cache, mark, images)
    return images


def decode_image(path: str | Path) -> bytes:
    """Decode one image to 32×32 RGB, row by row: 3,072 bytes.

    Other sizes are resized, without keeping the aspect ratio: bilinear, averaging over the pixels
    that fall together when shrinking (PIL's resize does so by itself). 16-bit grey is scaled.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            # A pipe would be waited for.
            raise ValueError("not a file")
        with Image.open(path) as image:
            return _to_rgb(image).tobytes()
    # Broken files make PIL's decoders raise nearly anything, SyntaxError and struct.error included.
    except Exception as error:
        raise InputError(
            f"{path}: can't be read as an image ({error or type(error).__name__}); "
            "repair or remove it"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # PIL's own conversion to 8 bits cuts at 255 and would leave most such images white.
        high_bytes = (np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8)
        image = Image.fromarray(high_bytes)
    elif image.mode in {"I", "F"}:
        raise ValueError(f"pixel mode {image.mode} has no fixed range; use 8 or 16 bits")
    image = image.convert("RGB")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return image


def _decode_all(listing: FolderListing, workers: int, progress: Progress | None) -> Pixels:
    """All images of a listing, in its order: uint8 (n, 32, 32, 3)."""
    paths = [os.path.join(listing.root, name) for name in listing.names]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    images = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)
    flat = images.reshape(-1)
    done = 0
    for pixels in _decoded_chunks(chunks, workers if len(paths) >= _IN_PROCESS_BELOW else 1):
        flat[done * IMAGE_BYTES :][: len(pixels)] = np.frombuffer(pixels, np.uint8)
        done += len(pixels) // IMAGE_BYTES
        if progress is not None:
            progress(done, len(paths))
    return images


def _decode_chunk(paths: Sequence[str]) -> bytes:
    return b"".join(map(decode_image, paths))


def _decoded_chunks(chunks: list[list[str]], workers: int) -> Iterator[bytes]:
    if workers <= 1:
        yield from map(_decode_chunk, chunks)
        return
    # joblib's processes, and not multiprocessing's: those import the user's script again, which
    # fails if it calls us without a __main__ guard.
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    try:
        parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator")
        yield from parallel(delayed(_decode_chunk)(chunk) for chunk in chunks)
    finally:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def _labelled(listing: FolderListing, images: Pixels) -> Source:
    train = [len(files) for files in listing.train]
    test = [len(files) for files in listing.test]
    numbers = np.arange(len(listing.classes), dtype=np.int64)
    return Source(
        classes=listing.classes,
        train_images=images[: sum(train)],
        train_labels=np.repeat(numbers, train),
        test_images=images[sum(train) :],
        test_labels=np.repeat(numbers, test),
    )
