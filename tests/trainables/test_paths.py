"""Paths that a person gave: what no file system takes is one message."""

import os
from pathlib import Path

import pytest

from trainables.errors import InputError
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
