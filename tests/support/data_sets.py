"""Small data sets, folders of images, and what to compare of them."""

import hashlib
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.config import DataConfig
from trainables.data.dataset import Dataset
from trainables.data.image_cache import cache_path
from trainables.data.image_decoding import Decoding
from trainables.data.image_folder import load_folder
from trainables.data.image_sets import load_dataset
from trainables.data_config import FIRST_SHAPE, ImageShape

Array = NDArray[Any]


@cache
def loaded(**fields: Any) -> Dataset:
    return load_dataset(DataConfig(**fields))


def small(**fields: Any) -> Dataset:
    return loaded(
        dataset="synthetic", synthetic_train=200, synthetic_test=60, batch_size=1, **fields
    )


def with_flips(
    count: int = 90, pad: int = 4, seed: int = 0, shape: ImageShape = FIRST_SHAPE
) -> Dataset:
    """Random pixels, so that every crop is like no other; all arrays read-only, as Ray's are."""
    random = np.random.default_rng(seed)
    sides = (shape.size, shape.size, shape.channels)
    train, val, test = (random.integers(0, 256, (n, *sides), np.uint8) for n in (count, 7, 5))
    arrays = {
        "train_images": np.pad(train, ((0, 0), (pad, pad), (pad, pad), (0, 0))),
        "train_labels": np.arange(count) % 3,
        "val_images": val,
        "val_labels": np.arange(7) % 3,
        "test_images": test,
        "test_labels": np.arange(5) % 3,
    }
    for array in arrays.values():
        array.setflags(write=False)
    return Dataset(
        **arrays,
        classes=("a", "b", "c"),
        mean=(0.4914, 0.4822, 0.4465)[: shape.channels],
        std=(0.2471, 0.2435, 0.2616)[: shape.channels],
        pad=pad,
        flip=True,
    )


def unpadded(dataset: Dataset) -> Array:
    inner = slice(dataset.pad, dataset.pad + dataset.shape.size)
    return dataset.train_images[:, inner, inner]


def contents(images: Array) -> Counter[bytes]:
    return Counter(image.tobytes() for image in images)


def per_class(labels: Array) -> list[int]:
    return list(map(int, np.bincount(labels)))


def digest(dataset: Dataset) -> str:
    value = hashlib.sha256()
    for part in ("train", "val", "test"):
        value.update(getattr(dataset, f"{part}_images").tobytes())
        value.update(getattr(dataset, f"{part}_labels").tobytes())
    return value.hexdigest()


def write_images(root: Path, train: int = 6, test: int = 3, size: int = 32) -> Path:
    """Classes "cat" and "dog", with random PNGs; each image is unlike the others."""
    random = np.random.default_rng(7)
    for part, count in (("train", train), ("test", test)):
        for name in ("dog", "cat"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (size, size, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def folder_config(root: Path, **fields: Any) -> DataConfig:
    return DataConfig(
        **{"batch_size": 1, "workers": 0} | fields, dataset="imagefolder", data_dir=str(root)
    )


def pixels_of(root: Path, part: str, name: str) -> list[Array]:
    return [np.asarray(Image.open(path)) for path in sorted((root / part / name).iterdir())]


def counting(root: Path) -> Callable[[], int]:
    """A function that loads the folder and says how many images were decoded for it."""

    def load() -> int:
        seen = [0]
        load_folder(root, progress=lambda done, _: seen.append(done))
        return seen[-1]

    return load


def cache_of(root: Path) -> Path:
    """Where a folder's images are kept, decoded as new studies do."""
    return cache_path(root, Decoding().words)


def chessboard_corner(width: int, height: int) -> Image.Image:
    """A black photo whose top left corner is white, so that every turn shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255
    return Image.fromarray(pixels)


def spoil_images(folder: Path) -> dict[str, str]:
    """Put files that are no images where images are: name → what is to be said of it."""
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no image at all")
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    # The beginning of a PNG of 60,000 × 60,000 pixels.
    (folder / "bomb.png").write_bytes(_png_of(60_000, 60_000))
    return {
        "cut.png": "truncated",
        "empty.png": "an empty file",
        "text.png": "no kind of image",
        "pipe.png": "not a file",
        "loop.png": "symbolic links",
        "gone.png": "No such file",
        "bomb.png": "decompression bomb",
    }


def _png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + end + bytes(4) + b"IDAT"
