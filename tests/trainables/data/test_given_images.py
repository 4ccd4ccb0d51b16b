"""Arrays and map-style data sets become a source, whatever kind of image they hold."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.config import DataConfig
from trainables.data.dataset import Source
from trainables.data.given_images import Given, source_of
from trainables.data.given_labels import class_names, same_classes
from trainables.errors import InputError

SIZE = 8
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, SIZE, SIZE), np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def config(channels: int = 3, **fields: Any) -> DataConfig:
    return DataConfig(
        dataset="mine:data",
        image_size=SIZE,
        channels=channels,
        batch_size=1,
        **{"decoding": 2, "fit": "crop", **fields},
    )


def source(train: Any, test: Any = None, classes: Any = None, **fields: Any) -> Source:
    parts = {"train": train, "test": train if test is None else test}
    given = Given("dataset = 'mine:data'", parts, classes)
    return source_of(given, config(**fields), None)


class Items:
    """A map-style data set."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


@pytest.mark.parametrize(
    "images",
    [
        COLOUR,
        torch.from_numpy(COLOUR).permute(0, 3, 1, 2),
        (COLOUR / 255).astype(np.float32),
        COLOUR.transpose(0, 3, 1, 2),
    ],
)
def test_arrays_and_tensors_in_every_order_give_the_same_pixels(images: Any) -> None:
    found = source((images, LABELS))
    assert np.array_equal(found.train_images, COLOUR)
    assert found.train_labels.tolist() == LABELS.tolist()
    assert found.train_labels.dtype == np.int64
    assert found.classes == ("0", "1", "2")
    assert found.content == source((COLOUR, LABELS)).content


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(COLOUR[0]),
        COLOUR[0],
        torch.from_numpy(COLOUR[0]).permute(2, 0, 1),
        torch.from_numpy(COLOUR[0]).permute(2, 0, 1) / 255,
    ],
)
def test_items_may_be_pictures_arrays_and_tensors(image: Any) -> None:
    for items in (
        Items((image, 0), (image, 1)),
        Items({"image": image, "label": 0}, {"img": image, "label": 1}),
    ):
        found = source(items)
        assert np.array_equal(found.train_images, np.stack([COLOUR[0]] * 2))


def test_pixels_of_few_bits_are_read() -> None:
    exact = np.where(COLOUR > 127, 255, 0).astype(np.uint8)
    tensor = torch.from_numpy(exact).permute(0, 3, 1, 2).div(255).bfloat16()
    assert np.array_equal(source((tensor, LABELS)).train_images, exact)


def test_a_map_style_data_set_of_torch_is_read() -> None:
    images = torch.from_numpy(COLOUR).permute(0, 3, 1, 2)
    found = source(torch.utils.data.TensorDataset(images, torch.from_numpy(LABELS)))
    assert np.array_equal(found.train_images, COLOUR)


def test_grey_images_have_one_channel_or_three_alike() -> None:
    one = source((GREY, LABELS), channels=1)
    assert np.array_equal(one.train_images[..., 0], GREY)
    three = source((GREY, LABELS), channels=3)
    assert np.array_equal(three.train_images, np.repeat(GREY[..., None], 3, axis=3))


