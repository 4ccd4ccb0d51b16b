"""Paths that a person gave: what no file system takes is one message."""

import os
from pathlib import Path

import pytest

from study.run.weights_file import read_weights
from trainables.data.image_sets import check_data
from trainables.data_config import DataConfig
from trainables.errors import InputError
from trainables.models.stored_weights import read_weights as read_stored
from trainables.paths import LONGEST_NAME, given_path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("~no-such-user/x", "no such user"),
        ("lone\ud800surrogate", "no character"),
        ("a" * (LONGEST_NAME + 1), "too long"),
        ("ä" * (LONGEST_NAME // 2 + 1), "too long"),
        ("a/" * 3000, "too long"),
    ],
)
def test_what_can_be_no_path_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=r"^storage = ") as told:
        given_path(text, "storage")
    assert why in str(told.value)
    str(told.value).encode("utf-8")


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match=r"can't be looked up.*loop"):
        given_path(tmp_path / "a" / "studies", "storage")


def test_home_is_expanded_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.sep + "home")
    assert given_path("~/studies", "storage") == Path("/home/studies")
    assert given_path("../a b", "storage") == Path("../a b")
    assert given_path("x" * LONGEST_NAME, "storage").name == "x" * LONGEST_NAME


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "."])
def test_what_is_no_file_is_not_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would be waited for, without end."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    table, arrays = (DataConfig(dataset=name, data_dir=place) for name in ("csv", "npz"))
    for read in (
        lambda: read_stored(place),
        lambda: read_weights(Path(place)),
        lambda: check_data(table),
        lambda: check_data(arrays),
    ):
        with pytest.raises(InputError, match=f"{place}'?: can't be read.*\\ba [a-z ]*, not a file"):
            read()
