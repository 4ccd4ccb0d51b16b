"""The data sets as arrays: checked, read, divided into training, validation and test.

Nothing here imports torch (torchvision is imported to read CIFAR only), so that ``check_data``
answers a mistake at once. ``trainables.data`` puts a ``Dataset`` on a device and cuts batches.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.dataset import (
    ClassCounts,
    Dataset,
    Images,
    Labels,
    PerChannel,
    Pixels,
    Progress,
    Source,
)
from trainables.data.registry import known_data
from trainables.data.resizing import resized
from trainables.data.stratified import counts, drawn, held_out, kept
from trainables.data.streamed import StreamedImages
from trainables.data_config import CROPS, FIRST_SHAPE, FLIPS
from trainables.errors import InputError
from trainables.memory import check_images

# Splits and subsets are drawn from these, never from a run's seed: every run of a data set sees
# the same validation images.
_SPLIT_SEED = 20_240_601
_POOL_SEED = 20_240_604


def _module(config: DataConfig) -> Any:
    return import_module(f"trainables.data.{known_data(config.dataset).module}")


def check_data(config: DataConfig) -> None:
    """Find what is wrong with the data before anything starts: quick, no image is opened."""
    found: ClassCounts = _module(config).class_counts(config)
    if found.classes is not None:
        _check_classes(config, found.classes)
    _check_sizes(config, found.train, found.test)
    if not config.stream:
        check_images(config, sum(found.train) + sum(found.test), padding(config))


def _check_sizes(config: DataConfig, train: Sequence[int], test: Sequence[int]) -> None:
    """Check the sizes of the parts, from the images per class of the source's train and test."""
    holdout = config.split != "reference"
    held = [held_out(count, _share(config)) for count in (train if holdout else test)]
    if not any(held):
        raise InputError(
            f"data.split = {config.split!r}: no image is left for validation, since each class has "
            f"only one {'training' if holdout else 'test'} image; add images"
        )
    if holdout:
        train = [count - less for count, less in zip(train, held, strict=True)]
    size = sum(kept(count, config.subset) for count in train)
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


def _check_found(config: DataConfig, source: Source) -> None:
    """Refuse other data than those that a configuration was made with (``FOUND``)."""
    _check_classes(config, source.classes)
    _check_left_out(config, source)
    _check_content(config, source)


def _check_left_out(config: DataConfig, source: Source) -> None:
    found = len(source.left_out)
    if config.left_out not in (None, found):
        raise InputError(
            f"data.left_out = {config.left_out}: now {found} images can't be read; use the images "
            "that this configuration was made with, or remove data.left_out, mean and std from it"
        )


def _check_content(config: DataConfig, source: Source) -> None:
    if config.content is not None and config.content != source.content:
        raise InputError(
            f"data.content = {config.content!r}: the images or labels of {config.what} are not "
            "those that this configuration was made with; use those (code of your own must give "
            "the same ones whenever it is called), or remove data.content, mean and std from it"
        )


def _share(config: DataConfig) -> float:
    """The fraction set apart for validation: of the test set, or of the training set."""
    return 0.5 if config.split == "reference" else known_data(config.dataset).holdout


def load_dataset(config: DataConfig, progress: Progress | None = None) -> Dataset:
    """Read a data set and divide it.

    ``split`` holdout: validation is a stratified tenth of the training images (digits: a quarter);
    reference: all training images train, the test images are halved into validation and test;
    pooled: as holdout, after ``pooled`` has drawn another test set. ``subset`` is then drawn from
    what is left for training. Mean and deviation, unless configured or known (CIFAR), are those of
    all training images before the division.

    Args:
        progress: called with (done, total) while the images of a folder are decoded.
    """
    source = read_source(config, progress)
    _check_found(config, source)
    _check_sizes(config, counts(source.train_labels), counts(source.test_labels))
    seed: int | tuple[int, int] = _SPLIT_SEED
    if config.split == "pooled":
        source, seed = pooled(source, config.split_seed), (_SPLIT_SEED, config.split_seed)
    mean, std = _normalisation(config, source)
    holdout = config.split != "reference"
    divided = source.train_labels if holdout else source.test_labels
    sizes = [held_out(count, _share(config)) for count in counts(divided)]
    validation = drawn(divided, sizes, seed)
    if holdout:
        train, test = ~validation, np.ones(len(source.test_labels), bool)
        val_images = _chosen(source.train_images, validation)
    else:
        train, test = np.ones(len(source.train_labels), bool), ~validation
        val_images = _chosen(source.test_images, validation)

    chosen = np.flatnonzero(train)
    sizes = [kept(count, config.subset) for count in counts(source.train_labels[chosen])]
    chosen = chosen[drawn(source.train_labels[chosen], sizes, seed)]
    known, pad = known_data(config.dataset), padding(config)
    return Dataset(
        train_images=_padded(source.train_images, chosen, pad),
        train_labels=source.train_labels[chosen],
        val_images=val_images,
        val_labels=divided[validation],
        test_images=_chosen(source.test_images, test),
        test_labels=source.test_labels[test],
        classes=source.classes,
        mean=mean,
        std=std,
        pad=pad,
        flip=config.flip and known.flips and config.augment in FLIPS,
        left_out=source.left_out,
        content=source.content,
    )


