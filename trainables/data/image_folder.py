"""A folder of images, ``train/<class>/`` and ``test/<class>/``, as arrays: decoded once, cached.

The cache is one file a folder and a decoding. It carries a fingerprint of the folder, so that it is
rebuilt when the folder changes, and a checksum, so that it is rebuilt when it is damaged.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.config import DataConfig
from trainables.data.dataset import ClassCounts, Labels, Pixels, Progress, Source
from trainables.data.given_images import content_of
from trainables.data.image_cache import cache_path, fingerprint, read_cache, write_cache
from trainables.data.image_decoding import Decoding
from trainables.data.image_listing import MOST_NAMED, FolderListing, list_folder, some
from trainables.data.image_table import list_table
from trainables.data.registry import PHOTO_FOLDER, known_data
from trainables.errors import InputError

_log = logging.getLogger(__name__)

_CHUNK = 64
_IN_PROCESS_BELOW = 1000  # Starting processes takes as long as decoding this many small images.


class FileFacts(NamedTuple):
    """What one image file is; ``wrong``: why it can't be read, else empty."""

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    turned: bool = False
    transparent: bool = False
    wrong: str = ""


def listing_of(config: DataConfig) -> FolderListing:
    """The files of a folder, or of a table."""
    if config.dataset == PHOTO_FOLDER:
        return list_folder(str(config.data_dir), nested=config.decoding > 1)
    return list_table(str(config.data_dir))


def class_counts(config: DataConfig) -> ClassCounts:
    listing = listing_of(config)
    return ClassCounts(
        [len(files) for files in listing.train],
        [len(files) for files in listing.test],
        listing.classes,
    )


def read(config: DataConfig, progress: Progress | None) -> Source:
    source = load_listed(
        str(config.data_dir),
        listing_of(config),
        Decoding.of(config),
        skip_broken=config.skip_broken,
        workers=config.workers,
        progress=progress,
    )
    if not known_data(config.dataset).by_content:
        return source
    # A table may give the same files other labels, or another part.
    return replace(source, content=content_of(source))


