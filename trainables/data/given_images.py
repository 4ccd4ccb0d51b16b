"""Images that come as arrays or objects: checked, brought to one shape, labelled by class.

A part (training or test) is a pair of arrays, ``(images, labels)``, or a map-style data set: it has
a length, and its items are ``(image, label)`` or mappings with ``image`` and ``label``. An image is
PIL's, or an array or tensor: uint8, or floating-point in [0, 1]; (height, width), or with 1, 3 or 4
(RGB and transparency) channels last or first.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trainables.data.dataset import ClassCounts, Labels, Pixels, Progress, Source
from trainables.data.given_labels import LABEL_KEYS, label_of, numbered
from trainables.data.image_decoding import Decoding
from trainables.data.image_listing import some
from trainables.data.stratified import counts
from trainables.data_config import DataConfig
from trainables.errors import FOREIGN, InputError
from trainables.memory import check_images

_IMAGE_KEYS = ("image", "img")
_CHANNELS = (1, 3, 4)
_FORM = (
    "a pair of arrays (images, labels), or a data set with a length whose items are (image, label)"
)

Found = tuple[Pixels, Sequence[int | str]]


class Given(NamedTuple):
    """A data set as it was given: what it comes from in words, its two parts, classes' names."""

    where: str
    parts: Mapping[str, Any]
    classes: Sequence[str] | None


Read = Callable[[DataConfig, Progress | None], Source]


def source_of(given: Given, config: DataConfig, progress: Progress | None) -> Source:
    """A data set of two parts, ``train`` and ``test``, read whole.

    Raises:
        InputError: an image or label is not as it must be, or a class lacks images.
    """
    where, parts, classes = given
    decoding = Decoding.of(config)
    check_images(config, sum(_length(part) for part in parts.values()), 0)
    read = {
        name: _part(f"{where}: {name}", part, decoding, progress) for name, part in parts.items()
    }
    names, numbers = numbered(where, {name: labels for name, (_, labels) in read.items()}, classes)
    return Source(
        read["train"][0],
        numbers["train"],
        read["test"][0],
        numbers["test"],
        names,
        content=content_hash(*(part for each in parts for part in (read[each][0], numbers[each]))),
    )


def _length(part: Any) -> int:
    """How many images a part has; 0 where that will be refused."""
    held = part[0] if is_pair(part) else part
    return len(held) if hasattr(held, "__len__") else 0


def content_of(source: Source) -> str:
    """A hash of all images and labels."""
    return content_hash(
        source.train_images[:], source.train_labels, source.test_images[:], source.test_labels
    )


def content_hash(*arrays: Pixels | Labels) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


_kept: dict[DataConfig, Source] = {}
"""What was read to be counted, until it is asked for: reading may take minutes."""

_reading_once: ContextVar[bool] = ContextVar("reading_once", default=False)


@contextmanager
def reading_once() -> Iterator[None]:
    """Within it a data set is read once, however often it is counted and asked for."""
    _kept.clear()
    token = _reading_once.set(True)
    try:
        yield
    finally:
        _reading_once.reset(token)
        _kept.clear()


def counted_once(read: Read) -> tuple[Callable[[DataConfig], ClassCounts], Read]:
    """The two functions of a module that reads a data set (``registry``), by what reads it whole.

    The first reads now, whatever was read before; the second gives what was counted, and keeps it
    no longer, or reads. Within ``reading_once`` both give what is kept.
    """

    def kept(config: DataConfig, progress: Progress | None) -> Source:
        # A grid asks for several parts of one data set.
        key = config.model_copy(update={"subset": 1.0})
        if key not in _kept:
            _kept[key] = read(key, progress)
        return _kept[key]

    def class_counts(config: DataConfig) -> ClassCounts:
        if not _reading_once.get():
            _kept.clear()
        source = kept(config, None)
        return ClassCounts(counts(source.train_labels), counts(source.test_labels), source.classes)

    def once(config: DataConfig, progress: Progress | None) -> Source:
        source = kept(config, progress)
        if not _reading_once.get():
            _kept.clear()
        return source

    return class_counts, once


def _part(where: str, given: Any, decoding: Decoding, progress: Progress | None) -> Found:
    if is_pair(given):
        images, labels = given
        return _from_arrays(where, images, labels, decoding)
    return _from_items(where, map_style(where, given), decoding, progress)


def _from_items(where: str, given: Any, decoding: Decoding, progress: Progress | None) -> Found:
    size, count = decoding.shape, len(given)
    pixels = np.empty((count, size.size, size.size, size.channels), np.uint8)
    numbers: list[int | str] = []
    for index in range(count):
        image, label = item_at(where, given, index)
        pixels[index] = fitted(f"{where}: item {index}", image, decoding)
        numbers.append(label)
        if progress is not None:
            progress(index + 1, count)
    return pixels, numbers


