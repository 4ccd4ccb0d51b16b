"""``noise-study check-data``: what is wrong with a data set, told before it is studied."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.commands.study import main
from tests.support.data_sets import spoil_images, write_images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return write_images(tmp_path / "photos", size=40)


def _check(photos: Path, *words: str) -> int:
    return main(["check-data", "--dataset", "imagefolder", "--data-dir", str(photos), *words])


def test_a_good_data_set_is_described(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        exif = Image.Exif()
        exif[0x0112] = 6
        random = np.random.default_rng(len(part))
        pixels = random.integers(0, 256, (50, 60, 4), np.uint8)
        Image.fromarray(pixels).save(photos / part / "cat" / "turned.png", exif=exif)
    (photos / "train/cat/2019").mkdir()
    (photos / "train/cat/0.png").rename(photos / "train/cat/2019/0.png")
    assert _check(photos) == 0
    said = capsys.readouterr().out
    rows = {
        line.split("│")[1].strip(): line.split("│")[2:5]
        for line in said.splitlines()
        if "│" in line
    }
    assert [int(cell) for cell in rows["cat"]] == [6, 1, 4]
    assert [int(cell) for cell in rows["all"]] == [11, 2, 7]
    assert "the middle square; turned by EXIF orientation; transparency on white" in said
    assert "20 photos of 40×40 to 60×50 pixels; 18 RGB, 2 RGBA" in said
    assert "2 are not square, 2 are turned by their EXIF orientation, 2 are transparent" in said
    assert "folders within classes, read: train/cat/2019" in said
    assert "nothing wrong was found" in said


def test_leaks_and_broken_files_are_found(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = spoil_images(photos / "test/dog")
    shutil.copy(photos / "train/cat/3.png", photos / "test/cat/other name.png")
    # The same pixels in another file, in another class.
    Image.open(photos / "train/dog/2.png").save(photos / "train/cat/same.bmp")
    shutil.copy(photos / "train/dog/4.png", photos / "train/dog/again.png")
    assert _check(photos) == 1
    said = capsys.readouterr().out
    assert "images that can't be read: 7" in said
    assert all(f"test/dog/{name}: can't be read" in said for name in broken)
    assert "test images that are training images, too: 1" in said
    assert "train/cat/3.png = test/cat/other name.png" in said
    assert "images of several classes: 1" in said
    assert "train/cat/same.bmp = train/dog/2.png" in said
    assert "training images that are there more than once: 2" in said
    assert "train/dog/4.png = train/dog/again.png" in said


def test_the_contact_sheet_shows_each_class_as_it_is_and_as_it_is_trained_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, colour in (("cat", (250, 0, 0)), ("dog", (0, 0, 250))):
        for number in range(6):
            Image.new("RGB", (32, 32), colour).save(photos / "train" / name / f"{number}.png")
    sheet = tmp_path / "sheet.png"
    assert _check(photos, "--sheet", str(sheet)) == 0
    assert f"contact sheet: {sheet}" in capsys.readouterr().out
    pixels = np.asarray(Image.open(sheet))
    red = (pixels == (250, 0, 0)).all(axis=2)
    blue = (pixels == (0, 0, 250)).all(axis=2)
    # A row a class: three images whole, and nine crops of them, less their black borders.
    for shown in (red, blue):
        assert 3 * 64 * 64 < shown.sum() < 12 * 64 * 64
    assert red.nonzero()[0].max() < blue.nonzero()[0].min()
    assert (pixels == 0).all(axis=2).sum() > 64


def test_a_sheet_of_many_classes_says_which_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    for classes, said in ((20, ""), (21, " (the first 20 of 21 classes)")):
        words = ["--synthetic-classes", str(classes), "--synthetic-train", str(4 * classes)]
        words += ["--synthetic-test", str(classes), "--image-size", "8", "--sheet", str(sheet)]
        assert main(["check-data", "--dataset", "synthetic", *words]) == 0
        assert f"contact sheet: {sheet}{said}\n" in capsys.readouterr().out


def test_any_data_set_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", "--dataset", "digits"]) == 0
    assert "nothing wrong was found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sheet", "sheet.jpg"], "--sheet = 'sheet.jpg': it is a PNG"),
        (["--sheet", "folder.png"], "--sheet = 'folder.png': is there, and is no file"),
        (["--sheet", "file/sheet.png"], "file is a file"),
        (["--fit", "zoom"], "data.fit (--fit) = 'zoom': allowed: crop, pad, stretch"),
        (
            ["--background", "blue-ish"],
            "data.background (--background) = 'blue-ish': allowed: white",
        ),
        (
            ["--dataset", "cifar10", "--fit", "crop"],
            "data.fit (--fit) = 'crop': it is for image files",
        ),
        (["--dataset", "digits"], "data.dataset = 'digits' reads no folder; leave it out"),
        (["--data-dir", "nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_is_refused(
    photos: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tmp_path = photos.parent
    work = tmp_path / "work"
    (work / "folder.png").mkdir(parents=True)
    (work / "file").touch()
    monkeypatch.chdir(work)
    before = sorted(tmp_path.rglob("*"))
    assert _check(photos, *words) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
