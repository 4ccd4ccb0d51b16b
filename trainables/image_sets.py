"""The data sets as arrays: checked, read, divided into training, validation and test.

Nothing here imports torch (torchvision is imported to read CIFAR only), so that ``check_data``
answers a mistake at once. ``trainables.data`` puts a ``Dataset`` on a device and cuts batches.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.errors import InputError
from trainables.image_folder import SIZE, Labels, Pixels, Progress, list_folder, load_folder

Triple = tuple[float, float, float]

# Splits and subsets are drawn from these, never from a run's seed: every run of a data set sees
# the same validation images.
_SPLIT_SEED = 20_240_601
_TEST_SEED = 20_240_602
_SYNTHETIC_SEED = 20_240_603

_HOLDOUT = 0.1
_QUARTER = 0.25

_DIGITS_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
_DIGITS_PAD = 2
"""Half of an original pixel: a digit fills its image to the border, 4 would cut strokes off."""
_PAD = 4


@dataclass(frozen=True, eq=False)
class Dataset:
    """One data set, divided.

    Arrays of numpy, so that Ray's object store shares one copy between all processes of a node:
    treat them as read-only. Images are uint8 (n, height, width, channel), RGB, raw. Those of
    training have a border of ``pad`` zeros on each side, (n, 32 + 2·pad, 32 + 2·pad, 3), out of
    which random crops are cut; the others are 32×32. Labels are int64 (n,), indices of ``classes``.

    Attributes:
        mean: of each channel, for normalisation, of pixels in [0, 1].
        std: likewise, the standard deviation.
        pad: zeros on each side of a training image, in pixels.
        flip: whether training images are flipped at random.
    """

    train_images: Pixels
    train_labels: Labels
    val_images: Pixels
    val_labels: Labels
    test_images: Pixels
    test_labels: Labels
    classes: tuple[str, ...]
    mean: Triple
    std: Triple
    pad: int
    flip: bool


@dataclass(frozen=True, eq=False)
class _Source:
    """A data set as it comes: 32×32 images and labels, not yet divided."""

    train_images: Pixels
    train_labels: Labels
    test_images: Pixels
    test_labels: Labels
    classes: tuple[str, ...]
    # Of the whole of train_images (computed from them where there are no known constants).
    normalisation: tuple[Triple, Triple] | None = None


@dataclass(frozen=True)
class _Cifar:
    """Where torchvision puts a CIFAR set, and what is known about it without reading it."""

    folder: str
    files: tuple[str, ...]
    classes: int
    normalisation: tuple[Triple, Triple]


_CIFAR = {
    "cifar10": _Cifar(
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        10,
        ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    ),
    "cifar100": _Cifar(
        "cifar-100-python",
        ("train", "test", "meta"),
        100,
        ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ),
}
_CIFAR_TRAIN, _CIFAR_TEST = 50_000, 10_000


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
        train = _counts(_synthetic_labels(config, config.synthetic_train))
        test = _counts(_synthetic_labels(config, config.synthetic_test))
    elif config.dataset == "imagefolder":
        listing = list_folder(str(config.data_dir))
        _check_classes(config, listing.classes)
        train = [len(files) for files in listing.train]
        test = [len(files) for files in listing.test]
    else:
        cifar = _CIFAR[config.dataset]
        _check_cifar(config)
        train = [_CIFAR_TRAIN // cifar.classes] * cifar.classes
        test = [_CIFAR_TEST // cifar.classes] * cifar.classes
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


def _cifar_root(config: DataConfig) -> Path:
    return Path(config.data_dir or f"./data/{config.dataset}")


def _check_cifar(config: DataConfig) -> None:
    cifar = _CIFAR[config.dataset]
    folder = _cifar_root(config) / cifar.folder
    missing = [name for name in cifar.files if not (folder / name).is_file()]
    if missing and not config.download:
        if (_cifar_root(config) / "train").is_dir():
            raise InputError(
                f"data.data_dir = {str(_cifar_root(config))!r}: {config.dataset} is not there, but "
                "a folder train/ is; to train on its images, add --dataset imagefolder"
            )
        raise InputError(
            f"data.data_dir = {str(_cifar_root(config))!r}: {config.dataset} is not there "
            f"({folder / missing[0]} is missing); say where it is by --data-dir, "
            "or add --download to fetch it"
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


def _digits() -> _Source:
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
    return _Source(images[~test], labels[~test], images[test], labels[test], classes)


def _read_cifar(config: DataConfig) -> _Source:
    from torchvision import datasets

    _check_cifar(config)
    kind = datasets.CIFAR10 if config.dataset == "cifar10" else datasets.CIFAR100
    root = _cifar_root(config)
    try:
        train = kind(str(root), train=True, download=config.download)
        test = kind(str(root), train=False)
    except (OSError, RuntimeError) as error:
        # A failed download, or torchvision's "not found or corrupted" (by its checksums).
        raise InputError(
            f"data.data_dir = {str(root)!r}: {config.dataset} can't be read ({error}); remove "
            "what is there and use --download, or put a sound copy there"
        ) from error
    return _Source(
        train.data,
        np.asarray(train.targets, np.int64),
        test.data,
        np.asarray(test.targets, np.int64),
        tuple(train.classes),
        _CIFAR[config.dataset].normalisation,
    )


def _read_folder(config: DataConfig, progress: Progress | None) -> _Source:
    folder = load_folder(str(config.data_dir), workers=config.workers, progress=progress)
    return _Source(
        folder.train_images,
        folder.train_labels,
        folder.test_images,
        folder.test_labels,
        folder.classes,
    )


def _synthetic_labels(config: DataConfig, count: int) -> Labels:
    return np.arange(count, dtype=np.int64) % config.synthetic_classes


def _synthetic(config: DataConfig) -> _Source:
    """Each class a smooth coloured pattern of its own, seen with changing contrast and shift.

    ``synthetic_noise`` is the standard deviation of each pixel's noise in units of the pattern's.
    """
    patterns = _patterns(config.synthetic_classes)
    train = _synthetic_labels(config, config.synthetic_train)
    test = _synthetic_labels(config, config.synthetic_test)
    return _Source(
        _synthetic_images(patterns, train, config.synthetic_noise, _SYNTHETIC_SEED + 1),
        train,
        _synthetic_images(patterns, test, config.synthetic_noise, _SYNTHETIC_SEED + 2),
        test,
        tuple(f"class {number}" for number in range(config.synthetic_classes)),
    )


def _patterns(classes: int) -> NDArray[np.floating]:
    """(classes, 32, 32, 3), each channel a sum of a few slow waves, of mean 0 and deviation 1."""
    random = np.random.default_rng(_SYNTHETIC_SEED)
    waves = 4
    frequency = random.integers(-3, 4, (classes, 3, waves, 2))
    phase = random.uniform(0, 2 * np.pi, (classes, 3, waves))
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    angle = (2 * np.pi / SIZE * np.einsum("kcwd,dyx->yxkcw", frequency, np.stack([y, x]))) + phase
    pattern = np.cos(angle).sum(axis=-1).transpose(2, 0, 1, 3)
    pattern -= pattern.mean(axis=(1, 2, 3), keepdims=True)
    pattern /= pattern.std(axis=(1, 2, 3), keepdims=True)
    return pattern.astype(np.float32)


def _synthetic_images(
    patterns: NDArray[np.floating], labels: Labels, noise: float, seed: int
) -> Pixels:
    random = np.random.default_rng(seed)
    images = np.empty((len(labels), SIZE, SIZE, 3), np.uint8)
    rows = np.arange(SIZE)
    for start in range(0, len(labels), 1000):  # In pieces: floats take four times the memory.
        part = labels[start : start + 1000]
        count = len(part)
        contrast = random.uniform(0.5, 1.5, (count, 1, 1, 1)).astype(np.float32)
        down, right = random.integers(0, 9, (2, count, 1, 1))
        y, x = (rows[:, None] + down) % SIZE, (rows + right) % SIZE
        pixels = patterns[part[:, None, None], y, x] * contrast
        pixels += noise * random.standard_normal(pixels.shape, np.float32)
        images[start : start + count] = np.clip(pixels * 32 + 128, 0, 255)
    return images


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


def _read(config: DataConfig, progress: Progress | None) -> _Source:
    if config.dataset == "digits":
        return _digits()
    if config.dataset == "synthetic":
        return _synthetic(config)
    if config.dataset == "imagefolder":
        return _read_folder(config, progress)
    return _read_cifar(config)


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
