"""The data sets as arrays: checked, read, divided into training, validation and test.

Nothing here imports torch (torchvision is imported to read CIFAR only), so that ``check_data``
answers a mistake at once. ``trainables.data`` puts a ``Dataset`` on a device and cuts batches.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.cifar import CIFAR, CIFAR_TEST, CIFAR_TRAIN, check_cifar, read_cifar
from trainables.data.dataset import Dataset, Source, Triple
from trainables.data.image_cache import SIZE, Labels, Pixels
from trainables.data.image_folder import Progress, list_folder, load_folder
from trainables.data.synthetic import _synthetic, synthetic_labels
from trainables.errors import InputError

# Splits and subsets are drawn from these, never from a run's seed: every run of a data set sees
# the same validation images.
_SPLIT_SEED = 20_240_601
_TEST_SEED = 20_240_602

_HOLDOUT = 0.1
_QUARTER = 0.25

_DIGITS_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
_DIGITS_PAD = 2
"""Half of an original pixel: a digit fills its image to the border, 4 would cut strokes off."""
_PAD = 4


# --- checks, before anything is read ---------------------------------------------------------


def check_data(config: DataConfig) -> None:
    """Find what is wrong with the data before anything starts: quick, no image is opened.

    Raises:
        InputError: if a folder is missing, empty or inconsistent, CIFAR is not there and may not be
            downloaded, or the training set is smaller than one batch.
    """
    train: Sequence[int]
    test: Sequence[int]
    if config.dataset == "digits":
        test = [_held_out(count, _QUARTER) for count in _DIGITS_COUNTS]
        train = [count - held for count, held in zip(_DIGITS_COUNTS, test, strict=True)]
    elif config.dataset == "synthetic":
        train = _counts(synthetic_labels(config, config.synthetic_train))
        test = _counts(synthetic_labels(config, config.synthetic_test))
    elif config.dataset == "imagefolder":
        listing = list_folder(str(config.data_dir))
        _check_classes(config, listing.classes)
        train = [len(files) for files in listing.train]
        test = [len(files) for files in listing.test]
    else:
        cifar = CIFAR[config.dataset]
        check_cifar(config)
        train = [CIFAR_TRAIN // cifar.classes] * cifar.classes
        test = [CIFAR_TEST // cifar.classes] * cifar.classes
    _check_sizes(config, train, test)


def _check_sizes(config: DataConfig, train: Sequence[int], test: Sequence[int]) -> None:
    """Check the sizes of the parts, from the images per class of the source's train and test."""
    holdout = config.split == "holdout"
    held = [_held_out(count, _share(config)) for count in (train if holdout else test)]
    if not any(held):
        raise InputError(
            f"data.split = {config.split!r}: no image is left for validation, since each class has "
            f"only one {'training' if holdout else 'test'} image; add images"
        )
    if holdout:
        train = [count - less for count, less in zip(train, held, strict=True)]
    size = sum(_kept(count, config.subset) for count in train)
    if size < config.batch_size:
        remarks = []
        if holdout:
            remarks.append(f"{sum(held)} more are set apart for validation")
        if config.subset < 1:
            remarks.append(f"data.subset = {config.subset:g} of {sum(train)}")
        because = f" ({'; '.join(remarks)})" if remarks else ""
        raise InputError(
            f"data.batch_size = {config.batch_size}: larger than the training set, which has "
            f"{size} images{because}; use at most {size}"
        )


def _check_classes(config: DataConfig, found: tuple[str, ...]) -> None:
    if config.classes is not None and config.classes != found:
        raise InputError(
            f"data.classes = {list(config.classes)}: the data set has {list(found)}; use the data "
            "that this configuration was made with, or remove data.classes, mean and std from it"
        )


# --- stratified parts -------------------------------------------------------------------------


def _share(config: DataConfig) -> float:
    """The fraction set apart for validation: of the test set, or of the training set."""
    if config.split == "reference":
        return 0.5
    return _QUARTER if config.dataset == "digits" else _HOLDOUT


def _held_out(count: int, share: float) -> int:
    """How many of a class's images are set apart: at least one, and not all of them."""
    return min(max(1, _rounded(count * share)), count - 1) if count > 1 else 0


def _kept(count: int, fraction: float) -> int:
    """How many of a class's images a subset keeps: at least one."""
    return min(max(1, _rounded(count * fraction)), count)


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


def _counts(labels: Labels) -> list[int]:
    return np.bincount(labels).tolist()


def _drawn(labels: Labels, sizes: Sequence[int], seed: int) -> NDArray[np.bool_]:
    """Draw ``sizes[c]`` images of each class c: a mask (n,).

    With equal labels and seed, a smaller draw lies within a larger one.
    """
    # RandomState, since numpy promises that its numbers stay the same for ever.
    random = np.random.RandomState(seed)
    mask = np.zeros(len(labels), bool)
    for number, size in enumerate(sizes):
        members = np.flatnonzero(labels == number)
        mask[members[random.permutation(len(members))[:size]]] = True
    return mask


# --- the sources ------------------------------------------------------------------------------


