"""Batches: augmentation against torchvision's, order, and arrays that nobody writes to."""

import warnings
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as reference

from tests.support.data_sets import Array, digest, loaded, small, unpadded, with_flips
from trainables.data.dataset import Dataset
from trainables.data.device_data import (
    DeviceData,
    EpochDraws,
    Part,
    _DeviceCrops,
    _HostCrops,
    draw_epoch,
    eval_batch,
)
from trainables.data_config import FIRST_SHAPE, ImageShape
from trainables.errors import InputError

torch.set_num_threads(1)


def augmented_by_torchvision(
    data: Dataset, image: Array, top: int, left: int, flip: bool
) -> torch.Tensor:
    picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    picture = reference.pad(picture, [data.pad] * 4)
    picture = reference.crop(picture, top, left, *image.shape[:2])
    if flip:
        picture = reference.hflip(picture)
    tensor = reference.to_tensor(picture)
    return torch.as_tensor(reference.normalize(tensor, list(data.mean), list(data.std)))


SHAPES = [FIRST_SHAPE, ImageShape(28, 1), ImageShape(9, 3), ImageShape(64, 1)]


@given(data=st.data(), pad=st.sampled_from([0, 2, 4]), shape=st.sampled_from(SHAPES))
@settings(max_examples=40, deadline=None)
def test_augmentation_is_torchvisions_pad_crop_flip_normalise(
    data: st.DataObject, pad: int, shape: ImageShape
) -> None:
    dataset = with_flips(pad=pad, shape=shape)
    raw = unpadded(dataset)
    size = data.draw(st.integers(1, 6))
    offsets = st.lists(st.integers(0, 2 * pad), min_size=size, max_size=size)
    order = data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=size, max_size=size))
    top, left = data.draw(offsets), data.draw(offsets)
    flip = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    draws = EpochDraws(*map(torch.tensor, (order, top, left, flip)))

    [(images, labels)] = DeviceData(dataset, "cpu").cut(draws, 1, size)

    expected = torch.stack(
        [
            augmented_by_torchvision(dataset, raw[i], *where)
            for i, where in zip(order, zip(top, left, flip, strict=True), strict=True)
        ]
    )
    torch.testing.assert_close(images, expected, rtol=0, atol=2e-6)
    assert labels.tolist() == dataset.train_labels[order].tolist()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pad", [0, 2, 4])
