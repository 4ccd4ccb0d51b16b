"""Data sets: divisions, augmentation against torchvision's, batches, folders, cache, bad input."""

import hashlib
import logging
import os
import pickle
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F
from torchvision import datasets as torchvision_datasets
from torchvision.transforms import functional as reference

from trainables.config import DataConfig
from trainables.data import image_folder
from trainables.data.device_data import (
    Dataset,
    DeviceData,
    EpochDraws,
    Part,
    _DeviceCrops,
    _HostCrops,
    check_data,
    draw_epoch,
    load_dataset,
    resolve_data,
)
from trainables.data.image_cache import cache_path
from trainables.data.image_folder import decode_image, load_folder
from trainables.data.image_sets import channel_statistics
from trainables.errors import InputError

Array = NDArray[Any]

torch.set_num_threads(1)


@cache
def loaded(**fields: Any) -> Dataset:
    return load_dataset(DataConfig(**fields))


def small(**fields: Any) -> Dataset:
    return loaded(
        dataset="synthetic", synthetic_train=200, synthetic_test=60, batch_size=1, **fields
    )


def with_flips(count: int = 90, pad: int = 4, seed: int = 0) -> Dataset:
    """Random pixels, so that every crop is like no other; all arrays read-only, as Ray's are."""
    random = np.random.default_rng(seed)
    train, val, test = (random.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (count, 7, 5))
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
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2471, 0.2435, 0.2616),
        pad=pad,
        flip=True,
    )


def unpadded(dataset: Dataset) -> Array:
    inner = slice(dataset.pad, dataset.pad + 32)
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


# --- division -----------------------------------------------------------------------------------


def test_digits_are_divided_into_stratified_quarters() -> None:
    from sklearn.datasets import load_digits

    digits = loaded()
    whole = np.bincount(load_digits().target)
    assert np.abs(np.array(per_class(digits.test_labels)) - whole / 4).max() <= 0.5
    rest = whole - per_class(digits.test_labels)
    assert np.abs(np.array(per_class(digits.val_labels)) - rest / 4).max() <= 0.5
    assert per_class(digits.train_labels) == (rest - per_class(digits.val_labels)).tolist()
    assert (len(digits.train_labels), len(digits.val_labels), len(digits.test_labels)) == (
        1009,
        337,
        451,
    )
    assert (digits.pad, digits.flip, digits.classes) == (2, False, tuple("0123456789"))
    # 0 … 16 fills the range of a byte, and the three channels are alike.
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert (digits.train_images[..., :1] == digits.train_images).all()


def test_the_parts_of_a_data_set_are_all_of_it_and_do_not_overlap() -> None:
    holdout, halves = small(), small(split="reference")
    train = contents(unpadded(holdout)) + contents(holdout.val_images)
    assert train == contents(unpadded(halves))
    assert max(train.values()) == 1
    test = contents(halves.val_images) + contents(halves.test_images)
    assert test == contents(holdout.test_images)
    assert max(test.values()) == 1


def test_holdout_sets_apart_a_stratified_tenth_of_training_and_leaves_test_alone() -> None:
    data = small()
    assert per_class(data.val_labels) == [2] * 10
    assert per_class(data.train_labels) == [18] * 10
    assert per_class(data.test_labels) == [6] * 10


def test_the_reference_split_halves_the_test_set_and_trains_on_all_training_images() -> None:
    data = small(split="reference")
    assert per_class(data.train_labels) == [20] * 10
    assert per_class(data.val_labels) == per_class(data.test_labels) == [3] * 10


