"""Data sets: divisions, normalisation, and what is refused before anything is read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.data_sets import (
    contents,
    digest,
    folder_config,
    loaded,
    per_class,
    small,
    unpadded,
    write_images,
)
from trainables import memory
from trainables.config import DataConfig
from trainables.data.dataset import Dataset
from trainables.data.image_sets import (
    channel_statistics,
    check_data,
    load_dataset,
    padding,
    resolve_data,
)
from trainables.data_config import ImageShape
from trainables.errors import InputError
from trainables.settings import parse_config


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


def test_digits_have_the_shape_that_is_asked_for() -> None:
    grey = loaded(image_size=28, channels=1)
    assert grey.test_images.shape == (451, 28, 28, 1)
    assert grey.train_images.shape == (1009, 32, 32, 1)
    assert (grey.shape, grey.mean[0]) == (ImageShape(28, 1), pytest.approx(0.305, abs=0.005))
    # Enlarged from their own 8×8 pixels, not from 32×32.
    own = loaded(image_size=8)
    assert set(np.unique(own.test_images)) <= {round(255 / 16 * n) for n in range(17)}


@pytest.mark.parametrize(
    ("dataset", "size", "pad"),
    [
        *(("synthetic", size, pad) for size, pad in ((8, 1), (28, 4), (32, 4), (64, 8), (224, 28))),
        *(("digits", size, pad) for size, pad in ((8, 1), (28, 2), (32, 2), (64, 4))),
    ],
)
def test_crops_move_by_as_large_a_part_of_an_image_at_every_size(
    dataset: str, size: int, pad: int
) -> None:
    assert padding(DataConfig(dataset=dataset, image_size=size)) == pad


def test_images_that_no_memory_holds_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = DataConfig(dataset="synthetic", image_size=512, channels=3)
    size = 2 * 2500 * (512 + 2 * 64) ** 2 * 3
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.Memory(size - 1, size - 1))
    with pytest.raises(InputError, match=r"image_size \(--image-size\) = 512.*3\.07 GB .*smaller"):
        check_data(config)
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.Memory(size, size - 1))
    check_data(config)
    assert "are free here now" in caplog.text
    caplog.clear()
    check_data(DataConfig(dataset="synthetic", image_size=256))
    assert not caplog.text


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


PARTS = ("train", "val", "test")


def by_class(data: Dataset) -> dict[str, list[int]]:
    return {part: per_class(getattr(data, f"{part}_labels")) for part in PARTS}


def labelled(data: Dataset) -> dict[bytes, int]:
    """Every image of a data set, without borders → its label."""
    images = [unpadded(data), data.val_images, data.test_images]
    labels = [data.train_labels, data.val_labels, data.test_labels]
    return {
        image.tobytes(): int(label)
        for some, theirs in zip(images, labels, strict=True)
        for image, label in zip(some, theirs, strict=True)
    }


def test_a_pooled_division_has_the_sizes_and_the_images_of_the_given_one() -> None:
    given, one, other = small(), small(split="pooled"), small(split="pooled", split_seed=1)
    for drawn in (one, other):
        assert by_class(drawn) == by_class(given)
        # Disjoint, since each of the 260 images is unlike the others; and each keeps its label.
        assert labelled(drawn) == labelled(given)
        assert len(labelled(given)) == 260
    seen = contents(given.test_images)
    assert contents(one.test_images) != contents(other.test_images) != seen
    assert contents(one.val_images) != contents(other.val_images)
    # A fifth of all images is the test set: about as much of another draw lies in it by chance.
    assert 0 < len(contents(one.test_images).keys() & seen.keys()) < len(seen)


def test_the_division_follows_from_its_seed_and_from_no_other_setting() -> None:
    drawn = {seed: digest(small(split="pooled", split_seed=seed)) for seed in (0, 1, 2**32 - 1)}
    assert len({*drawn.values(), digest(small())}) == 4
    loaded.cache_clear()
    assert {seed: digest(small(split="pooled", split_seed=seed)) for seed in drawn} == drawn


def test_the_mean_of_a_pooled_division_is_that_of_its_own_training_images() -> None:
    data = small(split="pooled", split_seed=4)
    training = np.concatenate([unpadded(data), data.val_images])
    assert (data.mean, data.std) == channel_statistics(training)


def test_a_folder_and_the_digits_are_pooled_too(tmp_path: Path) -> None:
    folder = write_images(tmp_path, train=9, test=4)
    given, drawn = (load_dataset(folder_config(folder, split=s)) for s in ("holdout", "pooled"))
    assert (by_class(drawn), labelled(drawn)) == (by_class(given), labelled(given))
    assert by_class(loaded(split="pooled", split_seed=3)) == by_class(loaded())


def test_a_split_seed_without_a_pooled_division_is_refused() -> None:
    with pytest.raises(InputError, match=r"--split-seed\) = 3.*'holdout'.*--split pooled"):
        parse_config(DataConfig, {"split_seed": 3})
    with pytest.raises(InputError, match="less than or equal to 4294967295"):
        parse_config(DataConfig, {"split": "pooled", "split_seed": 2**32})
    with pytest.raises(InputError, match="allowed: holdout, pooled, reference"):
        parse_config(DataConfig, {"split": "given_"})


def test_a_test_set_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    one, other = (write_images(tmp_path / name) for name in ("one", "other"))
    # Other names, and so another order.
    for path in sorted((other / "test" / "cat").iterdir()):
        path.rename(path.with_name(f"{9 - int(path.stem)}.png"))
    found = [load_dataset(folder_config(root)) for root in (one, other)]
    assert found[0].test_images.tobytes() != found[1].test_images.tobytes()
    assert found[0].test_digest == found[1].test_digest
    assert len(found[0].test_digest) == 32
    # Another training set, augmentation or normalisation: the same test images.
    assert small(subset=0.5, mean=(0.1, 0.1, 0.1)).test_digest == small().test_digest
    others = [small(split="reference"), small(split="pooled"), small(split="pooled", split_seed=1)]
    assert len({data.test_digest for data in (small(), *others)}) == 4
    swapped = small().test_labels.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert replace(small(), test_labels=swapped).test_digest != small().test_digest


@pytest.mark.parametrize("split", ["holdout", "reference", "pooled"])
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
        split=st.sampled_from(["holdout", "reference", "pooled"]),
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
