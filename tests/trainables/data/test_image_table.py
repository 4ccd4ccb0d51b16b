"""Image files listed in a CSV table."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data_sets import write_images
from trainables.config import DataConfig
from trainables.data.image_sets import check_data, load_dataset, resolve_data
from trainables.data.image_table import list_table
from trainables.data.inspection import inspect_data
from trainables.errors import InputError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    write_images(photos, train=6, test=3, size=20)
    return photos


def table(folder: Path, lines: list[str], name: str = "photos.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def listed(folder: Path) -> list[tuple[str, str, str]]:
    """Path, label and split of each file."""
    files = sorted(folder.glob("*/*/*.png"))
    parts = [file.relative_to(folder).parts for file in files]
    return [(os.path.join(*part), part[1], part[0]) for part in parts]


def config(path: Path, **fields: object) -> DataConfig:
    values = {"decoding": 2, "fit": "crop", "batch_size": 1, **fields}
    return DataConfig.model_validate({"dataset": "csv", "data_dir": str(path), **values})


def test_a_table_gives_what_the_folder_gives(folder: Path) -> None:
    path = table(folder, ["path,label,split", *(",".join(row) for row in listed(folder))])
    check_data(config(path))
    by_table = load_dataset(config(path))
    by_folder = load_dataset(
        DataConfig(
            dataset="imagefolder", data_dir=str(folder), decoding=2, fit="crop", batch_size=1
        )
    )
    assert by_table.classes == by_folder.classes
    for name in ("train_images", "train_labels", "val_images", "test_images", "test_labels"):
        assert np.array_equal(getattr(by_table, name), getattr(by_folder, name))


def test_without_a_split_the_same_fifth_is_test(folder: Path) -> None:
    rows = [",".join(row[:2]) for row in listed(folder)]
    path = table(folder, ["path,label", *rows])
    listing = list_table(path)
    assert [len(files) for files in listing.test] == [2] * len(listing.classes)
    assert listing == list_table(path)
    assert not {*sum(listing.test, ())} & {*sum(listing.train, ())}


def test_numbers_as_labels_are_in_their_order(folder: Path) -> None:
    rows = [f"{name},{number % 11}" for number, (name, *_) in enumerate(listed(folder) * 1)]
    numbers = {row.rpartition(",")[2] for row in rows}
    doubled = [*rows, *(f"./x/../{row}".replace("./x/../", "copy/") for row in rows)]
    (folder / "copy").symlink_to(folder)
    listing = list_table(table(folder, ["path,label", *doubled]))
    assert listing.classes == tuple(sorted(numbers, key=int))


def test_other_labels_of_the_same_files_are_not_taken_from_the_cache(folder: Path) -> None:
    """The files stay in their order: only where one class ends and the next begins is moved."""
    rows = listed(folder)
    path = table(folder, ["path,label,split", *(",".join(row) for row in rows)])
    first = load_dataset(config(path))
    found = resolve_data(config(path), first)
    last = max(n for n, row in enumerate(rows) if row[2] == "test" and row[1] == rows[0][1])
    other = next(row[1] for row in rows if row[1] > rows[0][1])
    rows[last] = (rows[last][0], other, "test")
    table(folder, ["path,label,split", *(",".join(row) for row in rows)])
    second = load_dataset(config(path))
    assert np.array_equal(first.test_images, second.test_images)
    assert not np.array_equal(first.test_labels, second.test_labels)
    with pytest.raises(InputError, match=r"data\.content"):
        load_dataset(found)


def test_numbers_that_are_equal_are_in_one_order(folder: Path) -> None:
    names = [row[0] for row in listed(folder)]
    rows = [f"{name},{('1', '01', '2')[number % 3]}" for number, name in enumerate(names)]
    assert list_table(table(folder, ["path,label", *rows])).classes == ("01", "1", "2")


def test_broken_files_are_named_or_left_out(folder: Path) -> None:
    rows = listed(folder)
    (folder / rows[0][0]).write_bytes(b"no image")
    path = table(folder, ["path,label,split", *(",".join(row) for row in rows)])
    with pytest.raises(InputError, match="can't be read as an image"):
        load_dataset(config(path))
    assert load_dataset(config(path, skip_broken=True)).left_out == (rows[0][0],)
    assert any("can't be read" in line for line in inspect_data(config(path)).findings)


def test_absolute_paths_and_a_mark_of_byte_order_are_read(folder: Path) -> None:
    rows = [f"{folder / name},{label}" for name, label, _ in listed(folder)]
    elsewhere = folder.parent / "table.csv"
    elsewhere.write_bytes(("\ufeffpath,label\r\n" + "\r\n".join(rows)).encode())
    assert load_dataset(config(elsewhere)).classes == list_table(elsewhere).classes


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["file,label", "a.png,x"], "no column path; it has file, label"),
        (["path", "a.png"], "no column label"),
        ([""], "no column path and no column label; it has none"),
        (["path,label"], "one class only"),
        (["path,label", "a.png,x", "b.png,x"], r"one class only \(x\)"),
        (["path,label", "a.png,x", ",y"], "line 3: a path and a label are needed"),
        (["path,label", "a.png"], "line 2: a path and a label are needed"),
        (["path,label", "a.png,x", "./a.png,y"], "line 3: 'a.png' is listed twice"),
        (["path,label,split", "a.png,x,val"], "line 2: split = 'val'; allowed: train, test"),
        (["path,label,split", "a.png,x,train", "b.png,y,test"], "no train image of y"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(folder: Path, lines: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_data(config(table(folder, lines)))


def test_what_is_no_table_is_refused(folder: Path) -> None:
    binary = folder / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (folder / "missing.csv", folder, binary):
        with pytest.raises(InputError, match="can't be read as a table"):
            check_data(config(path))
    with pytest.raises(ValueError, match=r"csv needs a \.csv file"):
        DataConfig(dataset="csv")


def test_an_image_is_decoded_as_a_photo(folder: Path) -> None:
    Image.new("RGBA", (30, 10), (255, 0, 0, 0)).save(folder / "clear.png")
    rows = [",".join(row) for row in listed(folder)]
    path = table(folder, ["path,label,split", *rows, f"clear.png,{listed(folder)[-1][1]},test"])
    data = load_dataset(config(path))
    assert (data.test_images == 255).all(axis=(1, 2, 3)).any()