def test_the_gpus_way_of_cutting_gives_the_same_bytes(pad: int, shape: ImageShape) -> None:
    dataset = with_flips(pad=pad, shape=shape)
    draws = draw_epoch(90, pad, True, seed=0, epoch=0)
    side = shape.size + 2 * pad
    first = (draws.order * side + draws.top) * side + draws.left
    host = _HostCrops(dataset.train_images, shape.size).cut(first, draws.flip)
    images = torch.tensor(dataset.train_images)
    device = _DeviceCrops(images, shape.size).cut(first, draws.flip)
    assert torch.equal(host, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_gpu_gets_the_very_batches_of_the_cpu(shape: ImageShape) -> None:
    dataset = with_flips(shape=shape)
    host, device = DeviceData(dataset, "cpu"), DeviceData(dataset, "cuda")
    pairs = [
        *zip(host.train_batches(0, 1, 32), device.train_batches(0, 1, 32), strict=True),
        *zip(host.eval_batches("val"), device.eval_batches("val"), strict=True),
        *zip(host.eval_batches("train"), device.eval_batches("train"), strict=True),
    ]
    for (x, y), (on_gpu, labels) in pairs:
        assert on_gpu.device.type == labels.device.type == "cuda"
        assert torch.equal(on_gpu.cpu(), x)
        assert torch.equal(labels.cpu(), y)


def test_batches_follow_from_seed_and_epoch_alone() -> None:
    data = DeviceData(with_flips(), "cpu")

    def epoch(seed: int, number: int) -> torch.Tensor:
        return torch.cat([images for images, _ in data.train_batches(seed, number, 32)])

    first = epoch(5, 3)
    torch.rand(11)
    next(data.train_batches(5, 4, 16))  # An epoch that is left half-way leaves no trace.
    assert torch.equal(epoch(5, 3), first)
    assert torch.equal(
        torch.cat([x for x, _ in DeviceData(with_flips(), "cpu").train_batches(5, 3, 32)]), first
    )
    assert not torch.equal(epoch(5, 4), first)
    assert not torch.equal(epoch(6, 3), first)


def test_draws_are_a_permutation_with_every_offset_and_half_of_the_flips() -> None:
    draws = draw_epoch(5000, 4, True, seed=0, epoch=0)
    assert sorted(draws.order.tolist()) == list(range(5000))
    for offsets in (draws.top, draws.left):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert (counts - 5000 / 9).abs().max() < 5 * (5000 / 9) ** 0.5
    assert abs(draws.flip.float().mean() - 0.5) < 5 * 0.5 / 5000**0.5
    assert torch.corrcoef(torch.stack([draws.top, draws.left]).float())[0, 1].abs() < 0.07


def test_without_flips_order_and_crops_stay_the_same() -> None:
    flipped, plain = (draw_epoch(100, 4, flip, seed=1, epoch=2) for flip in (True, False))
    assert torch.equal(flipped.order, plain.order)
    assert torch.equal(flipped.top, plain.top)
    assert torch.equal(flipped.left, plain.left)
    assert flipped.flip.any()
    assert not plain.flip.any()


def test_an_epoch_shows_each_image_once_and_drops_the_last_partial_batch() -> None:
    dataset = with_flips(count=90, pad=0)
    data = DeviceData(dataset, "cpu")
    batches = list(data.train_batches(0, 0, 40))
    assert data.steps_per_epoch(40) == len(batches) == 2
    assert all(x.shape == (40, 3, 32, 32) and y.shape == (40,) for x, y in batches)
    # Unpadded, a crop is the image or its mirror image: tell the images apart by their sums.
    sums = {float(x.double().sum()) for images, _ in batches for x in images}
    assert len(sums) == 80


def test_batches_are_float_images_in_channels_last_memory_and_whole_labels() -> None:
    data = DeviceData(with_flips(), "cpu")
    for batches in (data.train_batches(0, 0, 32), data.eval_batches("val")):
        for images, labels in batches:
            assert images.dtype == torch.float32
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert labels.dtype == torch.int64


def test_nothing_ever_writes_into_the_shared_arrays() -> None:
    dataset = small()
    before = digest(dataset)
    data = DeviceData(dataset, "cpu")
    first = [(x.clone(), y.clone()) for x, y in data.train_batches(0, 0, 32)]
    for batches in (
        data.train_batches(0, 0, 32),
        *(data.eval_batches(part) for part in ("train", "val", "test")),
    ):
        for images, labels in batches:
            images.add_(1000)  # What noise on the input and on the labels does, and worse.
            labels.zero_()
    assert digest(dataset) == before
    for (x, y), (images, labels) in zip(first, data.train_batches(0, 0, 32), strict=True):
        assert torch.equal(images, x)
        assert torch.equal(labels, y)


def test_read_only_arrays_are_used_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = DeviceData(with_flips(), "cpu")
        list(data.train_batches(0, 0, 32))
        for part in get_args(Part):
            list(data.eval_batches(part))


def test_batches_of_an_epoch_may_be_kept() -> None:
    data = DeviceData(with_flips(), "cpu")
    kept = list(data.train_batches(0, 0, 32))
    again = data.train_batches(0, 0, 32)
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(kept, again, strict=True))


def test_evaluation_takes_fewer_images_at_once_where_they_are_large() -> None:
    assert [eval_batch(size) for size in (8, 32, 96, 224, 512)] == [250, 250, 250, 45, 8]
    data = DeviceData(with_flips(count=9, pad=0, shape=ImageShape(512, 1)), "cpu")
    assert [len(labels) for _, labels in data.eval_batches("train")] == [8, 1]
    assert [len(labels) for _, labels in data.clean_train_batches(9)] == [8, 1]


@pytest.mark.parametrize("shape", [FIRST_SHAPE, ImageShape(12, 1)])
@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("batch_size", [3, 500])
def test_evaluation_sees_every_image_once_in_order_and_unaugmented(
    part: Part, batch_size: int, shape: ImageShape
) -> None:
    dataset = with_flips(shape=shape)
    images, labels = zip(*DeviceData(dataset, "cpu").eval_batches(part, batch_size), strict=True)
    raw = unpadded(dataset) if part == "train" else getattr(dataset, f"{part}_images")
    expected = (raw / 255 - np.array(dataset.mean)) / np.array(dataset.std)
    np.testing.assert_allclose(torch.cat(images), expected.transpose(0, 3, 1, 2), atol=2e-6)
    assert torch.cat(labels).tolist() == getattr(dataset, f"{part}_labels").tolist()


def test_the_largest_batch_that_is_named_works() -> None:
    data = DeviceData(loaded(batch_size=1009), "cpu")
    assert data.steps_per_epoch(1009) == 1
    with pytest.raises(InputError, match=r"data\.batch_size = 1010: .* 1009 images"):
        data.train_batches(0, 0, 1010)
