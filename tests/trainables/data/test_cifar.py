"""CIFAR: torchvision's files, and what to do when they are missing or damaged."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets as torchvision_datasets

from trainables.config import DataConfig
from trainables.data.image_sets import check_data, load_dataset
from trainables.errors import InputError


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


def test_cifar10_is_resized_and_made_grey_where_that_is_asked_for(small_cifar: Path) -> None:
    def read(**fields: Any) -> Any:
        where = {"dataset": "cifar10", "data_dir": str(small_cifar), "batch_size": 32}
        return load_dataset(DataConfig(**where, **fields))

    first, large, grey = read(), read(image_size=64), read(channels=1)
    assert large.test_images.shape == (20, 64, 64, 3)
    assert large.train_images.shape == (90, 80, 80, 3)
    assert large.pad == 8
    enlarged = Image.fromarray(first.test_images[0]).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(large.test_images[0], np.asarray(enlarged))
    luminance = first.test_images @ (0.299, 0.587, 0.114)
    assert abs(grey.test_images[..., 0] - luminance).max() < 1
    # The known constants are of the images as they are.
    assert large.std != first.std
    assert (len(grey.mean), len(grey.std)) == (1, 1)


def test_a_damaged_cifar_says_what_to_do(small_cifar: Path) -> None:
    (small_cifar / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"damaged")
    config = DataConfig(dataset="cifar10", data_dir=str(small_cifar), batch_size=32)
    with pytest.raises(InputError, match=r"cifar10 can't be read .*--download"):
        load_dataset(config)
