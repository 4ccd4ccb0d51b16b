"""A data set on a device: batches and augmentation by indexing, for each (seed, epoch).

No worker processes: the images are one uint8 tensor, a batch is cut out of it, and an epoch's order
and augmentation are drawn at once from a stream of their own. So epoch e's batches follow from the
seed and e alone. The draws are made on the CPU for every device, and normalisation rounds alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from trainables.data.dataset import Dataset, Images, Labels, Pixels
from trainables.data.streamed import StreamedImages
from trainables.errors import InputError
from trainables.random_streams import generator

Part = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor]


Augment = Callable[[Tensor, torch.Generator], Tensor]
"""What is done to the pixels of a batch beyond cropping and mirroring: uint8 (B, H, W, C) → the
same shape, uint8 or float32 of 0 to 255, by what the generator (on the CPU) draws."""

EVAL_BATCH = 250
"""Images a batch in evaluation, up to 96×96 pixels. Fixed, since sums differ between sizes; larger
ones only take more memory."""

_EVAL_PIXELS = EVAL_BATCH * 96 * 96


def eval_batch(size: int) -> int:
    """Images of ``size`` × ``size`` pixels a batch in evaluation; fewer where they are large."""
    return max(1, min(EVAL_BATCH, _EVAL_PIXELS // size**2))


@dataclass(frozen=True)
class EpochDraws:
    """What is random in one epoch; position i of the epoch shows image ``order[i]``.

    Attributes:
        order: int64 (n,), a permutation of the training images.
        top: int64 (n,), the crop's first row in the padded image, in [0, 2·pad].
        left: int64 (n,), likewise its first column.
        flip: bool (n,), whether the crop is mirrored, after cropping.
        source: seed and epoch, from which items of a streamed data set are drawn.
    """

    order: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    source: tuple[int, int] = (0, 0)


def draw_epoch(count: int, pad: int, flip: bool, seed: int, epoch: int) -> EpochDraws:
    """Draw an epoch's order and augmentation from the data stream of (seed, epoch)."""
    random = generator(seed, "data", epoch)
    order = torch.randperm(count, generator=random)
    top, left = torch.randint(0, 2 * pad + 1, (2, count), generator=random)
    # Drawn even if unused: the order and the crops don't depend on it, nor would later draws.
    flips = torch.rand(count, generator=random) < 0.5
    drawn = flips if flip else torch.zeros_like(flips)
    return EpochDraws(order, top, left, drawn, (seed, epoch))