def _digits() -> Source:
    """scikit-learn's 1,797 digits, 8×8 with 17 grey levels; a stratified quarter is test."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    resized = [
        np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for image in grey
    ]
    images = np.repeat(np.stack(resized)[..., None], 3, axis=3)
    labels = digits.target.astype(np.int64)
    sizes = [_held_out(count, _QUARTER) for count in _counts(labels)]
    test = _drawn(labels, sizes, _TEST_SEED)
    classes = tuple(str(digit) for digit in range(10))
    return Source(images[~test], labels[~test], images[test], labels[test], classes)


def _read_folder(config: DataConfig, progress: Progress | None) -> Source:
    folder = load_folder(str(config.data_dir), workers=config.workers, progress=progress)
    return Source(
        folder.train_images,
        folder.train_labels,
        folder.test_images,
        folder.test_labels,
        folder.classes,
    )


# --- reading ----------------------------------------------------------------------------------


def load_dataset(config: DataConfig, progress: Progress | None = None) -> Dataset:
    """Read a data set and divide it.

    ``split`` holdout: validation is a stratified tenth of the training images (digits: a quarter);
    reference: all training images train, the test images are halved into validation and test.
    ``subset`` is then drawn from what is left for training. Mean and deviation, unless configured
    or known (CIFAR), are those of all training images before the division.

    Args:
        config: which data set, and how to divide it.
        progress: called with (done, total) while the images of a folder are decoded.

    Raises:
        InputError: as ``check_data`` does; if an image or CIFAR's files are damaged.
    """
    source = _read(config, progress)
    _check_classes(config, source.classes)
    _check_sizes(config, _counts(source.train_labels), _counts(source.test_labels))
    mean, std = config.mean, config.std
    if mean is None or std is None:
        known_mean, known_std = source.normalisation or channel_statistics(source.train_images)
        mean, std = mean or known_mean, std or known_std

    divided = source.train_labels if config.split == "holdout" else source.test_labels
    sizes = [_held_out(count, _share(config)) for count in _counts(divided)]
    validation = _drawn(divided, sizes, _SPLIT_SEED)
    if config.split == "holdout":
        train, test = ~validation, np.ones(len(source.test_labels), bool)
        val_images = source.train_images[validation]
    else:
        train, test = np.ones(len(source.train_labels), bool), ~validation
        val_images = source.test_images[validation]

    chosen = np.flatnonzero(train)
    kept = [_kept(count, config.subset) for count in _counts(source.train_labels[chosen])]
    chosen = chosen[_drawn(source.train_labels[chosen], kept, _SPLIT_SEED)]
    pad = _DIGITS_PAD if config.dataset == "digits" else _PAD
    return Dataset(
        train_images=_padded(source.train_images, chosen, pad),
        train_labels=source.train_labels[chosen],
        val_images=val_images,
        val_labels=divided[validation],
        test_images=source.test_images[test],
        test_labels=source.test_labels[test],
        classes=source.classes,
        mean=mean,
        std=std,
        pad=pad,
        flip=config.flip and config.dataset not in {"digits", "synthetic"},
    )


def _read(config: DataConfig, progress: Progress | None) -> Source:
    if config.dataset == "digits":
        return _digits()
    if config.dataset == "synthetic":
        return _synthetic(config)
    if config.dataset == "imagefolder":
        return _read_folder(config, progress)
    return read_cifar(config)


def resolve_data(config: DataConfig, dataset: Dataset) -> DataConfig:
    """The configuration with what was found in the data filled in: mean, std and classes.

    A run's stored configuration then names its normalisation, and refuses other data.
    """
    return config.model_copy(
        update={"mean": dataset.mean, "std": dataset.std, "classes": dataset.classes}
    )


def channel_statistics(images: Pixels) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1].

    From exact counts of the 256 values, so that no order of summation shows in the result.
    A constant channel is given the deviation of one grey level, 1/255, since it divides.
    """
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), 2000):
        for channel in range(3):
            values = images[start : start + 2000, :, :, channel].reshape(-1)
            counts[channel] += np.bincount(values, minlength=256)
    statistics = [_mean_and_std(channel.tolist()) for channel in counts]
    means, stds = zip(*statistics, strict=True)
    return means, stds


def _mean_and_std(counts: list[int]) -> tuple[float, float]:
    """Of pixels in [0, 1], from how often each of the 256 values occurs."""
    total = sum(counts)
    mean = sum(count * level for level, count in enumerate(counts)) / total / 255
    squares = (count * (level / 255 - mean) ** 2 for level, count in enumerate(counts))
    return mean, max(math.sqrt(math.fsum(squares) / total), 1 / 255)


def _padded(images: Pixels, chosen: Labels, pad: int) -> Pixels:
    """The chosen images with a border of zeros."""
    side = SIZE + 2 * pad
    padded = np.zeros((len(chosen), side, side, 3), np.uint8)
    inner = slice(pad, pad + SIZE)
    for start in range(0, len(chosen), 1000):
        part = chosen[start : start + 1000]
        padded[start : start + len(part), inner, inner] = images[part]
    return padded
