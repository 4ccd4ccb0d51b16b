"""Images that are read from a map-style data set whenever a batch needs them (``--stream``).

So a data set may be larger than memory, and its items may be random. What an item draws from the
global generators of Python, numpy and torch follows from the run's seed, the epoch and the item's
place alone: a batch is the same in a fork, after a kill, and whoever reads it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import Labels, Pixels, Progress, Source
from trainables.data.given_images import (
    Given,
    content_hash,
    fitted,
    is_pair,
    item_at,
    map_style,
    source_of,
)
from trainables.data.given_labels import LABEL_KEYS, label_of, numbered
from trainables.data.global_generators import generators_kept, seed_generators
from trainables.data.image_decoding import Decoding
from trainables.data_config import DataConfig
from trainables.errors import InputError, failures_named
from trainables.random_streams import stream_seed

Give = Callable[[DataConfig], Given]
Which = NDArray[np.int64] | NDArray[np.bool_] | slice

_SAMPLED = 2048
"""Training images from which mean and standard deviation are computed, evenly spaced."""

_COMPARED = 32
"""Images of a part by which it is known again, evenly spaced: they are read twice."""

_AT_ONCE = 250
_OPEN = 2

_open: "OrderedDict[tuple[Give, DataConfig], _Items]" = OrderedDict()
"""What was opened in this process: a data set of one's own may take long to make."""


def read_given(give: Give, config: DataConfig, progress: Progress | None) -> Source:
    """A data set of two parts: read whole, or as the configuration has it, when it is needed."""
    # Its length, its properties and its items are code of one's own.
    with failures_named(f"dataset = {config.dataset!r}: reading it"):
        if config.stream:
            return _streamed(give, config, progress)
        # What it draws is the same whenever it is read, as in what is streamed.
        with generators_kept():
            seed_generators(_fixed_seed())
            return source_of(give(config), config, progress)


def _streamed(give: Give, config: DataConfig, progress: Progress | None) -> Source:
    items = _opened(give, config, anew=True)
    names, numbers = numbered(items.where, items.labels(progress), items.classes)
    counts = (len(numbers["train"]), len(numbers["test"]))
    labels = np.concatenate([numbers["train"], numbers["test"]])
    compared = _compared(counts)
    items.check(compared, [names[number] for number in labels[compared]])
    pixels = items.read(compared, _fixed_seed())
    images = StreamedImages(give, config, counts, np.arange(len(labels)), content_hash(pixels))
    train, test = images.chosen(slice(counts[0])), images.chosen(slice(counts[0], None))
    return Source(
        train,
        numbers["train"],
        test,
        numbers["test"],
        names,
        content=content_hash(labels, pixels, *items.versions()),
    )


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Some images of a data set, in this order; reading gives uint8 (n, height, width, channels).

    They are read in any process: pickled, this is the place of each, and how the data set is had.

    Attributes:
        counts: images of the data set's training and test part.
        places: int64 (n,), of each image in the data set, the test part's after the training's.
        pixels: a hash of the images by which the data set is known again.
        pad: zeros on each side of an image that is read.
    """

    give: Give
    config: DataConfig
    counts: tuple[int, int]
    places: Labels
    pixels: str
    pad: int = 0

    nbytes = 0
    """That are kept in memory."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        size, channels = self.config.shape
        side = size + 2 * self.pad
        return len(self), side, side, channels

    def chosen(self, which: Which) -> "StreamedImages":
        """Some of them, not yet read."""
        return replace(self, places=self.places[which])

    def padded(self, pad: int) -> "StreamedImages":
        return replace(self, pad=pad)

    def joined(self, other: "StreamedImages") -> "StreamedImages":
        return replace(self, places=np.concatenate([self.places, other.places]))

    def sample(self) -> Pixels:
        """Images by which all are normalised, evenly spaced."""
        return self._read(self.places[_spaced(len(self), _SAMPLED)], _fixed_seed())

    def __getitem__(self, which: Which) -> Pixels:
        return self._read(self.places[which], _fixed_seed())

    def __iter__(self) -> Iterator[Pixels]:
        pieces = (np.arange(len(self))[n : n + _AT_ONCE] for n in range(0, len(self), _AT_ONCE))
        for images in self.batches(pieces):
            yield from images

    def batches(
        self, batches: Iterable[Labels], seed: tuple[int, int] | None = None
    ) -> Iterator[Pixels]:
        """One batch after the other, each of the images at these positions.

        Args:
            seed: of a run, and the epoch; None: items are drawn as they always are in evaluation.
        """
        # Before processes are forked that read ahead: so they have it, too.
        self._items()
        base = _fixed_seed() if seed is None else stream_seed(seed[0], "item", seed[1])
        asked = [(self.places[positions], base) for positions in batches]
        if self.config.stream_workers == 0:
            for places, drawn in asked:
                yield self._read(places, drawn)
            return
        from trainables.data.read_ahead import read_ahead

        yield from read_ahead(self._read, asked, self.config.stream_workers)

    def check_here(self) -> None:
        """Refuse a machine on which the data set can't be read, or is another one."""
        with failures_named(f"dataset = {self.config.dataset!r}: reading it"):
            self._items()

    def _items(self) -> "_Items":
        """The data set, opened in this process; it must be what it was when this began."""
        items = _opened(self.give, self.config)
        if self.pixels not in items.known:
            items.check_counts(self.counts)
            places = _compared(self.counts)
            if content_hash(items.read(places, _fixed_seed())) != self.pixels:
                raise InputError(
                    f"{items.where}: it gives other images than when this began; it must give the "
                    "same ones, in the same order, whenever it is called, in every process and on "
                    "every node"
                )
            items.known.add(self.pixels)
        return items

    def _read(self, places: Labels, seed: int) -> Pixels:
        images = self._items().read(places, seed)
        if not self.pad:
            return images
        border = (self.pad, self.pad)
        return np.pad(images, ((0, 0), border, border, (0, 0)))


