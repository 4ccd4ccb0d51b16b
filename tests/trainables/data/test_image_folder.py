"""Folders of images: order, sizes, kinds of pixels, and folders that are wrong."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.data_sets import folder_config, per_class, pixels_of
from trainables.data import image_folder
from trainables.data.image_cache import cache_path
from trainables.data.image_folder import decode_image, load_folder
from trainables.data.image_sets import check_data, load_dataset
from trainables.errors import InputError


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