class DeviceData:
    """A data set on a device.

    Images come as float32 (B, channels, size, size) in channels-last memory, normalised; labels as
    int64 (B,). Every batch has memory of its own, which the caller may keep or change. The data
    set's arrays are shared between processes, and are only read.

    Args:
        device: where batches are made. A GPU is given all images once, as bytes.
    """

    def __init__(self, dataset: Dataset, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.classes = dataset.classes
        self._dataset = dataset
        self._parts: dict[Part, tuple[Images | Tensor, Labels | Tensor]] = {}
        self.shape = dataset.shape
        images, _ = self._part("train")
        size = self.shape.size
        self._crops = _crops(images, size)
        scale = [1 / (255 * std) for std in dataset.std]
        shift = [-mean / std for mean, std in zip(dataset.mean, dataset.std, strict=True)]
        # Repeated for each pixel: broadcasting three numbers at a time is many times slower.
        self._scale = torch.tensor(scale, device=self.device).repeat(size * size)
        self._shift = torch.tensor(shift, device=self.device).repeat(size * size)

    @property
    def train_size(self) -> int:
        return len(self._dataset.train_labels)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Whole batches in an epoch; the images that are left over sit it out."""
        if not 1 <= batch_size <= self.train_size:
            raise InputError(
                f"data.batch_size = {batch_size}: the training set has {self.train_size} images; "
                f"use 1 to {self.train_size}"
            )
        return self.train_size // batch_size

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, augment: Augment | None = None
    ) -> Iterator[Batch]:
        """The batches of one epoch, shuffled and augmented; they follow from the arguments alone.

        Augmentation is torchvision's on images: the raw pixels are padded with zeros, cropped at
        random to their size before, half of the crops are mirrored, and then normalised.
        ``augment`` has a random stream of its own, and comes before the normalisation.
        """
        steps = self.steps_per_epoch(batch_size)
        draws = draw_epoch(self.train_size, self._dataset.pad, self._dataset.flip, seed, epoch)
        if augment is None:
            return self.cut(draws, steps, batch_size)
        random = generator(seed, "augment", epoch)
        return self.cut(draws, steps, batch_size, lambda pixels: augment(pixels, random))

    def cut(
        self,
        draws: EpochDraws,
        steps: int,
        batch_size: int,
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[Batch]:
        """The first ``steps`` batches of the epoch that ``draws`` describes."""
        side = self.shape.size + 2 * self._dataset.pad
        first = ((draws.order * side + draws.top) * side + draws.left).to(self.device)
        flip = draws.flip.to(self.device)
        labels = torch.tensor(self._dataset.train_labels)[draws.order].to(self.device)
        parts = [slice(n, n + batch_size) for n in range(0, steps * batch_size, batch_size)]
        cut = self._crops.batches(first, flip, parts, draws.source)
        for part, pixels in zip(parts, cut, strict=True):
            yield self._normalised(pixels if augment is None else augment(pixels)), labels[part]

    def eval_batches(self, part: Part, batch_size: int | None = None) -> Iterator[Batch]:
        """All images of a part in their fixed order, normalised, without augmentation.

        ``batch_size`` None: ``eval_batch`` of their size.
        """
        batch_size = batch_size or eval_batch(self.shape.size)
        images, labels = self._part(part)
        inner = self._inner(part)
        pieces = [slice(n, n + batch_size) for n in range(0, len(labels), batch_size)]
        if isinstance(images, StreamedImages):
            places = np.arange(len(images))
            read = images.batches(places[piece] for piece in pieces)
            for piece, pixels in zip(pieces, read, strict=True):
                yield self._normalised(self._moved(pixels[:, inner, inner])), _copy(labels[piece])
            return
        for piece in pieces:
            yield self._normalised(_copy(images[piece, inner, inner])), _copy(labels[piece])

    def clean_train_batches(self, count: int) -> Iterator[Batch]:
        """As ``eval_batches``, ``count`` training images, the same of equal data sets."""
        images, labels = self._part("train")
        inner = self._inner("train")
        # Evenly spaced: image folders lie sorted by class.
        chosen = torch.arange(count, device=self.device) * len(labels) // count
        for piece in chosen.split(eval_batch(self.shape.size)):
            which = piece if isinstance(images, Tensor) else piece.cpu().numpy()
            pixels = self._moved(images[which][:, inner, inner])
            yield self._normalised(pixels), _copy(labels)[piece]

    def _moved(self, pixels: Pixels | Tensor) -> Tensor:
        return _copy(pixels).to(self.device)

    def _inner(self, part: Part) -> slice:
        """Training images are stored padded: the rows, or columns, of the images themselves."""
        pad = self._dataset.pad if part == "train" else 0
        return slice(pad, pad + self.shape.size)

    def _part(self, part: Part) -> tuple[Images | Tensor, Labels | Tensor]:
        """Images and labels of a part: the shared arrays on the CPU, tensors on a GPU.

        Streamed images are read as arrays wherever they go.
        """
        if part not in self._parts:
            data = self._dataset
            images, labels = {
                "train": (data.train_images, data.train_labels),
                "val": (data.val_images, data.val_labels),
                "test": (data.test_images, data.test_labels),
            }[part]
            if self.device.type == "cpu":
                self._parts[part] = images, labels
            else:
                streamed = isinstance(images, StreamedImages)
                self._parts[part] = (
                    images if streamed else torch.tensor(images, device=self.device),
                    torch.tensor(labels, device=self.device),
                )
        return self._parts[part]

    def _normalised(self, pixels: Tensor) -> Tensor:
        """uint8 (B, size, size, channels) → float32 (B, channels, size, size), channels-last.

        Two roundings, not one fused operation, so that every device rounds alike.
        """
        flat = pixels.reshape(len(pixels), -1).float()
        flat.mul_(self._scale).add_(self._shift)
        return flat.view(pixels.shape).permute(0, 3, 1, 2)


def _copy(values: Pixels | Labels | Tensor) -> Tensor:
    return values.clone() if isinstance(values, Tensor) else torch.tensor(values)


Source = tuple[int, int]


class _Crops:
    """Cuts the crops of batches out of padded images."""

    def batches(
        self, first: Tensor, flip: Tensor, parts: Sequence[slice], source: Source
    ) -> Iterator[Tensor]:
        """For each part of ``first`` and ``flip`` what ``cut`` gives.

        ``source``: of the epoch's draws (``EpochDraws``).
        """
        for part in parts:
            yield self.cut(first[part], flip[part])

    def cut(self, first: Tensor, flip: Tensor) -> Tensor:
        """uint8 (B, size, size, channels); ``first`` is the place of each crop's first pixel."""
        raise NotImplementedError


class _HostCrops(_Crops):
    """Cuts crops on the CPU: 0.13 s for 50,000 images at one thread, flips and all."""

    def __init__(self, padded: Pixels, size: int) -> None:
        assert padded.flags.c_contiguous
        _, side, _, channels = padded.shape
        # Every place that a row of a crop can begin, seen as one item of ``size`` pixels. The items
        # overlap; fetching one is a single copy, of 96 bytes at 32 pixels of RGB.
        row = np.dtype((np.void, size * channels))
        places = padded.size // channels - size + 1
        self._rows = np.ndarray((places,), row, buffer=padded, strides=(channels,))
        self._below = np.arange(size) * side
        self._shape = (size, size, channels)

    def cut(self, first: Tensor, flip: Tensor) -> Tensor:
        """uint8 (B, size, size, channels); ``first`` is the place of each crop's first pixel."""
        rows = self._rows[first.numpy()[:, None] + self._below]
        crops = rows.view(np.uint8).reshape(len(first), *self._shape)
        mirrored = np.flatnonzero(flip.numpy())
        # torch mirrors bytes in channels-last memory by vector instructions; numpy, pixel by pixel.
        images = torch.from_numpy(crops[mirrored]).permute(0, 3, 1, 2)
        crops[mirrored] = images.flip(3).permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(crops)


class _DeviceCrops(_Crops):
    """The same on a GPU: one gathering of pixels cuts and mirrors."""

    def __init__(self, padded: Tensor, size: int) -> None:
        self._side = padded.shape[1]
        self._pixels = padded.view(-1, padded.shape[3])
        self._steps = torch.arange(size, device=padded.device)

    def cut(self, first: Tensor, flip: Tensor) -> Tensor:
        """uint8 (B, size, size, channels); ``first`` is the place of each crop's first pixel."""
        columns = torch.where(flip[:, None], self._steps.flip(0), self._steps)
        places = first[:, None, None] + self._steps[:, None] * self._side + columns[:, None, :]
        return self._pixels[places]


class _StreamedCrops(_Crops):
    """The same out of images that are read batch by batch."""

    def __init__(self, images: StreamedImages, size: int) -> None:
        self._images = images
        self._size = size

    def batches(
        self, first: Tensor, flip: Tensor, parts: Sequence[slice], source: Source
    ) -> Iterator[Tensor]:
        device, area = first.device, self._images.shape[1] ** 2
        image, within = (first // area).cpu(), (first % area).cpu()
        flip = flip.cpu()
        read = self._images.batches((image[part].numpy() for part in parts), source)
        for part, padded in zip(parts, read, strict=True):
            place = torch.arange(len(padded)) * area + within[part]
            yield _HostCrops(padded, self._size).cut(place, flip[part]).to(device)


def _crops(images: Images | Tensor, size: int) -> _Crops:
    if isinstance(images, StreamedImages):
        return _StreamedCrops(images, size)
    if isinstance(images, Tensor):
        return _DeviceCrops(images, size)
    return _HostCrops(np.asarray(images[:]), size)
