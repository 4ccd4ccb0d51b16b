"""Augmentation of a batch's pixels beyond crops and flips: TrivialAugmentWide, and one's own."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trainables.code_identity import is_own
from trainables.data.device_data import Augment
from trainables.data_config import DataConfig
from trainables.errors import FOREIGN, InputError, said_by
from trainables.own_import import import_own


def make_augmentation(config: DataConfig) -> Augment | None:
    """What is done to each batch; None where cropping and mirroring are all."""
    if is_own(config.augment):
        return _on_images(own_augmentation(config.augment))
    return _on_images(_trivial()) if config.augment == "trivial" else None


_ROUNDING = 1e-3
"""How far beyond 0 and 1 blending may bring floating-point pixels."""

OnImages = Callable[[Tensor, torch.Generator], Tensor]
"""uint8 (B, C, H, W) → the same shape, as ``Augment``."""


def _on_images(function: OnImages) -> Augment:
    """On the CPU for every device, where all draws are made, and all bytes are alike."""

    def augment(pixels: Tensor, random: torch.Generator) -> Tensor:
        images = pixels.cpu().permute(0, 3, 1, 2).contiguous()
        with _drawing_from(random):
            changed = function(images, random)
        return changed.permute(0, 2, 3, 1).contiguous().to(pixels.device)

    return augment


@contextmanager
def _drawing_from(random: torch.Generator) -> Iterator[None]:
    """Within, torch's global generator of the CPU goes on from what ``random`` draws.

    torchvision's transforms draw from it. Afterwards it is what it was: dropout draws from it, too.
    """
    before = torch.get_rng_state()
    # Not torch.manual_seed, which would seed the GPU's generators as well.
    torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=random)))
    try:
        yield
    finally:
        torch.set_rng_state(before)


def _trivial() -> OnImages:
    """torchvision's TrivialAugmentWide (Müller and Hutter, 2021), each image by itself."""
    from torchvision.transforms import v2

    transform = v2.TrivialAugmentWide()

    def augment(images: Tensor, random: torch.Generator) -> Tensor:
        return torch.stack([transform(image) for image in images])

    return augment


def own_augmentation(name: str) -> OnImages:
    """One's own function of a batch and a generator, whatever it returns checked."""
    where = f"augment = {name!r}"
    function = import_own(
        "augment",
        name,
        "a function of images (uint8, (batch, channels, height, width)) and a torch.Generator "
        "that returns images of the same shape",
    )

    def augment(images: Tensor, random: torch.Generator) -> Tensor:
        shape = images.shape
        try:
            found: Any = function(images, random)
        except FOREIGN as error:
            raise InputError(
                f"{where}: called with images of shape {tuple(shape)}, it raised {said_by(error)}"
            ) from error
        return _pixels(where, found, shape)

    return augment


def _pixels(where: str, found: Any, shape: torch.Size) -> Tensor:
    """What one's own function returned, as pixels of 0 to 255."""
    if not isinstance(found, Tensor):
        raise InputError(f"{where}: it must return a tensor, not {type(found).__name__}")
    if found.shape != shape:
        raise InputError(
            f"{where}: given images of shape {tuple(shape)} it must return the same shape, but "
            f"returns {tuple(found.shape)}"
        )
    if found.dtype == torch.uint8:
        return found
    if not found.is_floating_point():
        raise InputError(
            f"{where}: it must return uint8 (0 to 255) or floating-point numbers (0 to 1), not "
            f"{found.dtype}"
        )
    values = found.detach().float()
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{where}: it returns NaN or infinite pixels")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(
            f"{where}: it returns numbers from {low:g} to {high:g}; floating-point pixels lie "
            "between 0 and 1: leave normalisation out, a run does it itself, or clamp them"
        )
    return values * 255


def check_augmentation(config: DataConfig) -> None:
    """Refuse one's own augmentation that fails, or is not repeatable: tried on four images."""
    if not is_own(config.augment):
        return
    augment = make_augmentation(config)
    assert augment is not None
    draws = torch.Generator().manual_seed(0)
    shape = (4, config.image_size, config.image_size, config.channels)
    pixels = torch.randint(256, shape, generator=draws, dtype=torch.uint8)
    first, again = (augment(pixels.clone(), torch.Generator().manual_seed(7)) for _ in range(2))
    if not torch.equal(first, again):
        raise InputError(
            f"augment = {config.augment!r}: the same images and the same draws give other images "
            "when it is called again; all that is random in it must come from the generator that "
            "it is given, or from torch's global one"
        )