def load_folder(
    data_dir: str | Path,
    decoding: Decoding | None = None,
    *,
    skip_broken: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> Source:
    """Read a folder of images, from the cache if that is valid.

    Args:
        decoding: None: that of new studies.
        skip_broken: leave out files that can't be read, instead of refusing the folder.
        workers: processes that decode; 0 and 1 decode in this one.
        progress: called with (images decoded, images in all); not called on a cached read.
    """
    decoding = decoding or Decoding()
    return load_listed(
        data_dir,
        list_folder(data_dir, nested=decoding.version > 1),
        decoding,
        skip_broken=skip_broken,
        workers=workers,
        progress=progress,
    )


def load_listed(
    data_dir: str | Path,
    listing: FolderListing,
    decoding: Decoding,
    *,
    skip_broken: bool,
    workers: int,
    progress: Progress | None,
) -> Source:
    """Read the images of a listing, as ``load_folder``; ``data_dir`` is for messages."""
    _tell(data_dir, listing)
    source = read_cache(*_cache(listing, decoding), listing.classes, decoding.shape)
    if source is None or (source.left_out and not skip_broken):
        images, facts = decode_all(listing, decoding, workers, progress)
        broken = [fact.wrong for fact in facts if fact.wrong]
        if broken and not skip_broken:
            raise InputError(_refusal(broken))
        source = labelled(listing, images, facts)
        keep(listing, decoding, source)
        _tell_decoded(data_dir, decoding, facts)
    _tell_left_out(data_dir, source.left_out)
    return source


def _cache(listing: FolderListing, decoding: Decoding) -> tuple[Path, str]:
    """The cache's file, and what has to stand in it."""
    key = f"{decoding.key}{listing.mark}"
    return cache_path(listing.place, decoding.key), fingerprint(listing, key)


def keep(listing: FolderListing, decoding: Decoding, source: Source) -> None:
    """Put decoded images into the cache."""
    path, mark = _cache(listing, decoding)
    write_cache(path, mark, source)


def _tell(data_dir: str | Path, listing: FolderListing) -> None:
    """What is not as one might think."""
    if listing.others:
        _log.warning(
            "%s: %d files are left out, for their names end like no image's: %s",
            data_dir,
            len(listing.others),
            some(listing.others),
        )
    if listing.hidden:
        _log.warning(
            "%s: %d folders are not read, for their names begin with a dot: %s",
            data_dir,
            len(listing.hidden),
            some(listing.hidden),
        )
    if listing.within and not listing.nested:
        _log.warning(
            "%s: %d folders within classes are not read, as was recorded before: %s",
            data_dir,
            len(listing.within),
            some(listing.within),
        )


def _tell_decoded(data_dir: str | Path, decoding: Decoding, facts: Sequence[FileFacts]) -> None:
    """What photos were that do not look as they do to a person."""
    transparent = sum(fact.transparent for fact in facts)
    stretched = sum(fact.size[0] != fact.size[1] for fact in facts)
    if decoding.version > 1 and transparent:
        _log.warning(
            "%s: %d photos are transparent; they are put onto %s (--background)",
            data_dir,
            transparent,
            decoding.background,
        )
    elif decoding.is_first and (transparent or stretched):
        _log.warning(
            "%s: %d photos are stretched, of %d the transparency is dropped, and EXIF orientation "
            "is ignored, as was recorded before; data.decoding = 2 and data.fit = 'crop' read them "
            "as they look",
            data_dir,
            stretched,
            transparent,
        )


def _tell_left_out(data_dir: str | Path, names: Sequence[str]) -> None:
    if names:
        _log.warning(
            "%s: %d images can't be read and are left out (--skip-broken): %s",
            data_dir,
            len(names),
            some(names, MOST_NAMED),
        )


def _refusal(broken: Sequence[str]) -> str:
    """All that is wrong with a folder's files, in one message."""
    if len(broken) == 1:
        return f"{broken[0]}; repair or remove it, or leave it out (--skip-broken)"
    more = f"\n  and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
    return (
        f"{len(broken)} images can't be read; repair or remove them, or leave them out "
        "(--skip-broken):\n  " + "\n  ".join(broken[:MOST_NAMED]) + more
    )


def decode_image(path: str | Path, decoding: Decoding | None = None) -> bytes:
    """Decode one image to its bytes, row by row, in ``decoding.shape`` (as in ``load_folder``).

    With the decoding of a run's configuration (``Decoding.of(config.data)``) it does to an image
    what was done to those of training.
    """
    return (decoding or Decoding()).decode(path).pixels


def decode_all(
    listing: FolderListing, decoding: Decoding, workers: int, progress: Progress | None
) -> tuple[Pixels, list[FileFacts]]:
    """All images of a listing, in its order: uint8 (n, size, size, channels).

    Zeros stand for one that is broken.
    """
    paths = [os.path.join(listing.root, name) for name in listing.names]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    size, channels = decoding.shape
    images = np.empty((len(paths), size, size, channels), np.uint8)
    flat = images.reshape(-1)
    facts: list[FileFacts] = []
    in_processes = workers if len(paths) >= _IN_PROCESS_BELOW else 1
    for pixels, found in _decoded_chunks(chunks, decoding, in_processes):
        flat[len(facts) * decoding.shape.bytes :][: len(pixels)] = np.frombuffer(pixels, np.uint8)
        facts += found
        if progress is not None:
            progress(len(facts), len(paths))
    return images, facts


def _decode_chunk(paths: Sequence[str], decoding: Decoding) -> tuple[bytes, list[FileFacts]]:
    pixels, facts = [], []
    for path in paths:
        try:
            found = decoding.decode(path)
        except InputError as error:
            pixels.append(bytes(decoding.shape.bytes))
            facts.append(FileFacts(wrong=str(error)))
        else:
            pixels.append(found.pixels)
            facts.append(FileFacts(found.size, found.mode, found.turned, found.transparent))
    return b"".join(pixels), facts


def _decoded_chunks(
    chunks: list[list[str]], decoding: Decoding, workers: int
) -> Iterator[tuple[bytes, list[FileFacts]]]:
    if workers <= 1:
        yield from (_decode_chunk(chunk, decoding) for chunk in chunks)
        return
    # joblib's processes, and not multiprocessing's: those import the user's script again, which
    # fails if it calls us without a __main__ guard.
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    try:
        parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator")
        yield from parallel(delayed(_decode_chunk)(chunk, decoding) for chunk in chunks)
    finally:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def labelled(listing: FolderListing, images: Pixels, facts: Sequence[FileFacts]) -> Source:
    """The images that can be read, with their labels."""
    good = np.array([not fact.wrong for fact in facts], bool)
    numbers = np.arange(len(listing.classes), dtype=np.int64)
    labels = [
        np.repeat(numbers, [len(files) for files in part]) for part in (listing.train, listing.test)
    ]
    train = slice(len(labels[0]))
    test = slice(len(labels[0]), None)
    for part, own, which in (("train", labels[0], train), ("test", labels[1], test)):
        _check_none_is_empty(listing, part, own[good[which]])
    # Views where all can be read: a copy of the images would take as much memory again.
    kept = [slice(None) if good[part].all() else good[part] for part in (train, test)]
    return Source(
        classes=listing.classes,
        train_images=images[train][kept[0]],
        train_labels=labels[0][kept[0]],
        test_images=images[test][kept[1]],
        test_labels=labels[1][kept[1]],
        left_out=tuple(name for name, fact in zip(listing.names, facts, strict=True) if fact.wrong),
    )


def _check_none_is_empty(listing: FolderListing, part: str, labels: Labels) -> None:
    found = set(labels.tolist())
    empty = [f"{part}/{name}/" for n, name in enumerate(listing.classes) if n not in found]
    if empty:
        raise InputError(f"{listing.root}: no image can be read of {some(empty)}; repair some")
