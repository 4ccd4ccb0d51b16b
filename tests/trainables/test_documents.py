"""Documents: what is read, and that whatever else is there is one message."""

import json
import os
import socket
from pathlib import Path

import pytest

from trainables.documents import DEEPEST, MOST_BYTES, read_document, read_mapping
from trainables.errors import InputError


def _written(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_is_read_as_its_core_schema_means_it(tmp_path: Path) -> None:
    text = """
lr: 1e-3
epochs: 012
hex: 0x1f
octal: 0o17
time: 1:30
day: 2024-02-29
policy: off
answer: yes
shuffle: true
nothing: ~
empty:
far: -.inf
quoted: "3"
list: [1, 2.5, a]
"""
    assert read_document(_written(tmp_path, text)) == {
        "lr": 0.001,
        "epochs": 12,
        "hex": 31,
        "octal": 15,
        "time": "1:30",
        "day": "2024-02-29",
        "policy": "off",
        "answer": "yes",
        "shuffle": True,
        "nothing": None,
        "empty": None,
        "far": -float("inf"),
        "quoted": "3",
        "list": [1, 2.5, "a"],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x 1\nb: *x", "aliases are not read"),
        ("a: !!bool x", "tags are not read"),
        ("a: !!int ''", "tags are not read"),
        ("a: !!float ''", "tags are not read"),
        ("a: !!timestamp x", "tags are not read"),
        ("a: !!python/object/apply:os.system [ls]", "tags are not read"),
        ("{1: 2}", "keys must be text"),
        ("? [a]\n: 2", "keys must be text"),
        ("a: 1\na: 2", "'a' is there twice"),
        ("a: " + "[" * 2000, f"deeper than {DEEPEST} levels"),
        ("a: " + "9" * 5000, "4300"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: [", "line 1"),
        ("a: \x07", "not allowed"),
    ],
)
def test_bad_yaml_is_one_short_message(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=r"not valid JSON or YAML") as told:
        read_document(_written(tmp_path, text))
    assert why in str(told.value)
    assert len(str(told.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "4300"),
        ("", "Expecting value"),
    ],
)
def test_bad_json_is_one_short_message(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match="not valid JSON or YAML") as told:
        read_document(_written(tmp_path, text, "a.json"))
    assert why in str(told.value)


def test_growing_aliases_take_no_time(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InputError, match="aliases"):
        read_document(_written(tmp_path, "\n".join(levels)))


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    for name, why in {
        "pipe": "a named pipe, not a file",
        "loop": "symbolic links",
        "bytes": "not UTF-8",
        "socket": "can't be read",
        ".": "can't be read",
        "absent": "No such file",
        "a" * 300: "too long",
    }.items():
        with pytest.raises(InputError, match="can't be read") as told:
            read_document(tmp_path / name)
        assert why in str(told.value), name
    for path in ("/dev/zero", "nul\0inside", "lone\ud800surrogate"):
        with pytest.raises(InputError, match="can't be read") as told:
            read_document(path)
        str(told.value).encode("utf-8")
    server.close()


def test_a_file_without_end_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="larger than 64 MiB"):
        read_document(path)


def test_a_mapping_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a mapping of settings, found list"):
        read_mapping(_written(tmp_path, "- a"))
    assert read_mapping(_written(tmp_path, json.dumps({"a": 1}), "b.json")) == {"a": 1}
