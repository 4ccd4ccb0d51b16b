"""Images that come as arrays or objects: checked, brought to one shape, labelled by class.

A part (training or test) is a pair of arrays, ``(images, labels)``, or a map-style data set: it has
a length, and its items are ``(image, label)`` or mappings with ``image`` and ``label``. An image is
PIL's, or an array or tensor: uint8, or floating-point in [0, 1]; (height, width), or with 1, 3 or 4
(RGB and transparency) channels last or first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trainables.data.dataset import ClassCounts, Labels, Pixels, Progress, Source
from trainables.data.image_decoding import Decoding
from trainables.data.image_listing import some
from trainables.data.stratified import counts
from trainables.data_config import DataConfig
from trainables.errors import InputError
from trainables.memory import check_images

_IMAGE_KEYS = ("image", "img")
LABEL_KEYS = ("label", "labels")
_CHANNELS = (1, 3, 4)
FORM = (
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


def counted_once(read: Read) -> tuple[Callable[[DataConfig], ClassCounts], Read]:
    """The two functions of a module that reads a data set (``registry``), by what reads it whole.

    The first reads now, whatever was read before; the second gives what was counted, and keeps it
    no longer, or reads.
    """

    def class_counts(config: DataConfig) -> ClassCounts:
        _kept.clear()
        source = _kept[config] = read(config, None)
        return ClassCounts(counts(source.train_labels), counts(source.test_labels), source.classes)

    def once(config: DataConfig, progress: Progress | None) -> Source:
        return _kept.pop(config) if config in _kept else read(config, progress)

    return class_counts, once


def _part(where: str, given: Any, decoding: Decoding, progress: Progress | None) -> Found:
    if is_pair(given):
        images, labels = given
        return _from_arrays(where, images, labels, decoding)
    if not hasattr(given, "__len__") or not hasattr(given, "__getitem__"):
        raise InputError(f"{where} is of type {type(given).__name__}; give {FORM}")
    return _from_items(where, given, decoding, progress)


def _from_items(where: str, given: Any, decoding: Decoding, progress: Progress | None) -> Found:
    size, count = decoding.shape, len(given)
    pixels = np.empty((count, size.size, size.size, size.channels), np.uint8)
    numbers: list[int | str] = []
    for index in range(count):
        try:
            item = given[index]
        except Exception as error:
            raise InputError(
                f"{where}: item {index} of {count} raised {type(error).__name__}: {error}"
            ) from error
        image, label = item_of(f"{where}: item {index}", item)
        pixels[index] = fitted(f"{where}: item {index}", image, decoding)
        numbers.append(label_of(f"{where}: item {index}", label))
        if progress is not None:
            progress(index + 1, count)
    return pixels, numbers


def is_pair(given: Any) -> bool:
    if not isinstance(given, tuple | list) or len(given) != 2:
        return False
    first, second = given
    if len(getattr(first, "shape", ())) >= 3:
        # A list of two items holds pairs, whose first is an image.
        return not isinstance(second, tuple | list) or not hasattr(second[0], "shape")
    # A list of images, and one of labels.
    return isinstance(first, list) and bool(first) and not isinstance(first[0], int | str)


def item_of(where: str, item: Any) -> tuple[Any, Any]:
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
    array, channels_first = _array(images)
    if labels_array.ndim == 0:
        raise InputError(f"{where}: labels are {labels!r}; one label an image is needed")
    flat = labels_array.reshape(-1) if labels_array.size == len(labels_array) else labels_array
    if flat.ndim != 1 or len(flat) != len(array):
        raise InputError(
            f"{where}: labels of shape {tuple(labels_array.shape)} for {len(array)} images; one "
            "label an image is needed"
        )
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
        return given.detach().cpu().numpy(), True
    return np.asarray(given), False


def fitted(where: str, image: Any, decoding: Decoding, channels_first: bool = False) -> Pixels:
    """One image as pixels, (size, size, channels)."""
    if not isinstance(image, Image.Image):
        image = _picture(where, image, channels_first)
    try:
        decoded = decoding.decoded(image)
    except Exception as error:
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
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS):
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


def label_of(where: str, label: Any) -> int | str:
    value = label.item() if hasattr(label, "item") else label
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | bool):
        return int(value)
    raise InputError(f"{where} is {value!r}; a label is a whole number from 0 on, or a name")


def class_names(where: str, given: Any) -> list[str] | None:
    """Names of classes as an array, a list or a tuple gives them; None where none are given."""
    if given is None:
        return None
    names = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(names, str) or not isinstance(names, list | tuple):
        raise InputError(f"{where}: classes = {given!r}; give their names, in the order of labels")
    found = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]
    # ImageNet's classes are tuples of words.
    found = [", ".join(name) if isinstance(name, tuple) else name for name in found]
    if not all(isinstance(name, str) for name in found):
        raise InputError(f"{where}: classes = {given!r}; give their names, in the order of labels")
    return found


def same_classes(where: str, train: list[str] | None, test: list[str] | None) -> list[str] | None:
    """The names of both parts; refused where they differ: equal labels would mean other classes."""
    if train is not None and test is not None and train != test:
        raise InputError(
            f"{where}: train has the classes {some(train)}, test {some(test)}; both need the same, "
            "in the same order"
        )
    return train if train is not None else test


def numbered(
    where: str, labels: Mapping[str, Sequence[int | str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """The classes' names, and the labels of each part by their places; none may lack a class."""
    values = {value for part in labels.values() for value in part}
    named = {isinstance(value, str) for value in values}
    if len(named) > 1:
        raise InputError(f"{where}: some labels are numbers, others names; give one kind")
    if named == {True}:
        names = tuple(classes) if classes else tuple(sorted(map(str, values)))
        unknown = sorted(map(str, values - set(names)))
        if unknown:
            raise InputError(f"{where}: labels {some(unknown)} are none of the classes")
    else:
        highest = max((int(value) for value in values), default=-1)
        names = tuple(map(str, classes)) if classes else tuple(map(str, range(highest + 1)))
        wrong = sorted(int(value) for value in values if not 0 <= int(value) < len(names))
        if wrong:
            raise InputError(
                f"{where}: label {wrong[0]} with {len(names)} classes; labels are whole numbers "
                "from 0 on"
            )
    if len(names) < 2:
        raise InputError(f"{where}: {len(names)} classes; at least two are needed")
    if len(set(names)) < len(names):
        raise InputError(f"{where}: a class is named twice among {some(names)}")
    place: dict[int | str, int] = (
        {name: number for number, name in enumerate(names)}
        if named == {True}
        else {number: number for number in range(len(names))}
    )
    numbers = {
        part: np.array([place[value] for value in own], np.int64) for part, own in labels.items()
    }
    for part, own_numbers in numbers.items():
        found = set(own_numbers.tolist())
        empty = [each for number, each in enumerate(names) if number not in found]
        if empty:
            raise InputError(
                f"{where}: {part} has no image of {some(empty)}; each class needs some"
            )
    return names, numbers
