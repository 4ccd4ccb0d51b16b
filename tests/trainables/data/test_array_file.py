"""Images in an ``.npz`` file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.config import DataConfig
from trainables.data.image_sets import check_data, load_dataset, resolve_data
from trainables.errors import InputError

RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.integers(0, 256, (20, 28, 28), np.uint8)
LABELS = np.arange(20) % 2


def config(path: Path, **fields: Any) -> DataConfig:
    return DataConfig(
        dataset="npz", data_dir=str(path), image_size=28, channels=1, batch_size=4, **fields
    )


def write(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_both_ways_of_naming_are_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (IMAGES, LABELS, IMAGES[:6], LABELS[:6]), strict=True))
    path = write(tmp_path / "a.npz", **arrays, classes=np.array(["no", "yes"]))
    check_data(config(path))
    data = load_dataset(config(path))
    assert data.classes == ("no", "yes")
    assert np.array_equal(data.test_images[..., 0], IMAGES[:6])
    assert len(data.train_labels) + len(data.val_labels) == 20


def test_a_run_refuses_a_file_that_was_changed(tmp_path: Path) -> None:
    arrays = {"train_images": IMAGES, "train_labels": LABELS}
    arrays |= {"test_images": IMAGES[:6], "test_labels": LABELS[:6]}
    path = write(tmp_path / "a.npz", **arrays)
    found = resolve_data(config(path), load_dataset(config(path)))
    assert found.content is not None
    load_dataset(found)
    write(path, **arrays | {"test_labels": 1 - LABELS[:6]})
    with pytest.raises(InputError, match=r"data\.content = .* are not those that this config"):
        load_dataset(found)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES}, "no train_images and train_labels .* it has images"),
        ({}, "it has nothing"),
        ({"x_train": IMAGES, "y_train": LABELS}, "no test_images and test_labels"),
        ({"x_train": np.array([object()])}, "can't be read as an .npz file .*pickle"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_data(config(write(tmp_path / "a.npz", **arrays)))


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    text, single = tmp_path / "text.npz", tmp_path / "single.npy"
    text.write_text("no arrays")
    np.save(single, IMAGES)
    cut = write(tmp_path / "cut.npz", train_images=IMAGES)
    cut.write_bytes(cut.read_bytes()[:200])
    for path in (text, single, cut, tmp_path, tmp_path / "missing.npz"):
        with pytest.raises(InputError, match=r"can't be read as an \.npz file"):
            check_data(config(path))
    with pytest.raises(ValueError, match=r"npz needs a \.npz file"):
        DataConfig(dataset="npz")
