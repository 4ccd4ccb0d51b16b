"""A data set of Hugging Face's on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Picture

from trainables.config import DataConfig
from trainables.data.image_sets import check_data, load_dataset
from trainables.data.streamed import StreamedImages
from trainables.errors import InputError

PIXELS = np.random.default_rng(2).integers(0, 256, (12, 32, 32, 3), np.uint8)


def rows(count: int, image: str = "image") -> Dataset:
    features = Features({image: Image(), "label": ClassLabel(names=["cat", "dog"])})
    pictures = [Picture.fromarray(pixels) for pixels in PIXELS[:count]]
    return Dataset.from_dict(
        {image: pictures, "label": [n % 2 for n in range(count)]}, features=features
    )


def config(path: Path, **fields: Any) -> DataConfig:
    return DataConfig(dataset="huggingface", data_dir=str(path), batch_size=2, **fields)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("test", ["test", "validation"])
def test_images_labels_and_names_are_read(tmp_path: Path, test: str, stream: bool) -> None:
    DatasetDict({"train": rows(12), test: rows(4, "image")}).save_to_disk(str(tmp_path / "saved"))
    settings = config(tmp_path / "saved", stream=stream)
    check_data(settings)
    data = load_dataset(settings)
    assert data.classes == ("cat", "dog")
    assert isinstance(data.test_images, StreamedImages) == stream
    assert np.array_equal(data.test_images[:], PIXELS[:4])
    assert data.test_labels.tolist() == [0, 1, 0, 1]
    assert data.content is not None


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    rows(4).save_to_disk(str(tmp_path / "single"))
    DatasetDict({"train": rows(4)}).save_to_disk(str(tmp_path / "one"))
    for name, words in (
        ("single", "a single split; save a DatasetDict"),
        ("one", r"it has the splits train; train and test \(or validation\) are needed"),
        ("missing", "can't be read"),
    ):
        with pytest.raises(InputError, match=words):
            check_data(config(tmp_path / name))