def padding(config: DataConfig) -> int:
    """Zeros on each side of a training image: as large a part of it at every size, rounded.

    None where no crops are cut out of it.
    """
    if config.augment not in CROPS:
        return 0
    first = FIRST_SHAPE.size
    return (known_data(config.dataset).pad * config.image_size + first // 2) // first


def read_source(config: DataConfig, progress: Progress | None) -> Source:
    """The images as they come, in the shape that is asked for."""
    source: Source = _module(config).read(config, progress)
    if {images.shape[1:] for images in (source.train_images, source.test_images)} == {
        (config.image_size, *config.shape)
    }:
        return source
    # Known constants are those of the images as they are.
    return replace(
        source,
        train_images=resized(source.train_images[:], config.shape),
        test_images=resized(source.test_images[:], config.shape),
        normalisation=None,
    )


def _normalisation(config: DataConfig, source: Source) -> tuple[PerChannel, PerChannel]:
    """Mean and standard deviation: as configured, as known of the data set, or computed."""
    if config.mean is not None and config.std is not None:
        return config.mean, config.std
    mean, std = source.normalisation or channel_statistics(_judged(source.train_images))
    return config.mean or mean, config.std or std


def pooled(source: Source, seed: int) -> Source:
    """The same images, divided anew into training and test: as many of each class as before."""
    images = _joined(source.train_images, source.test_images)
    labels = np.concatenate([source.train_labels, source.test_labels])
    test = drawn(labels, counts(source.test_labels), (_POOL_SEED, seed))
    return replace(
        source,
        train_images=_chosen(images, ~test),
        train_labels=labels[~test],
        test_images=_chosen(images, test),
        test_labels=labels[test],
    )


def resolve_data(config: DataConfig, dataset: Dataset) -> DataConfig:
    """The configuration with what was found in the data filled in (``FOUND``).

    A run's stored configuration then names its normalisation, and refuses other data.
    """
    found: dict[str, object] = {"mean": dataset.mean, "std": dataset.std}
    found["classes"] = dataset.classes
    if config.skip_broken:
        found["left_out"] = len(dataset.left_out)
    if dataset.content is not None:
        found["content"] = dataset.content
    return config.model_copy(update=found)


def channel_statistics(images: Pixels) -> tuple[PerChannel, PerChannel]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1].

    From exact counts of the 256 values, so that no order of summation shows in the result.
    A constant channel is given the deviation of one grey level, 1/255, since it divides.
    """
    channels = images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    piece = _piece(images)
    for start in range(0, len(images), piece):
        for channel in range(channels):
            values = images[start : start + piece, :, :, channel].reshape(-1)
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


def _chosen(images: Images, which: NDArray[np.bool_]) -> Images:
    chosen: Images = images.chosen(which) if isinstance(images, StreamedImages) else images[which]
    return chosen


def _joined(train: Images, test: Images) -> Images:
    if isinstance(train, StreamedImages) and isinstance(test, StreamedImages):
        return train.joined(test)
    return np.concatenate([train[:], test[:]])


def _judged(images: Images) -> Pixels:
    """The images whose mean and deviation normalise all."""
    pixels: Pixels = images.sample() if isinstance(images, StreamedImages) else images[:]
    return pixels


def _padded(images: Images, chosen: Labels, pad: int) -> Images:
    if isinstance(images, StreamedImages):
        return images.chosen(chosen).padded(pad)
    size, channels = images.shape[2:]
    side = size + 2 * pad
    padded = np.zeros((len(chosen), side, side, channels), np.uint8)
    inner = slice(pad, pad + size)
    piece = _piece(images)
    for start in range(0, len(chosen), piece):
        part = chosen[start : start + piece]
        padded[start : start + len(part), inner, inner] = images[part]
    return padded


def _piece(images: Images) -> int:
    """Images that are worked on at once, so that what is made of them takes little memory."""
    return max(1, 2000 * FIRST_SHAPE.bytes // math.prod(images.shape[1:]))
