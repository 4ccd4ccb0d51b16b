"""A data set: three splits of images and labels."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trainables.data_config import ImageShape

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
PerChannel = tuple[float, ...]
Progress = Callable[[int, int], None]
"""Called with (done, total) while images are decoded."""


class Images(Protocol):
    """Images, uint8 (n, height, width, channels): an array, or read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __getitem__(self, which: Any, /) -> Any: ...


class KnownImages(NamedTuple):
    """Images known by their content (``Dataset.test_digest``), and how many there are."""

    digest: str
    images: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """One data set, divided.

    Arrays of numpy, so that Ray's object store shares one copy between all processes of a node:
    treat them as read-only. Images are uint8 (n, height, width, channel), RGB, raw. Those of
    training have a border of ``pad`` zeros on each side, (n, size + 2·pad, size + 2·pad, channels),
    out of which random crops are cut. They may be ``StreamedImages`` instead of arrays. Labels are
    int64 (n,), indices of ``classes``.

    Attributes:
        mean: of each channel, for normalisation, of pixels in [0, 1].
        std: likewise, the standard deviation.
        pad: zeros on each side of a training image, in pixels.
        left_out: image files that can't be read, where those are left out (``skip_broken``).
        content: a hash of all images and labels before the division, where a run records one.
    """

    train_images: Images
    train_labels: Labels
    val_images: Images
    val_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: tuple[str, ...]
    mean: PerChannel
    std: PerChannel
    pad: int
    flip: bool
    left_out: tuple[str, ...] = ()
    content: str | None = None

    @property
    def shape(self) -> ImageShape:
        return ImageShape(*self.test_images.shape[2:])

    @property
    def bytes(self) -> int:
        """Of its images."""
        return sum(part.nbytes for part in (self.train_images, self.val_images, self.test_images))

    @property
    def counts(self) -> dict[str, int]:
        """How many images each part has."""
        labels = {
            "training": self.train_labels,
            "validation": self.val_labels,
            "test": self.test_labels,
        }
        return {part: len(found) for part, found in labels.items()}

    @property
    def test_set(self) -> "KnownImages":
        return KnownImages(self.test_digest, len(self.test_labels))

    @cached_property
    def test_digest(self) -> str:
        """32 hexadecimal digits that name the test set by its content.

        A hash over the sorted hashes of the images, each its decoded pixels with its label: the
        same wherever the files lie, whatever they are called and however they are ordered.
        """
        images = sorted(
            hashlib.blake2b(np.int64(label).tobytes() + image.tobytes(), digest_size=16).digest()
            for image, label in zip(self.test_images, self.test_labels, strict=True)
        )
        return hashlib.blake2b(b"".join(images), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as it comes: images of one shape and labels, not yet divided."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: tuple[str, ...]
    # Of the whole of train_images (computed from them where there are no known constants).
    normalisation: tuple[PerChannel, PerChannel] | None = None
    # Files that can't be read, relative to the folder.
    left_out: tuple[str, ...] = ()
    content: str | None = None


class ClassCounts(NamedTuple):
    """Images of each class in a source's two sets; the classes' names where a folder says them."""

    train: Sequence[int]
    test: Sequence[int]
    classes: tuple[str, ...] | None = None
