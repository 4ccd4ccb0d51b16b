"""A picture of a data set's training images, as they are and as a network sees them."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from trainables.data.augmentation import make_augmentation
from trainables.data.dataset import Dataset, Pixels
from trainables.data.device_data import Augment, DeviceData, EpochDraws, draw_epoch
from trainables.data_config import DataConfig
from trainables.files import write_atomically
from trainables.random_streams import generator

SHOWN_CLASSES = 20
"""Classes on the sheet: the first ones."""

_IMAGES = 3
"""Training images of a class."""

_EPOCHS = 3
"""Epochs whose augmentation is shown of each, those of seed 0."""

_SMALL, _LARGE = 64, 128
"""Pixels of an image on the sheet: a small one is shown larger, a large one smaller."""

_GAP = 4
_TEXT = 16


def write_contact_sheet(dataset: Dataset, config: DataConfig, path: str | Path) -> None:
    """Write ``contact_sheet`` of a data set, with the augmentation of its configuration, as a PNG.

    Raises:
        OSError: the file can't be written.
    """
    write_atomically(Path(path), contact_sheet(dataset, make_augmentation(config)))


def contact_sheet(dataset: Dataset, augment: Augment | None = None) -> bytes:
    """A PNG: a row a class, of the first 20; of each image itself, then what three epochs make.

    ``augment``: what is done to them besides cropping and mirroring.
    """
    data = DeviceData(dataset, "cpu")
    classes = range(min(len(dataset.classes), SHOWN_CLASSES))
    chosen = {label: np.flatnonzero(dataset.train_labels == label)[:_IMAGES] for label in classes}
    which = torch.from_numpy(np.concatenate(list(chosen.values())))
    inner = slice(dataset.pad, dataset.pad + dataset.shape.size)
    columns = [dataset.train_images[which.numpy()][:, inner, inner]]
    columns += [_augmented(data, dataset, which, epoch, augment) for epoch in range(_EPOCHS)]

    shown = _shown_size(dataset.shape.size)
    tile = shown + _GAP
    width = _IMAGES * (len(columns) * tile + 2 * _GAP) + 2 * _GAP
    sheet = Image.new("RGB", (width, len(classes) * (tile + _TEXT) + 2 * _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    place = 0
    for row, label in enumerate(classes):
        top = _GAP + row * (tile + _TEXT)
        # The built-in font has Latin letters only.
        name = dataset.classes[label].encode("latin-1", "replace").decode("latin-1")
        pen.text((2 * _GAP, top), name, fill="black")
        for n in range(len(chosen[label])):
            left = 2 * _GAP + n * (len(columns) * tile + 2 * _GAP)
            for column, images in enumerate(columns):
                sheet.paste(_tile(images[place], shown), (left + column * tile, top + _TEXT))
            place += 1
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _shown_size(size: int) -> int:
    return min(_LARGE, max(1, _SMALL // size) * size)


def _tile(pixels: Pixels, shown: int) -> Image.Image:
    # Pillow's images of one channel have no axis for it.
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    how = Image.Resampling.NEAREST if shown >= image.width else Image.Resampling.BILINEAR
    return image.resize((shown, shown), how)


def _augmented(
    data: DeviceData,
    dataset: Dataset,
    which: torch.Tensor,
    epoch: int,
    augment: Augment | None,
) -> Pixels:
    """Images as they come in an epoch of seed 0: uint8 (n, size, size, channels)."""
    drawn = draw_epoch(data.train_size, dataset.pad, dataset.flip, 0, epoch)
    at = torch.argsort(drawn.order)[which]
    draws = EpochDraws(which, drawn.top[at], drawn.left[at], drawn.flip[at])
    random = generator(0, "augment", epoch)
    bound = None if augment is None else lambda pixels: augment(pixels, random)
    [(images, _)] = data.cut(draws, 1, len(which), bound)
    values = images.permute(0, 2, 3, 1).numpy() * dataset.std + dataset.mean
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
