"""Augmentations: which draws they have, that these are repeatable, and what is refused."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from trainables.config import DataConfig
from trainables.data.augmentation import check_augmentation, make_augmentation
from trainables.data.contact_sheet import contact_sheet
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.errors import InputError

HERE = "tests.support.own_recipes"


def digits(augment: str = "standard", **settings: object) -> DataConfig:
    return DataConfig.model_validate(
        {"augment": augment, "subset": 0.1, "batch_size": 16, **settings}
    )


@pytest.mark.parametrize(
    ("augment", "pad"),
    [("none", 0), ("crop", 2), ("standard", 2), ("trivial", 2), (f"{HERE}:erase", 0)],
)
def test_what_is_cropped(augment: str, pad: int) -> None:
    found = load_dataset(digits(augment))
    assert found.pad == pad
    assert not found.flip
    assert found.train_images.shape[1] == 32 + 2 * pad


def test_without_augmentation_images_come_as_they_are() -> None:
    data = load_dataset(digits("none"))
    device = DeviceData(data, "cpu")
    seen = torch.cat([images for images, _ in device.train_batches(0, 0, 10)])
    known = {
        image.numpy().tobytes()
        for images, _ in device.clean_train_batches(device.train_size)
        for image in images
    }
    assert all(image.numpy().tobytes() in known for image in seen)


def _epoch(config: DataConfig, seed: int, epoch: int) -> list[torch.Tensor]:
    device = DeviceData(load_dataset(config), "cpu")
    return [
        images for images, _ in device.train_batches(seed, epoch, 16, make_augmentation(config))
    ]


@pytest.mark.parametrize("augment", ["trivial", f"{HERE}:erase", f"{HERE}:jittered"])
def test_batches_follow_from_seed_and_epoch_alone(augment: str) -> None:
    config = digits(augment)
    torch.manual_seed(1)
    first = _epoch(config, 3, 5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = _epoch(config, 3, 5)
    # Dropout draws from torch's global generator: it is what it was.
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    others = (*_epoch(config, 3, 6), *_epoch(config, 4, 5))
    assert not any(torch.equal(first[0], other) for other in others)
    plain = _epoch(digits("none" if ":" in augment else "standard"), 3, 5)
    assert not any(torch.equal(one, other) for one, other in zip(first, plain, strict=True))


def test_trivial_is_torchvisions_on_each_image() -> None:
    config = digits("trivial")
    pixels = torch.from_numpy(load_dataset(config).val_images[:12].copy())
    augment = make_augmentation(config)
    assert augment is not None
    found = augment(pixels, torch.Generator().manual_seed(9))
    with torch.random.fork_rng(devices=[]):
        draws = torch.Generator().manual_seed(9)
        torch.manual_seed(int(torch.randint(2**62, (), generator=draws)))
        transform = v2.TrivialAugmentWide()
        expected = [transform(image.permute(2, 0, 1)) for image in pixels]
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.stack(expected).permute(0, 2, 3, 1))


def test_floats_are_of_0_to_1() -> None:
    augment = make_augmentation(digits(f"{HERE}:jittered"))
    assert augment is not None
    pixels = torch.full((3, 32, 32, 3), 100, dtype=torch.uint8)
    found = augment(pixels, torch.Generator().manual_seed(0))
    assert found.dtype == torch.float32
    assert found.shape == pixels.shape
    brightness = found[:, 0, 0, 0]
    assert len(set(brightness.tolist())) == 3
    assert bool(((brightness >= 50 - 1e-3) & (brightness <= 150 + 1e-3)).all())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smaller", ["shape (4, 3, 32, 32)", "returns (4, 3, 31, 32)"]),
        ("raises_on_images", ["(4, 3, 32, 32)", "ValueError: no pictures today"]),
        ("no_tensor", ["must return a tensor, not ndarray"]),
        ("integers", ["torch.int64", "uint8 (0 to 255)"]),
        ("nan_pixels", ["NaN or infinite"]),
        ("of_255", ["returns numbers from 0 to 255", "between 0 and 1"]),
        ("normalised", ["returns numbers from -1 to 1", "leave normalisation out"]),
        ("otherwise", ["give other images", "when it is called again"]),
        ("missing", ["has no 'missing'"]),
        ("raises_a_batch", ["raised TypeError: tensor([[[["]),
    ],
)
def test_what_is_no_augmentation_is_told_by_name(name: str, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_augmentation(digits(f"{HERE}:{name}"))
    for part in (f"augment = '{HERE}:{name}'", *said):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_contact_sheet_shows_what_is_done_to_images() -> None:
    sheets = {
        name: contact_sheet(load_dataset(digits(name)), make_augmentation(digits(name)))
        for name in ("none", "standard", "trivial", f"{HERE}:erase")
    }
    assert len(set(sheets.values())) == len(sheets)
    assert sheets["trivial"] == contact_sheet(
        load_dataset(digits("trivial")), make_augmentation(digits("trivial"))
    )


def test_the_same_images_whatever_is_done_to_them() -> None:
    plain, cropped = load_dataset(digits("none")), load_dataset(digits("standard"))
    inner = slice(cropped.pad, cropped.pad + 32)
    assert np.array_equal(plain.train_images, cropped.train_images[:, inner, inner])
    assert np.array_equal(plain.train_labels, cropped.train_labels)
    assert plain.test_digest == cropped.test_digest


@pytest.mark.parametrize("augment", ["trivial", f"{HERE}:erase", f"{HERE}:jittered"])
@pytest.mark.parametrize("shape", [(48, 1), (24, 3)])
def test_images_of_any_shape(augment: str, shape: tuple[int, int]) -> None:
    size, channels = shape
    config = digits(augment, image_size=size, channels=channels)
    check_augmentation(config)
    first = _epoch(config, 0, 0)[0]
    assert first.shape == (16, channels, size, size)
    assert bool(torch.isfinite(first).all())