@pytest.mark.parametrize("split", ["holdout", "reference"])
def test_the_subset_is_drawn_after_validation_is_set_apart(split: str) -> None:
    whole, half, fifth = (small(split=split, subset=s) for s in (1.0, 0.5, 0.2))
    for data in (half, fifth):
        assert np.array_equal(data.val_images, whole.val_images)
        assert np.array_equal(data.test_images, whole.test_images)
        assert (data.mean, data.std) == (whole.mean, whole.std)
    assert per_class(half.train_labels) == [count // 2 for count in per_class(whole.train_labels)]
    assert contents(unpadded(fifth)) < contents(unpadded(half)) < contents(unpadded(whole))


def outcome(act: Callable[[DataConfig], Any], config: DataConfig) -> tuple[Any, str]:
    try:
        return act(config), ""
    except InputError as error:
        return None, str(error)


@given(
    config=st.builds(
        DataConfig,
        dataset=st.just("synthetic"),
        synthetic_classes=st.integers(2, 12),
        synthetic_train=st.integers(1, 150),
        synthetic_test=st.integers(1, 60),
        split=st.sampled_from(["holdout", "reference"]),
        subset=st.floats(0.01, 1),
        batch_size=st.integers(1, 60),
    )
)
@settings(max_examples=60, deadline=None)
def test_the_quick_check_and_loading_agree(config: DataConfig) -> None:
    _, problem = outcome(check_data, config)
    data, later = outcome(load_dataset, config)
    assert later == problem
    if data is not None:
        # No part is empty, and no class that training could have is lost.
        assert min(map(len, (data.val_labels, data.test_labels))) > 0
        assert len(data.train_labels) >= config.batch_size
        classes = min(config.synthetic_classes, config.synthetic_train)
        assert len(set(data.train_labels.tolist())) == classes


def test_synthetic_images_can_be_learnt() -> None:
    data = DeviceData(loaded(dataset="synthetic", synthetic_train=400), "cpu")
    torch.manual_seed(0)
    conv, linear = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(2048, 10)

    def model(x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = linear(F.max_pool2d(F.relu(conv(x)), 2).flatten(1))
        return logits

    optimizer = torch.optim.SGD([*conv.parameters(), *linear.parameters()], 0.01, momentum=0.9)
    for epoch in range(8):
        for x, y in data.train_batches(0, epoch, 32):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(x), y))
            optimizer.step()
    hits = [(model(x).argmax(1) == y).float() for x, y in data.eval_batches("test")]
    assert torch.cat(hits).mean() > 0.7


def test_the_data_set_is_shared_by_pickle_without_copies() -> None:
    data = small()
    buffers: list[pickle.PickleBuffer] = []
    inside = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    assert len(inside) < 4000  # All arrays travel as buffers, the way Ray shares them.
    assert digest(pickle.loads(inside, buffers=buffers)) == digest(data)


# --- augmentation and batches -------------------------------------------------------------------


def augmented_by_torchvision(
    data: Dataset, image: Array, top: int, left: int, flip: bool
) -> torch.Tensor:
    picture = Image.fromarray(image)
    picture = reference.pad(picture, [data.pad] * 4)
    picture = reference.crop(picture, top, left, 32, 32)
    if flip:
        picture = reference.hflip(picture)
    tensor = reference.to_tensor(picture)
    return torch.as_tensor(reference.normalize(tensor, list(data.mean), list(data.std)))


@given(data=st.data(), pad=st.sampled_from([0, 2, 4]))
@settings(max_examples=40, deadline=None)
def test_augmentation_is_torchvisions_pad_crop_flip_normalise(
    data: st.DataObject, pad: int
) -> None:
    dataset = with_flips(pad=pad)
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


