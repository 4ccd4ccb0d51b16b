"""Images that are read when a batch needs them: as if they were in memory, and repeatable."""

import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from trainables.config import DataConfig
from trainables.data import streamed
from trainables.data.augmentation import make_augmentation
from trainables.data.dataset import Dataset
from trainables.data.device_data import DeviceData
from trainables.data.given_images import reading_once
from trainables.data.image_sets import check_data, load_dataset, resolve_data
from trainables.data.inspection import inspect_data
from trainables.data.streamed import StreamedImages
from trainables.errors import InputError

SIZE, TRAIN, TEST = 12, 60, 24
SHARED = """
import random

import numpy as np
import torch

COUNTS = [60, 24]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (200, 12, 12, 3), np.uint8)
LABELS = [int(n) for n in RANDOM.permutation(200) % 3]


class Plain:
    def __init__(self, start, count):
        self.start, self.count = start, count

    def __len__(self):
        return self.count

    def __getitem__(self, n):
        return IMAGES[self.start + n], LABELS[self.start + n]


class Told(Plain):
    reads = 0

    @property
    def targets(self):
        return LABELS[self.start : self.start + self.count]

    def __getitem__(self, n):
        Told.reads += 1
        return super().__getitem__(n)


class Drawn(Plain):
    def __getitem__(self, n):
        image, label = super().__getitem__(n)
        noise = np.random.randint(0, 40, image.shape) + torch.randint(0, 40, image.shape).numpy()
        return (image // 2 + noise + random.randint(0, 9)).astype(np.uint8), label


class Unseeded(Plain):
    def __getitem__(self, n):
        image, label = super().__getitem__(n)
        return np.random.default_rng().permutation(image), label


class Lying(Plain):
    @property
    def labels(self):
        return np.array([1 - min(n, 1) for n in range(self.count)])


class Failing(Plain):
    targets = LABELS[:60]

    def __getitem__(self, n):
        if n == 44:
            raise OSError("disk gone")
        return super().__getitem__(n)


class Counted(Plain):
    reads = 0

    def __getitem__(self, n):
        # None of those by which the data are known again.
        Counted.reads += (self.count, n) == (60, 44)
        return super().__getitem__(n)


calls = []


def parts(kind):
    return kind(0, COUNTS[0]), kind(60, COUNTS[1])


def plain(): return parts(Plain)
def shuffled():
    calls.append(0)
    torch.manual_seed(3)
    order = np.random.permutation(60).tolist()
    labels = [LABELS[n] for n in order]
    return list(zip(IMAGES[order], labels)), Plain(60, 24)
def counting():
    calls.append(0)
    class Shifted(Plain):
        def __getitem__(self, n):
            image, label = super().__getitem__(n)
            return image + np.uint8(len(calls)), label
    return parts(Shifted)
def more_labels(): return (IMAGES[:60], np.array(LABELS[:64])), Plain(60, 24)
def told(): return parts(Told)
def drawn(): return parts(Drawn)
def unseeded(): return parts(Unseeded)
def lying(): return parts(Lying)
def counted(): return parts(Counted)
def failing(): return Failing(0, 60), Plain(60, 24)
def arrays(): return (IMAGES[:60], np.array(LABELS[:60])), (IMAGES[60:84], np.array(LABELS[60:84]))
def no_labels(): return (IMAGES[:60], None), Plain(60, 24)
def number(): return 3, 4
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"streamed_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SHARED)
    monkeypatch.chdir(tmp_path)
    return name


def config(module: str, function: str, **fields: Any) -> DataConfig:
    values = {"decoding": 2, "fit": "crop", "stream": True, "batch_size": 8, **fields}
    return DataConfig(dataset=f"{module}:{function}", image_size=SIZE, **values)


def batches(dataset: Dataset, seed: int = 0, epoch: int = 0, **fields: Any) -> list[Tensor]:
    data = DeviceData(dataset, "cpu")
    augment = make_augmentation(DataConfig(**fields)) if fields else None
    found: list[Tensor] = []
    for images, labels in data.train_batches(seed, epoch, 8, augment):
        found += [images, labels]
    return found


def everything(dataset: Dataset) -> Iterator[Tensor]:
    yield from batches(dataset, seed=1, epoch=3)
    yield from batches(dataset, augment="trivial")
    data = DeviceData(dataset, "cpu")
    for images, labels in (
        *data.eval_batches("val"),
        *data.eval_batches("test", 5),
        *data.clean_train_batches(7),
    ):
        yield from (images, labels)


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("function", ["plain", "told", "arrays"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"split": "reference"}, {"split": "pooled", "split_seed": 2}, {"subset": 0.5}],
    ids=str,
)
def test_a_run_sees_what_it_would_see_in_memory(
    module: str, function: str, fields: Mapping[str, Any]
) -> None:
    whole = load_dataset(config(module, function, stream=False, **fields))
    lazy = load_dataset(config(module, function, **fields))
    assert isinstance(lazy.train_images, StreamedImages)
    assert lazy.bytes == 0
    for name in ("mean", "std", "classes", "pad", "flip", "shape", "test_digest"):
        assert getattr(lazy, name) == getattr(whole, name)
    for name in ("train_labels", "val_labels", "test_labels"):
        assert np.array_equal(getattr(lazy, name), getattr(whole, name))
    found = list(everything(lazy))
    assert same(found, list(everything(whole)))
    # In another process.
    assert same(found, list(everything(pickle.loads(pickle.dumps(lazy)))))


@pytest.mark.parametrize("workers", [0, 2])
def test_random_items_follow_from_seed_epoch_and_place(module: str, workers: int) -> None:
    dataset = load_dataset(config(module, "drawn", stream_workers=workers))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    found = batches(dataset, 4, 2)
    # What items draw is not missing elsewhere.
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    alone = load_dataset(config(module, "drawn"))
    assert same(found, batches(alone, 4, 2))
    first, place = found[0], alone.train_labels
    assert not same(found, batches(alone, 4, 3))
    assert not same(found, batches(alone, 5, 2))
    assert len(first) == 8
    assert len(place) > 8
    for part in ("val", "test"):
        one, two = (list(DeviceData(each, "cpu").eval_batches(part)) for each in (dataset, alone))
        assert same([images for images, _ in one], [images for images, _ in two])


def test_labels_that_are_told_spare_reading_the_images(module: str) -> None:
    settings = config(module, "told")
    check_data(settings)
    told = __import__(module).Told
    # Those by which the data are known again, in three readings.
    assert told.reads < 3 * (TRAIN + TEST)
    before = told.reads
    list(DeviceData(load_dataset(settings), "cpu").eval_batches("val"))
    assert told.reads > before


def test_other_data_are_refused(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(module, "plain")
    dataset = load_dataset(settings)
    resolved = resolve_data(settings, dataset)
    assert resolved.content
    load_dataset(resolved)
    imported = __import__(module)
    monkeypatch.setattr(imported, "IMAGES", imported.IMAGES[::-1].copy())
    with pytest.raises(InputError, match=r"data\.content"):
        load_dataset(resolved)
    monkeypatch.setattr(imported, "COUNTS", [57, 24])
    sent = pickle.loads(pickle.dumps(dataset))
    check_data(settings)
    with pytest.raises(InputError, match="it has 57 and 24 images, and had 60 and 24"):
        batches(sent)


def test_data_that_say_their_version_are_known_by_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(module, "plain")
    plain = load_dataset(settings).content
    imported = __import__(module)
    known = {plain}
    for version in ("2024-05", "2024-06", 7):
        monkeypatch.setattr(imported.Plain, "version", version, raising=False)
        known.add(load_dataset(settings).content)
    assert len(known) == 4
    monkeypatch.setattr(imported.Plain, "version", object())
    assert load_dataset(settings).content == plain


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("unseeded", r"train: item 0 is another image when it is read again.*--augment"),
        ("lying", r"item 0 has the label 2, but its labels .* say '1' there"),
        ("number", "train is of type int; give"),
        ("no_labels", "train: labels are None; one label an image"),
        ("more_labels", "train: 64 labels for 60 images"),
    ],
)
def test_data_that_can_not_be_right_are_refused(module: str, function: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as refused:
        check_data(config(module, function))
    assert "\n" not in str(refused.value)


def test_what_the_function_draws_is_drawn_alike_in_every_process(module: str) -> None:
    dataset = load_dataset(config(module, "shuffled"))
    sent = pickle.loads(pickle.dumps(dataset))
    expected = batches(dataset)
    streamed._open.clear()
    torch.manual_seed(5)
    found = batches(sent)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert same(found, expected)


def test_a_function_that_gives_others_in_another_process_is_refused(module: str) -> None:
    dataset = load_dataset(config(module, "counting"))
    batches(dataset)
    streamed._open.clear()
    with pytest.raises(InputError, match="it gives other images than when this began"):
        batches(dataset)


def test_processes_that_read_ahead_do_not_open_the_data_anew(module: str) -> None:
    dataset = load_dataset(config(module, "shuffled", stream_workers=2))
    streamed._open.clear()
    calls = __import__(module).calls
    before = len(calls)
    for epoch in range(3):
        batches(dataset, epoch=epoch)
    assert len(calls) == before + 1


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_on_the_way_is_named(module: str, workers: int) -> None:
    # Not one of those that are looked at beforehand.
    known = {"mean": (0.5, 0.5, 0.5), "std": (0.3, 0.3, 0.3)}
    dataset = load_dataset(config(module, "failing", stream_workers=workers, **known))
    with pytest.raises(InputError, match=r"train: item 44 of 60 raised OSError: disk gone$"):
        batches(dataset)


def test_check_data_finds_a_leak_in_streamed_images(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(module, "plain", stream_workers=1)
    assert inspect_data(settings).findings == ()
    imported = __import__(module)
    images = imported.IMAGES.copy()
    images[61] = images[7]
    monkeypatch.setattr(imported, "IMAGES", images)
    assert "test image 1" in "".join(inspect_data(settings).findings)


def test_what_tells_no_labels_is_read_for_them_once(module: str) -> None:
    """By the check and the reading of ``check-data``, and by those of a grid's subsets."""
    known = {"mean": (0.5, 0.5, 0.5), "std": (0.3, 0.3, 0.3)}
    settings = config(module, "counted", **known)
    inspect_data(settings)
    counted = __import__(module).Counted
    # For its label, and to be compared with the others.
    assert counted.reads == 2
    with reading_once():
        half, whole = (settings.model_copy(update={"subset": part}) for part in (0.5, 1.0))
        for each in (half, whole, half):
            check_data(each)
        assert len(load_dataset(half).train_labels) < len(load_dataset(whole).train_labels)
    assert counted.reads == 3
    check_data(settings)
    assert counted.reads == 4, "what was changed since is seen"


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"--stream\).*'cifar10' is read whole; huggingface"):
        DataConfig(dataset="cifar10", stream=True)
    with pytest.raises(ValidationError, match=r"--stream-workers\) = 2: it is for --stream"):
        DataConfig(dataset="mine:data", stream_workers=2)