def _spaced(images: int, count: int) -> Labels:
    """At most ``count`` of so many images, evenly spaced."""
    count = min(count, images)
    return np.arange(count) * images // max(count, 1)


def _compared(counts: tuple[int, int]) -> Labels:
    """The places of the images by which a data set is known again."""
    train, test = (_spaced(count, _COMPARED) for count in counts)
    return np.concatenate([train, counts[0] + test])


def _fixed_seed() -> int:
    return stream_seed(0, "item")


def _opened(give: Give, config: DataConfig, *, anew: bool = False) -> "_Items":
    key = (give, config)
    if anew or key not in _open:
        # Else what it draws would be another data set in each process.
        with generators_kept():
            seed_generators(_fixed_seed())
            _open[key] = _Items(give(config), Decoding.of(config))
    _open.move_to_end(key)
    while len(_open) > _OPEN:
        _open.popitem(last=False)
    return _open[key]


class _Items:
    """The items of both parts, by their place."""

    def __init__(self, given: Given, decoding: Decoding) -> None:
        self.where, parts, self.classes = given
        self.known: set[str] = set()
        """Hashes of the images that it was found to have (``StreamedImages.pixels``)."""
        self._parts: dict[str, Any] = {
            name: _items_of(f"{self.where}: {name}", part) for name, part in parts.items()
        }
        self._decoding = decoding

    def versions(self) -> list[Pixels]:
        """What each part says of its version, as bytes; nothing of one that says none."""
        said = (getattr(part, "version", None) for part in self._parts.values())
        # Hugging Face's have an object there, the same for all data.
        told = [str(version) for version in said if isinstance(version, str | int)]
        return [np.frombuffer(text.encode(), np.uint8) for text in told]

    def check_counts(self, counts: tuple[int, int]) -> None:
        found = tuple(len(part) for part in self._parts.values())
        if found != counts:
            raise InputError(
                f"{self.where}: it has {found[0]} and {found[1]} images, and had {counts[0]} and "
                f"{counts[1]} when this began; it must give the same ones whenever it is called"
            )

    def labels(self, progress: Progress | None) -> dict[str, Sequence[int | str]]:
        """Of each part: as it says them, else out of its items, which are read for that."""
        return {name: self._labels_of(name, progress) for name in self._parts}

    def _labels_of(self, name: str, progress: Progress | None) -> Sequence[int | str]:
        part, where = self._parts[name], f"{self.where}: {name}"
        said = _said_labels(part)
        if said is not None:
            return [label_of(f"{where}: label {n}", label) for n, label in enumerate(said)]
        labels = []
        with generators_kept():
            for index in range(len(part)):
                labels.append(self._item(name, index)[1])
                if progress is not None:
                    progress(index + 1, len(part))
        return labels

    def check(self, places: Labels, names: Sequence[str]) -> None:
        """Refuse items that are other ones when read again, or have other labels than was said."""
        first, second = (self.read(places, _fixed_seed()) for _ in range(2))
        for place, one, other, name in zip(places.tolist(), first, second, names, strict=True):
            part, index = self._at(place)
            if not np.array_equal(one, other):
                raise InputError(
                    f"{self.where}: {part}: item {index} is another image when it is read again: "
                    "draw from the global generators of random, numpy.random and torch, which are "
                    "seeded before each item, or leave randomness out (--augment has its own)"
                )
            with generators_kept():
                label = self._item(part, index)[1]
            if str(label) != name and not self._is_numbered(label, name):
                raise InputError(
                    f"{self.where}: {part}: item {index} has the label {label!r}, but its labels "
                    f"(targets, labels or a column) say {name!r} there; they must agree"
                )

    def _is_numbered(self, label: int | str, name: str) -> bool:
        return (
            isinstance(label, int)
            and self.classes is not None
            and label < len(self.classes)
            and str(self.classes[label]) == name
        )

    def read(self, places: Labels, seed: int) -> Pixels:
        """uint8 (n, size, size, channels), each item drawn from the seed and its place."""
        size, channels = self._decoding.shape
        pixels = np.empty((len(places), size, size, channels), np.uint8)
        with generators_kept():
            for n, place in enumerate(places.tolist()):
                seed_generators(stream_seed(seed, "item", place))
                name, index = self._at(place)
                image, _ = self._item(name, index)
                pixels[n] = fitted(f"{self.where}: {name}: item {index}", image, self._decoding)
        return pixels

    def _at(self, place: int) -> tuple[str, int]:
        train = len(self._parts["train"])
        return ("train", place) if place < train else ("test", place - train)

    def _item(self, name: str, index: int) -> tuple[Any, int | str]:
        return item_at(f"{self.where}: {name}", self._parts[name], index)