def test_images_of_another_size_are_cut_or_stretched_as_photos_are() -> None:
    wide = np.zeros((2, SIZE, 2 * SIZE, 3), np.uint8)
    wide[:, :, SIZE // 2 : -SIZE // 2] = 200
    labels = np.array([0, 1])
    assert (source((wide, labels)).train_images == 200).all()
    assert (source((wide, labels), fit="stretch").train_images < 200).any()
    assert (source((wide, labels), fit="pad").train_images[:, 0] == 255).all()


def test_transparent_pixels_lie_on_the_background() -> None:
    clear = np.zeros((2, SIZE, SIZE, 4), np.uint8)
    assert (source((clear, np.array([0, 1]))).train_images == 255).all()
    assert (source((clear, np.array([0, 1])), background="black").train_images == 0).all()


def test_labels_may_be_names() -> None:
    names = np.array(["dog", "cat", "dog", "cat", "dog", "cat"])
    found = source((COLOUR, names))
    assert found.classes == ("cat", "dog")
    assert found.train_labels.tolist() == [1, 0] * 3
    ordered = source((COLOUR, names), classes=["dog", "cat"])
    assert ordered.train_labels.tolist() == [0, 1] * 3
    assert source((COLOUR, LABELS), classes=["a", "b", "c"]).classes == ("a", "b", "c")


def test_lists_of_images_and_of_labels_are_a_pair() -> None:
    found = source((list(COLOUR), LABELS.tolist()))
    assert np.array_equal(found.train_images, COLOUR)
    assert found.train_labels.tolist() == LABELS.tolist()


def test_two_items_are_no_pair_of_arrays() -> None:
    found = source([(COLOUR[0], 0), (COLOUR[1], 1)])
    assert np.array_equal(found.train_images, COLOUR[:2])


def test_classes_are_names_however_they_are_given() -> None:
    for given in (np.array(["a", "b"]), np.array([b"a", b"b"]), ("a", "b"), [("a",), ("b",)]):
        assert class_names("it", given) == ["a", "b"]
    for wrong in ("ab", [1, 2], 3):
        with pytest.raises(InputError, match="it: classes = "):
            class_names("it", wrong)
    with pytest.raises(InputError, match="train has the classes a, b, test b, a"):
        same_classes("it", ["a", "b"], ["b", "a"])


def test_labels_of_one_column_are_labels() -> None:
    assert source((COLOUR, LABELS[:, None])).train_labels.tolist() == LABELS.tolist()


def test_the_content_tells_images_and_labels() -> None:
    other, swapped = COLOUR.copy(), LABELS.copy()
    other[3, 2, 1, 0] ^= 1
    swapped[:2] = swapped[1::-1]
    known = {
        source(part, test).content
        for part, test in (
            ((COLOUR, LABELS), (COLOUR, LABELS)),
            ((other, LABELS), (COLOUR, LABELS)),
            ((COLOUR, LABELS), (other, LABELS)),
            ((COLOUR, swapped), (COLOUR, LABELS)),
        )
    }
    assert len(known) == 4


class Broken(Items):
    def __getitem__(self, index: int) -> Any:
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("train", "classes", "words"),
    [
        (3, None, "train is of type int; give a pair of arrays"),
        (iter([(COLOUR[0], 0)]), None, "train is of type list_iterator"),
        (Broken(1, 2), None, "item 0 of 2 raised ZeroDivisionError: a bug"),
        (Items(COLOUR[0]), None, r"item 0 is of type ndarray; give \(image, label\)"),
        (Items({"picture": COLOUR[0], "label": 0}), None, "item 0 has picture, label; it needs"),
        (Items((COLOUR[0, 0, 0], 0)), None, r"item 0 has the shape \(3,\)"),
        (Items((np.zeros((8, 8, 5), np.uint8), 0)), None, r"the shape \(8, 8, 5\)"),
        (Items(("photo.png", 0)), None, "item 0"),
        (Items((COLOUR[0].astype(np.int64), 0)), None, "holds int64; give uint8"),
        (Items((COLOUR[0] / 127.5 - 1, 0)), None, "numbers from -1 to .* leave normalisation out"),
        (Items((np.full((8, 8), np.nan), 0)), None, "numbers from nan to nan"),
        (Items((COLOUR[0], 0.5)), None, "item 0 is 0.5; a label is a whole number"),
        (Items((COLOUR[0], None)), None, "item 0 is None; a label"),
        (Items((COLOUR[0], -1), (COLOUR[0], 1)), None, "label -1 with 2 classes"),
        (Items((COLOUR[0], "a"), (COLOUR[0], 1)), None, "some labels are numbers, others names"),
        (Items((COLOUR[0], 0), (COLOUR[0], 2)), None, "train has no image of 1; each class"),
        (Items((COLOUR[0], 0)), None, "1 classes; at least two"),
        ((COLOUR, LABELS[:4]), None, r"labels of shape \(4,\) for 6 images"),
        ((COLOUR, None), None, "labels are None; one label an image"),
        ((COLOUR, np.eye(6)), None, r"labels of shape \(6, 6\) for 6 images"),
        (Items((COLOUR[0], np.eye(2)[0])), None, r"item 0 is array\(\[1., 0.\]\); a label is"),
        (Items((COLOUR[0], torch.eye(2)[0])), None, r"item 0 is tensor\(\[1., 0.\]\); a label is"),
        ((COLOUR, []), None, r"labels of shape \(0,\) for 6 images"),
        (([COLOUR[0], GREY[0, :4]], [0, 1, 1]), None, r"labels of shape \(3,\) for 2 images"),
        (Items((np.zeros((0, 0)), 0)), None, r"item 0 has the shape \(0, 0\)"),
        (Items((COLOUR[0], 0), (COLOUR[0], 10**12)), None, "label 1000000000000, but there are 2 "),
        ((COLOUR, LABELS), ["a", "b"], "label 2 with 2 classes"),
        ((COLOUR, LABELS), ["a", "b", "b"], "a class is named twice"),
        ((COLOUR, np.array(list("abcabc"))), ["a", "b"], "labels c are none of the classes"),
    ],
)
def test_what_is_wrong_is_told(train: Any, classes: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        source(train, classes=classes)
    assert str(caught.value).startswith("dataset = 'mine:data': ")


def test_a_class_without_a_test_image_is_refused() -> None:
    with pytest.raises(InputError, match="test has no image of 2"):
        source((COLOUR, LABELS), (COLOUR[:2], LABELS[:2]))
