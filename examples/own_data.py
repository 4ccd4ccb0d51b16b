"""Data of one's own: arrays, and images that are made, or read, when a batch needs them.

    noise-study run --dataset own_data:arrays --image-size 8 --channels 1
    noise-study run --dataset own_data:stripes --stream --stream-workers 1

Run as a script it looks at both as ``noise-study check-data`` does.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from study.api import inspect_data
from trainables.config import DataConfig

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def arrays() -> tuple[Part, Part]:
    """Training and test part: images (n, 8, 8) and their labels, held in memory."""
    found = load_digits()
    images = np.round(found.images * 255 / 16).astype(np.uint8)
    return (images[:1400], found.target[:1400]), (images[1400:], found.target[1400:])


class Stripes:
    """Images of stripes, across or upright: as many as one likes, none of which is kept."""

    classes = ("across", "upright")

    def __init__(self, length: int) -> None:
        # Labels that are told need no reading of the images.
        self.targets = [place % 2 for place in range(length)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[NDArray[np.uint8], int]:
        # The generator is seeded before each item, from the run's seed, the epoch and the place.
        image = np.random.randint(0, 256, (32, 1, 3), np.uint8)
        image = np.broadcast_to(image, (32, 32, 3))
        return (image.transpose(1, 0, 2) if self.targets[place] else image), self.targets[place]


def stripes() -> tuple[Stripes, Stripes]:
    return Stripes(400), Stripes(100)


def main() -> None:
    for config in (
        DataConfig(dataset="own_data:arrays", image_size=8, channels=1),
        DataConfig(dataset="own_data:stripes", stream=True),
    ):
        found = inspect_data(config)
        data = found.dataset
        sizes = [len(labels) for labels in (data.train_labels, data.val_labels, data.test_labels)]
        print(f"{config.what}: {sizes}, classes {', '.join(data.classes)}")
        print("\n".join(found.findings) or "nothing wrong was found")


if __name__ == "__main__":
    main()