@dataclass(frozen=True)
class _Pair:
    """Arrays of images and labels as a map-style data set."""

    images: Any
    targets: Any

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.targets[index]


def _items_of(where: str, part: Any) -> Any:
    if not is_pair(part):
        return map_style(where, part)
    images, labels = part
    if not hasattr(labels, "__len__"):
        raise InputError(f"{where}: labels are {labels!r}; one label an image is needed")
    if hasattr(labels, "reshape") and tuple(labels.shape) == (len(images), 1):
        labels = labels.reshape(-1)
    if len(images) != len(labels):
        raise InputError(
            f"{where}: {len(labels)} labels for {len(images)} images; one label an image is needed"
        )
    return _Pair(images, labels)


def _said_labels(part: Any) -> Sequence[Any] | None:
    """The labels of a part that says them without reading its images; None: it doesn't."""
    columns = getattr(part, "column_names", None)
    if isinstance(columns, list):
        found = next((part[key] for key in LABEL_KEYS if key in columns), None)
    else:
        found = next((getattr(part, k) for k in ("targets", *LABEL_KEYS) if hasattr(part, k)), None)
    if found is None or not hasattr(found, "__len__") or len(found) != len(part):
        return None
    labels: Sequence[Any] = found.tolist() if hasattr(found, "tolist") else list(found)
    return labels
