"""The digits are scikit-learn's, read without importing it."""

import numpy as np
from sklearn.datasets import load_digits

from trainables.config import DataConfig
from trainables.data.digits import read


def test_the_digits_are_those_of_scikit_learn() -> None:
    theirs = load_digits()
    ours = read(DataConfig(dataset="digits", image_size=8, channels=1), None)
    images = np.concatenate([ours.train_images, ours.test_images])[..., 0]
    labels = np.concatenate([ours.train_labels, ours.test_labels])
    expected = np.round(theirs.images * 255 / 16).astype(np.uint8)

    def ordered(pixels: np.ndarray, of: np.ndarray) -> list[bytes]:
        return sorted(
            bytes([label]) + image.tobytes() for image, label in zip(pixels, of, strict=True)
        )

    assert ordered(images, labels) == ordered(expected, theirs.target)
