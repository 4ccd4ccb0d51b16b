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

from tests.support.data_sets import cache_of, folder_config, per_class, pixels_of, spoil_images
from trainables.data import image_folder
from trainables.data.image_folder import load_folder
from trainables.data.image_listing import MOST_NAMED
from trainables.data.image_sets import check_data, load_dataset, resolve_data
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
    (folder / "test/dog/.thumbs").mkdir()
    (folder / "train/cat/.thumbs.png").write_bytes(b"hidden")
    with caplog.at_level(logging.WARNING):
        assert len(load_folder(folder).train_labels) == 12
    assert "1 files are left out" in caplog.text
    assert "train/cat/notes.txt" in caplog.text
    assert "2 folders are not read, for their names begin with a dot: " in caplog.text
    assert "train/.hidden, test/dog/.thumbs" in caplog.text


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
    assert not cache_of(folder).exists()


@pytest.mark.parametrize(
    "spoil", [lambda image: b"", lambda image: b"no image at all", lambda image: image[:500]]
)
def test_an_unreadable_image_is_named(folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = folder / "train/dog/3.png"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=r"train/dog/3\.png: can't be read as an image"):
        load_dataset(folder_config(folder))
    assert not cache_of(folder).exists()


def test_all_broken_images_are_named_at_once(folder: Path) -> None:
    wrong = spoil_images(folder / "train/dog")
    with pytest.raises(InputError) as refused:
        load_dataset(folder_config(folder))
    head, *told = str(refused.value).splitlines()
    assert head.startswith("7 images can't be read")
    assert "--skip-broken" in head
    assert len(told) == len(wrong)
    for name, why in wrong.items():
        [line] = [line for line in told if f"train/dog/{name}: can't be read" in line]
        assert why in line
    for number in range(5):
        (folder / f"test/cat/x{number}.png").touch()
    with pytest.raises(InputError) as refused:
        load_dataset(folder_config(folder))
    head, *told = str(refused.value).splitlines()
    assert head.startswith("12 images can't be read")
    assert (len(told), told[-1]) == (MOST_NAMED + 1, "  and 2 more")


def test_broken_images_are_left_out_where_that_is_asked_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load_folder(folder)
    wrong = spoil_images(folder / "train/dog")
    config = folder_config(folder, skip_broken=True)
    for _ in range(2):  # The second time from the cache.
        caplog.clear()
        data = load_dataset(config)
        assert set(data.left_out) == {f"train/dog/{name}" for name in wrong}
        assert "7 images can't be read and are left out (--skip-broken)" in caplog.text
        assert "train/dog/bomb.png" in caplog.text
    source = load_folder(folder, skip_broken=True)
    assert np.array_equal(source.train_images, whole.train_images)
    assert np.array_equal(source.train_labels, whole.train_labels)
    with pytest.raises(InputError, match="7 images can't be read"):
        load_dataset(folder_config(folder))

    recorded = resolve_data(config, data)
    assert recorded.left_out == 7
    assert load_dataset(recorded).left_out == data.left_out
    (folder / "train/dog/text.png").unlink()
    with pytest.raises(InputError, match=r"data\.left_out = 7: now 6 images can't be read"):
        load_dataset(recorded)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"decoding": 2, "background": "grey"}, "1 photos are transparent; they are put onto grey"),
        ({}, "1 photos are stretched, of 1 the transparency is dropped"),
    ],
)
def test_what_does_not_look_as_it_does_to_a_person_is_told(
    folder: Path, fields: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    load_dataset(folder_config(folder, **fields))
    assert not caplog.text
    Image.new("RGBA", (40, 20)).save(folder / "test/dog/clear.png")
    load_dataset(folder_config(folder, **fields))
    assert said in caplog.text


def test_a_class_of_which_nothing_can_be_read_is_refused(folder: Path) -> None:
    for path in (folder / "test/cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no image can be read of test/cat/"):
        load_folder(folder, skip_broken=True)


def _moved(folder: Path, into: str) -> None:
    """Move an image of each class and part into a folder below."""
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        target = folder / name / into
        target.mkdir(parents=True)
        (folder / name / "1.png").rename(target / "1.png")


def test_folders_within_a_class_are_read(folder: Path) -> None:
    before = load_folder(folder)
    _moved(folder, "2019/may")
    after = load_folder(folder)
    for part in ("train", "test"):
        images = [
            sorted(i.tobytes() for i in getattr(s, f"{part}_images")) for s in (before, after)
        ]
        assert images[0] == images[1]
    assert after.train_labels.tolist() == before.train_labels.tolist()


def test_folders_within_a_class_stay_unread_in_what_was_recorded_before(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _moved(folder, "2019")
    assert len(load_dataset(folder_config(folder, decoding=1)).test_labels) == 4
    assert "4 folders within classes are not read" in caplog.text
    assert len(load_dataset(folder_config(folder, decoding=2)).test_labels) == 6


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: _moved(root, "dog"), "can't know what .*train/cat/dog, test/cat/dog"),
        (lambda root: _moved(root, "old/val"), "can't know what .*train/cat/old/val"),
        (
            lambda root: shutil.copy(root / "train/cat/0.png", root / "train/0.png"),
            r"lie in no class's folder: train/0\.png",
        ),
        (
            lambda root: (root / "train/cat/again").symlink_to("..", target_is_directory=True),
            "train/cat/again is a link to a folder that it lies in",
        ),
        (
            lambda root: (root / "train/cat/again").symlink_to(".", target_is_directory=True),
            "train/cat/again is a link to a folder that it lies in",
        ),
    ],
    ids=["class", "part", "loose", "link above", "link to itself"],
)
def test_what_folders_could_mean_otherwise_is_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        check_data(folder_config(folder, decoding=2))
    assert not cache_of(folder).exists()
    if "lie in no" not in message:
        # As it was recorded, nothing of it is looked at.
        check_data(folder_config(folder))


def test_a_folder_named_as_its_class_is_of_the_class(folder: Path) -> None:
    (folder / "train/cat/cat").mkdir()
    (folder / "train/cat/0.png").rename(folder / "train/cat/cat/0.png")
    assert len(load_folder(folder).train_labels) == 12