def is_pair(given: Any) -> bool:
    if not isinstance(given, tuple | list) or len(given) != 2:
        return False
    first, second = given
    if len(getattr(first, "shape", ())) >= 3:
        # A list of two items holds pairs, whose first is an image.
        return not (isinstance(second, tuple | list) and second and hasattr(second[0], "shape"))
    # A list of images, and one of labels.
    return isinstance(first, list) and bool(first) and not isinstance(first[0], int | str)


def map_style(where: str, part: Any) -> Any:
    """A part that is no pair of arrays; refused where it can't be read item by item."""
    if not hasattr(part, "__len__") or not hasattr(part, "__getitem__"):
        raise InputError(f"{where} is of type {type(part).__name__}; give {_FORM}")
    return part


def item_at(where: str, part: Any, index: int) -> tuple[Any, int | str]:
    """An item's image, as the part gives it, and its label."""
    try:
        item = part[index]
    except FOREIGN as error:
        raise InputError(
            f"{where}: item {index} of {len(part)} raised {type(error).__name__}: {error}"
        ) from error
    image, label = _pair_of(f"{where}: item {index}", item)
    return image, label_of(f"{where}: item {index}", label)


def _pair_of(where: str, item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        keys = [next((k for k in known if k in item), None) for known in (_IMAGE_KEYS, LABEL_KEYS)]
        if None in keys:
            raise InputError(
                f"{where} has {some(list(map(str, item)))}; it needs image (or img) and label"
            )
        return item[keys[0]], item[keys[1]]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise InputError(f"{where} is of type {type(item).__name__}; give (image, label)")


def _from_arrays(where: str, images: Any, labels: Any, decoding: Decoding) -> Found:
    labels_array, _ = _array(labels)
    if isinstance(images, list) and labels_array.ndim == 1 and len(images) == len(labels_array):
        return _from_items(where, list(zip(images, labels_array, strict=True)), decoding, None)
    if labels_array.ndim == 0:
        raise InputError(f"{where}: labels are {labels!r}; one label an image is needed")
    flat = labels_array.reshape(-1) if labels_array.size == len(labels_array) else labels_array
    if flat.ndim != 1 or len(flat) != len(images):
        raise InputError(
            f"{where}: labels of shape {tuple(labels_array.shape)} for {len(images)} images; one "
            "label an image is needed"
        )
    array, channels_first = _array(images)
    found = [label_of(f"{where}: label {index}", label) for index, label in enumerate(flat)]
    shape = decoding.shape
    wanted = (shape.size, shape.size, shape.channels)
    if array.dtype == np.uint8 and array.shape[1:] == wanted and not channels_first:
        return np.ascontiguousarray(array), found
    pixels = np.empty((len(array), *wanted), np.uint8)
    for index, image in enumerate(array):
        pixels[index] = fitted(f"{where}: image {index}", image, decoding, channels_first)
    return pixels, found


def _array(given: Any) -> tuple[Any, bool]:
    """An array of numpy, and whether it was a tensor, whose channels come first."""
    if hasattr(given, "detach"):
        tensor = given.detach().cpu()
        # numpy has no such numbers.
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy(), True
    return np.asarray(given), False


def fitted(where: str, image: Any, decoding: Decoding, channels_first: bool = False) -> Pixels:
    """One image as pixels, (size, size, channels)."""
    if not isinstance(image, Image.Image):
        image = _picture(where, image, channels_first)
    try:
        decoded = decoding.decoded(image)
    except FOREIGN as error:
        raise InputError(f"{where} can't be used as an image ({error})") from error
    size, channels = decoding.shape
    return np.frombuffer(decoded.pixels, np.uint8).reshape(size, size, channels)


def _picture(where: str, given: Any, channels_first: bool) -> Image.Image:
    array, tensor = _array(given)
    first = tensor or channels_first
    if array.ndim == 3:
        at = {position: array.shape[position] in _CHANNELS for position in (0, 2)}
        if at[0] and (first or not at[2]):
            array = np.moveaxis(array, 0, 2)
        array = array[:, :, 0] if array.shape[2] == 1 else array
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)
    if not shaped or not array.size:
        raise InputError(
            f"{where} has the shape {tuple(np.shape(given))}; an image is (height, width), or has "
            "1, 3 or 4 channels, last or first"
        )
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{where} holds {array.dtype}; give uint8 (0 to 255) or floating-point numbers (0 to 1)"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"{where} holds numbers from {low:g} to {high:g}; floating-point pixels lie between 0 "
            "and 1: leave normalisation out, a run does it itself"
        )
    return Image.fromarray(np.round(np.ascontiguousarray(array) * 255).astype(np.uint8))
