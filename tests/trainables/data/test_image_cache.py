"""The cache of decoded images: used once written, and never when it is wrong."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.data_sets import cache_of, counting, pixels_of, write_images
from trainables.data.image_cache import cache_path
from trainables.data.image_decoding import Decoding
from trainables.data.image_folder import load_folder


def test_a_folder_is_decoded_once(folder: Path) -> None:
    load = counting(folder)
    assert load() == 18
    assert load() == 0
    assert np.array_equal(load_folder(folder).test_images[0], pixels_of(folder, "test", "cat")[0])
    [kept] = (Path(os.environ["XDG_CACHE_HOME"]) / "noise-study").iterdir()
    assert kept == cache_of(folder)


def test_each_decoding_has_a_cache_of_its_own(folder: Path) -> None:
    seen: list[int] = []

    def decoded(*decoding: Decoding) -> int:
        seen.clear()
        load_folder(folder, *decoding, progress=lambda done, _: seen.append(done))
        return sum(seen)

    first = Decoding(1, "stretch")
    others = [Decoding(), Decoding(fit="pad"), Decoding(background="black"), Decoding(1, "crop")]
    assert [decoded(one) for one in (first, *others)] == [18] * 5
    assert [decoded(one) for one in (first, *others)] == [0] * 5
    sizes = [Decoding(size=64), Decoding(size=64, channels=1), Decoding(channels=1)]
    assert [decoded(one) for one in sizes] == [18] * 3
    assert [decoded(one) for one in sizes] == [0] * 3
    assert [load_folder(folder, one).test_images.shape for one in sizes] == [
        (6, one.size, one.size, one.channels) for one in sizes
    ]
    # The file of the first has the name that it always had.
    assert cache_path(folder).exists()
    # The background of bars that there are none of changes nothing.
    assert decoded(Decoding(1, "stretch", "black")) == 0


def test_two_folders_of_one_name_have_two_caches(tmp_path: Path) -> None:
    first, second = (write_images(tmp_path / name / "photos") for name in ("a", "b"))
    assert counting(first)() == counting(second)() == 18
    assert counting(first)() == counting(second)() == 0


@pytest.mark.parametrize(
    ("change", "decoded"),
    [
        (lambda root: os.utime(root / "train/cat/0.png", ns=(1, 1)), 18),
        (lambda root: (root / "test/dog/0.png").unlink(), 17),
        (lambda root: shutil.copy(root / "test/dog/0.png", root / "test/dog/7.png"), 19),
        (lambda root: (root / "train/cat/0.png").rename(root / "train/cat/8.png"), 18),
        (lambda root: (root / "train/cat/notes.txt").write_text("no image"), 0),
    ],
    ids=["time", "removed", "added", "renamed", "other file"],
)
def test_the_cache_is_rebuilt_when_the_folder_changes(
    folder: Path, change: Callable[[Path], object], decoded: int
) -> None:
    load = counting(folder)
    load()
    change(folder)
    assert load() == decoded
    assert load() == 0


@given(data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_cache_is_noticed_wherever_the_damage_is(
    folder: Path, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    good = load_folder(folder)
    path = cache_of(folder)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    caplog.clear()
    again = load_folder(folder)
    assert np.array_equal(again.train_images, good.train_images)
    assert np.array_equal(again.test_images, good.test_images)
    assert f"{path} is damaged; decoding the images again" in caplog.text
    assert counting(folder)() == 0


@pytest.mark.parametrize("content", [b"", bytes(4), bytes(5000), b"{}\n"])
def test_a_cache_of_rubbish_is_noticed(
    folder: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = cache_of(folder)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert counting(folder)() == 18
    assert "is damaged" in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_warning_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert counting(folder)() == counting(folder)() == 18
    assert "can't be kept" in caplog.text


def test_an_interrupted_write_leaves_the_old_cache_and_no_rubbish(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_folder(folder)
    before = cache_of(folder).read_bytes()
    (folder / "test/dog/0.png").unlink()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_folder(folder)
    assert [path.read_bytes() for path in cache_of(folder).parent.iterdir()] == [before]
