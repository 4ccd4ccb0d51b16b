"""Synthetic images the size of CIFAR's: nothing here depends on what they show."""

import numpy as np

from trainables.data.dataset import Dataset

CLASSES = tuple(f"class {number}" for number in range(10))
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2471, 0.2435, 0.2616)


def raw_images(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 32, 32, 3) and int64 (count,): noise about one colour for each class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    colours = random.integers(60, 196, (len(CLASSES), 1, 1, 3), dtype=np.uint8)
    images = random.integers(0, 60, (count, 32, 32, 3), dtype=np.uint8)
    images += colours[labels]
    return images, labels


def dataset(train: int, val: int, seed: int = 0) -> Dataset:
    """The project's own form of such images, augmented as CIFAR is."""
    images, labels = raw_images(train + val, seed)
    padded = np.zeros((train, 40, 40, 3), np.uint8)
    padded[:, 4:36, 4:36] = images[:train]
    return Dataset(
        train_images=padded,
        train_labels=labels[:train],
        val_images=images[train:],
        val_labels=labels[train:],
        test_images=images[train:],
        test_labels=labels[train:],
        classes=CLASSES,
        mean=MEAN,
        std=STD,
        pad=4,
        flip=True,
    )
