"""Synthetic images with a pattern a class."""

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.dataset import ClassCounts, Labels, Pixels, Progress, Source
from trainables.data.stratified import counts
from trainables.data_config import FIRST_SHAPE

_SYNTHETIC_SEED = 20_240_603


def _labels(config: DataConfig, count: int) -> Labels:
    return np.arange(count, dtype=np.int64) % config.synthetic_classes


def class_counts(config: DataConfig) -> ClassCounts:
    return ClassCounts(
        counts(_labels(config, config.synthetic_train)),
        counts(_labels(config, config.synthetic_test)),
    )


def read(config: DataConfig, progress: Progress | None) -> Source:
    """Each class a smooth coloured pattern of its own, seen with changing contrast and shift.

    ``synthetic_noise`` is the standard deviation of each pixel's noise in units of the pattern's.
    They are drawn at the size that is asked for, in RGB.
    """
    patterns = _patterns(config.synthetic_classes, config.image_size)
    train = _labels(config, config.synthetic_train)
    test = _labels(config, config.synthetic_test)
    return Source(
        _synthetic_images(patterns, train, config.synthetic_noise, _SYNTHETIC_SEED + 1),
        train,
        _synthetic_images(patterns, test, config.synthetic_noise, _SYNTHETIC_SEED + 2),
        test,
        tuple(f"class {number}" for number in range(config.synthetic_classes)),
    )


def _patterns(classes: int, size: int) -> NDArray[np.floating]:
    """(classes, size, size, 3), each channel a sum of slow waves, of mean 0 and deviation 1."""
    random = np.random.default_rng(_SYNTHETIC_SEED)
    waves = 4
    frequency = random.integers(-3, 4, (classes, 3, waves, 2))
    phase = random.uniform(0, 2 * np.pi, (classes, 3, waves))
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    angle = (2 * np.pi / size * np.einsum("kcwd,dyx->yxkcw", frequency, np.stack([y, x]))) + phase
    pattern = np.cos(angle).sum(axis=-1).transpose(2, 0, 1, 3)
    pattern -= pattern.mean(axis=(1, 2, 3), keepdims=True)
    pattern /= pattern.std(axis=(1, 2, 3), keepdims=True)
    return pattern.astype(np.float32)


def _synthetic_images(
    patterns: NDArray[np.floating], labels: Labels, noise: float, seed: int
) -> Pixels:
    random = np.random.default_rng(seed)
    size = patterns.shape[1]
    images = np.empty((len(labels), size, size, 3), np.uint8)
    rows = np.arange(size)
    # In pieces: floats take four times the memory. What is drawn depends on their size.
    piece = max(1, min(1000, 1000 * FIRST_SHAPE.bytes // images[0].size))
    for start in range(0, len(labels), piece):
        part = labels[start : start + piece]
        count = len(part)
        contrast = random.uniform(0.5, 1.5, (count, 1, 1, 1)).astype(np.float32)
        down, right = random.integers(0, size // 4 + 1, (2, count, 1, 1))
        y, x = (rows[:, None] + down) % size, (rows + right) % size
        pixels = patterns[part[:, None, None], y, x] * contrast
        pixels += noise * random.standard_normal(pixels.shape, np.float32)
        images[start : start + count] = np.clip(pixels * 32 + 128, 0, 255)
    return images