@pytest.mark.parametrize("pad", [0, 2, 4])
def test_the_gpus_way_of_cutting_gives_the_same_bytes(pad: int) -> None:
    dataset = with_flips(pad=pad)
    draws = draw_epoch(90, pad, True, seed=0, epoch=0)
    side = 32 + 2 * pad
    first = (draws.order * side + draws.top) * side + draws.left
    host = _HostCrops(dataset.train_images).cut(first, draws.flip)
    device = _DeviceCrops(torch.tensor(dataset.train_images)).cut(first, draws.flip)
    assert torch.equal(host, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gets_the_very_batches_of_the_cpu() -> None:
    dataset = with_flips()
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


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("batch_size", [3, 500])
def test_evaluation_sees_every_image_once_in_order_and_unaugmented(
    part: Part, batch_size: int
) -> None:
    dataset = with_flips()
    images, labels = zip(*DeviceData(dataset, "cpu").eval_batches(part, batch_size), strict=True)
    raw = unpadded(dataset) if part == "train" else getattr(dataset, f"{part}_images")
    expected = (raw / 255 - np.array(dataset.mean)) / np.array(dataset.std)
    np.testing.assert_allclose(torch.cat(images), expected.transpose(0, 3, 1, 2), atol=2e-6)
    assert torch.cat(labels).tolist() == getattr(dataset, f"{part}_labels").tolist()


# --- normalisation ------------------------------------------------------------------------------


def test_channel_statistics_are_means_and_deviations_of_pixels_in_0_1() -> None:
    images = np.random.default_rng(0).integers(0, 200, (2500, 32, 32, 3), np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-9)


def test_a_constant_channel_can_still_be_divided_by() -> None:
    mean, std = channel_statistics(np.full((2, 32, 32, 3), 51, np.uint8))
    assert mean == pytest.approx((0.2, 0.2, 0.2))
    assert std == (1 / 255,) * 3


def test_a_configured_normalisation_is_used() -> None:
    data = small(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


def test_a_resolved_configuration_reads_the_same_data_again() -> None:
    config = DataConfig(dataset="synthetic", synthetic_train=200, synthetic_test=60)
    data = small()
    resolved = resolve_data(config, data)
    assert (resolved.mean, resolved.std, resolved.classes) == (data.mean, data.std, data.classes)
    again = load_dataset(DataConfig.model_validate_json(resolved.model_dump_json()))
    assert (again.mean, again.std) == (data.mean, data.std)
    assert digest(again) == digest(data)


def test_a_resolved_configuration_refuses_data_with_other_classes() -> None:
    config = resolve_data(DataConfig(), loaded()).model_copy(update={"dataset": "synthetic"})
    with pytest.raises(InputError, match=r"data\.classes = .*'9'.*'class 0'"):
        load_dataset(config)


# --- folders of images --------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos")


def folder_config(root: Path, **fields: Any) -> DataConfig:
    return DataConfig(
        **{"batch_size": 1, "workers": 0} | fields, dataset="imagefolder", data_dir=str(root)
    )


def pixels_of(root: Path, part: str, name: str) -> list[Array]:
    return [np.asarray(Image.open(path)) for path in sorted((root / part / name).iterdir())]


def test_a_folder_is_read_by_class_name_and_file_name(folder: Path) -> None:
    images = load_folder(folder)
    assert images.classes == ("cat", "dog")
    for part in ("train", "test"):
        expected = pixels_of(folder, part, "cat") + pixels_of(folder, part, "dog")
        count = len(expected) // 2
        assert np.array_equal(getattr(images, f"{part}_images"), expected)
        assert getattr(images, f"{part}_labels").tolist() == [0] * count + [1] * count


def test_a_folder_is_normalised_by_its_whole_training_set(folder: Path) -> None:
    data = load_dataset(folder_config(folder))
    train = np.stack(pixels_of(folder, "train", "cat") + pixels_of(folder, "train", "dog")) / 255
    np.testing.assert_allclose(data.mean, train.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(data.std, train.std(axis=(0, 1, 2)), rtol=1e-9)
    assert (per_class(data.train_labels), per_class(data.val_labels)) == ([5, 5], [1, 1])
    assert (data.pad, data.flip) == (4, True)
    assert not load_dataset(folder_config(folder, flip=False)).flip


@pytest.mark.parametrize("size", [(64, 64), (100, 37), (8, 8), (1, 1)])
def test_other_sizes_are_resized(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "image.png"
    left_black = np.zeros((size[1], size[0], 3), np.uint8)
    left_black[:, size[0] // 2 :] = (10, 100, 250)
    Image.fromarray(left_black).save(path)
    image = np.frombuffer(decode_image(path), np.uint8).reshape(32, 32, 3)
    assert image[:, 31].tolist() == [[10, 100, 250]] * 32
    if size[0] > 1:
        assert not image[:, 0].any()


def test_shrinking_averages_over_the_pixels_that_fall_together(tmp_path: Path) -> None:
    path = tmp_path / "checks.png"
    checks = (np.indices((320, 320)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(path)
    image = np.frombuffer(decode_image(path), np.uint8)
    assert abs(image.astype(int) - 127).max() <= 2


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 20, 30, 128), (10, 20, 30)),
        ("LA", (70, 128), (70, 70, 70)),
        ("I;16", 0x80FF, (128, 128, 128)),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(
    tmp_path: Path, mode: str, value: Any, expected: tuple[int, ...]
) -> None:
    path = tmp_path / "image.png"
    if mode == "I;16":
        Image.fromarray(np.full((32, 32), value, np.uint16)).save(path)
    else:
        Image.new(mode, (32, 32), value).save(path)
    assert decode_image(path) == bytes(expected) * 1024


def test_colours_in_a_palette_and_in_cmyk_become_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    red.convert("P").save(tmp_path / "palette.gif")
    red.convert("CMYK").save(tmp_path / "print.tiff")
    assert decode_image(tmp_path / "palette.gif") == bytes((255, 0, 0)) * 1024
    assert decode_image(tmp_path / "print.tiff") == bytes((255, 0, 0)) * 1024


def test_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.tiff"
    Image.new("F", (32, 32), 0.5).save(path)
    with pytest.raises(InputError, match=r"depth\.tiff.*no fixed range"):
        decode_image(path)


def test_decoding_in_processes_gives_the_same_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = load_folder(folder)
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    monkeypatch.setattr(image_folder, "_IN_PROCESS_BELOW", 1)
    monkeypatch.setattr(image_folder, "_CHUNK", 2)
    seen: list[tuple[int, int]] = []
    together = load_folder(folder, workers=2, progress=lambda *at: seen.append(at))
    assert np.array_equal(together.train_images, alone.train_images)
    assert np.array_equal(together.test_images, alone.test_images)
    assert seen == [(done, 18) for done in range(2, 20, 2)]
    (folder / "test" / "dog" / "9.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"test/dog/9\.png: can't be read as an image"):
        load_folder(folder, workers=2)


def counting(root: Path) -> Callable[[], int]:
    """A function that loads the folder and says how many images were decoded for it."""

    def load() -> int:
        seen = [0]
        load_folder(root, progress=lambda done, _: seen.append(done))
        return seen[-1]

    return load


def test_a_folder_is_decoded_once(folder: Path) -> None:
    load = counting(folder)
    assert load() == 18
    assert load() == 0
    assert np.array_equal(load_folder(folder).test_images[0], pixels_of(folder, "test", "cat")[0])
    [kept] = (Path(os.environ["XDG_CACHE_HOME"]) / "noise-study").iterdir()
    assert kept == cache_path(folder)


def test_two_folders_of_one_name_have_two_caches(tmp_path: Path) -> None:
    first, second = (write_images(tmp_path / name / "photos") for name in ("a", "b"))
    assert counting(first)() == counting(second)() == 18
    assert counting(first)() == counting(second)() == 0


@pytest.mark.parametrize(
    ("change", "decoded"),
    [
        (lambda root: os.utime(root / "train/cat/0.png", ns=(1, 1)), 18),
        (lambda root: (root / "test/dog/0.png").unlink(), 17),
        (lambda root: shutil.copy(root / "test/dog/0.png", root / "test/dog/7.png"), 19),
        (lambda root: (root / "train/cat/0.png").rename(root / "train/cat/8.png"), 18),
        (lambda root: (root / "train/cat/notes.txt").write_text("no image"), 0),
    ],
    ids=["time", "removed", "added", "renamed", "other file"],
)
def test_the_cache_is_rebuilt_when_the_folder_changes(
    folder: Path, change: Callable[[Path], object], decoded: int
) -> None:
    load = counting(folder)
    load()
    change(folder)
    assert load() == decoded
    assert load() == 0


@given(data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_cache_is_noticed_wherever_the_damage_is(
    folder: Path, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    good = load_folder(folder)
    path = cache_path(folder)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    caplog.clear()
    again = load_folder(folder)
    assert np.array_equal(again.train_images, good.train_images)
    assert np.array_equal(again.test_images, good.test_images)
    assert f"{path} is damaged; decoding the images again" in caplog.text
    assert counting(folder)() == 0


@pytest.mark.parametrize("content", [b"", bytes(4), bytes(5000), b"{}\n"])
def test_a_cache_of_rubbish_is_noticed(
    folder: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = cache_path(folder)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert counting(folder)() == 18
    assert "is damaged" in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_warning_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert counting(folder)() == counting(folder)() == 18
    assert "can't be kept" in caplog.text


def test_an_interrupted_write_leaves_the_old_cache_and_no_rubbish(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_folder(folder)
    before = cache_path(folder).read_bytes()
    (folder / "test/dog/0.png").unlink()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_folder(folder)
    assert [path.read_bytes() for path in cache_path(folder).parent.iterdir()] == [before]


def test_files_that_are_no_images_are_left_out_and_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "train/cat/notes.txt").write_text("no image")
    (folder / "train/.hidden").mkdir()
    (folder / "train/cat/.thumbs.png").write_bytes(b"hidden")
    with caplog.at_level(logging.WARNING):
        assert len(load_folder(folder).train_labels) == 12
    assert "1 files are left out" in caplog.text
    assert "train/cat/notes.txt" in caplog.text


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, r"data\.data_dir = '.*photos': no such folder; .*train/<class>/"),
        (lambda root: shutil.rmtree(root / "train"), "it has no folder train/"),
        (lambda root: shutil.rmtree(root / "test"), "it has no folder test/"),
        (
            lambda root: [*map(shutil.rmtree, (root / "test").iterdir())],
            "test/ is empty",
        ),
        (
            lambda root: [path.unlink() for path in (root / "train/dog").iterdir()],
            "class folder train/dog/ holds no image",
        ),
        (
            lambda root: (root / "test/dog").rename(root / "test/dgo"),
            "same classes; only in train: dog; only in test: dgo",
        ),
        (lambda root: shutil.rmtree(root / "test/dog"), "same classes; only in train: dog"),
        (
            lambda root: [*map(shutil.rmtree, root.glob("*/dog"))],
            r"one class only \(cat\)",
        ),
    ],
)
def test_a_wrong_folder_is_found_before_an_image_is_opened(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    config = folder_config(folder)
    check_data(config)
    spoil(folder)
    for act in (check_data, load_dataset):
        with pytest.raises(InputError, match=message):
            act(config)
    assert not cache_path(folder).exists()


@pytest.mark.parametrize(
    "spoil", [lambda image: b"", lambda image: b"no image at all", lambda image: image[:500]]
)
def test_an_unreadable_image_is_named(folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = folder / "train/dog/3.png"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=r"train/dog/3\.png: can't be read as an image"):
        load_dataset(folder_config(folder))
    assert not cache_path(folder).exists()


def test_a_link_that_leads_nowhere_is_named(folder: Path) -> None:
    (folder / "train/dog/99.png").symlink_to("gone.png")
    with pytest.raises(InputError, match=r"train/dog/99\.png: can't be read"):
        load_dataset(folder_config(folder))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"batch_size": 1010},
            r"data\.batch_size = 1010: larger than the training set, which has 1009 images "
            r"\(337 more are set apart for validation\); use at most 1009",
        ),
        (
            {"batch_size": 101, "subset": 0.1},
            r"which has 100 images \(337 more .*; data\.subset = 0\.1 of 1009\); use at most 100",
        ),
        (
            {"batch_size": 2000, "split": "reference"},
            r"which has 1346 images; use at most 1346",
        ),
        (
            {"dataset": "synthetic", "synthetic_train": 100, "batch_size": 91},
            r"which has 90 images",
        ),
        (
            {"dataset": "synthetic", "synthetic_train": 8, "batch_size": 1},
            r"data\.split = 'holdout': no image is left for validation",
        ),
    ],
)
def test_a_training_set_that_is_too_small_is_refused(fields: dict[str, Any], message: str) -> None:
    config = DataConfig(**fields)
    for act in (check_data, load_dataset):
        with pytest.raises(InputError, match=message):
            act(config)


def test_the_largest_batch_that_is_named_works() -> None:
    data = DeviceData(loaded(batch_size=1009), "cpu")
    assert data.steps_per_epoch(1009) == 1
    with pytest.raises(InputError, match=r"data\.batch_size = 1010: .* 1009 images"):
        data.train_batches(0, 0, 1010)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_a_missing_cifar_names_the_option_that_fetches_it(
    tmp_path: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for fields in ({}, {"data_dir": str(tmp_path / "elsewhere")}):
        config = DataConfig(dataset=dataset, **fields)
        where = fields.get("data_dir", f"data/{dataset}")
        for act in (check_data, load_dataset):
            with pytest.raises(InputError, match=rf"{dataset} is not there.*--download") as error:
                act(config)
            assert where in str(error.value)
    assert not any(tmp_path.iterdir())
    check_data(DataConfig(dataset=dataset, download=True))


def test_a_folder_of_images_in_place_of_cifar_names_the_option_for_it(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"cifar10 is not there.*add --dataset imagefolder"):
        check_data(DataConfig(dataset="cifar10", data_dir=str(tmp_path)))


# --- CIFAR, in torchvision's files ---------------------------------------------------------------


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's files with 100 images instead of 60,000, and their own checksums."""
    kind = torchvision_datasets.CIFAR10
    base = tmp_path / kind.base_folder
    base.mkdir()
    random = np.random.default_rng(0)

    def write(name: str, content: dict[str, Any]) -> str:
        raw = pickle.dumps(content)
        (base / name).write_bytes(raw)
        return hashlib.md5(raw).hexdigest()

    def batch() -> dict[str, Any]:
        pixels = random.integers(0, 256, (20, 3072), np.uint8)
        return {"data": pixels, "labels": [number % 10 for number in range(20)]}

    train = [[name, write(name, batch())] for name, _ in kind.train_list]
    test = [[name, write(name, batch())] for name, _ in kind.test_list]
    names = {"label_names": [f"kind {number}" for number in range(10)]}
    checksum = write("batches.meta", names)
    monkeypatch.setattr(kind, "train_list", train)
    monkeypatch.setattr(kind, "test_list", test)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": checksum})
    return tmp_path


def test_cifar10_is_read_from_torchvisions_files(small_cifar: Path) -> None:
    data = load_dataset(DataConfig(dataset="cifar10", data_dir=str(small_cifar), batch_size=32))
    assert (len(data.train_labels), len(data.val_labels), len(data.test_labels)) == (90, 10, 20)
    assert data.mean == (0.4914, 0.4822, 0.4465)
    assert data.std == (0.2471, 0.2435, 0.2616)
    assert (data.pad, data.flip, data.classes[3]) == (4, True, "kind 3")
    raw = pickle.loads((small_cifar / "cifar-10-batches-py" / "test_batch").read_bytes())
    planes = raw["data"].reshape(20, 3, 32, 32)
    assert np.array_equal(data.test_images, planes.transpose(0, 2, 3, 1))
    assert data.test_labels.tolist() == raw["labels"]


def test_a_damaged_cifar_says_what_to_do(small_cifar: Path) -> None:
    (small_cifar / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"damaged")
    config = DataConfig(dataset="cifar10", data_dir=str(small_cifar), batch_size=32)
    with pytest.raises(InputError, match=r"cifar10 can't be read .*--download"):
        load_dataset(config)
