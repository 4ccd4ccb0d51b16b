"""JSON files: strict, whole, and with odd numbers as each kind of file has them."""

import json
from pathlib import Path

import pytest

from study.records.json_files import json_line, plain, write_json


def test_lines_are_strict_json(tmp_path: Path) -> None:
    text = json_line({"loss": float("nan"), "deep": [{"norm": float("inf")}], "name": "é"})
    assert json.loads(text) == {"loss": None, "deep": [{"norm": None}], "name": "é"}


def test_odd_numbers_become_what_the_caller_says() -> None:
    values = {1: (float("nan"), 0.5), "deep": {"low": float("-inf")}, "text": "nan"}
    assert plain(values, str) == {"1": ["nan", 0.5], "deep": {"low": "-inf"}, "text": "nan"}


def test_a_file_with_an_odd_number_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"b": float("nan")})
    assert path.read_text() == '{\n  "b": 1\n}\n'


def test_a_name_that_is_no_unicode_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, ["b\udcff.png", "é"], indent=None)
    assert path.read_bytes() == '["b\\udcff.png", "é"]\n'.encode()
    assert json.loads(path.read_text(encoding="utf-8")) == ["b\udcff.png", "é"]
