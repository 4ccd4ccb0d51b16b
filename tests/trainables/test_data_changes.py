"""What a change of a run's data changes besides."""

from typing import Any

import pytest

from trainables.data_changes import derived_data
from trainables.data_config import FOUND, DataConfig

READ = {
    "mean": [0.5] * 3, "std": [0.2] * 3, "classes": ["a", "b"], "content": "0" * 32,
}  # fmt: skip
OWN = {"dataset": "mine:data", "decoding": 2, "fit": "crop", "data_dir": "/there", **READ}
STREAMED = {**OWN, "stream": True, "stream_workers": 2}
ALL = {f"data/{name}": None for name in FOUND}
WHOLE = {"data/stream": False, "data/stream_workers": 0}
PHOTOS = {"data/decoding": 2, "data/fit": "crop"}
PLAIN = {"data/decoding": 1, "data/fit": "stretch"}


@pytest.mark.parametrize(
    ("file", "given", "derived"),
    [
        (OWN, {}, {}),
        (OWN, {"optimizer/lr": "0.1"}, {}),
        # The same, as text.
        (OWN, {"data/image_size": "32", "data/channels": "3", "data/stream": "False"}, {}),
        (OWN, {"data/batch_size": "16", "data/subset": "0.5"}, {}),
        (OWN, {"data/data_dir": "/here"}, {"data/content": None}),
        (OWN, {"data/image_size": "64"}, {"data/content": None}),
        (OWN, {"data/channels": 1}, {"data/mean": None, "data/std": None, "data/content": None}),
        (OWN, {"data/dataset": "digits"}, ALL | PLAIN),
        (OWN, {"data/dataset": "digits", "data/mean": [0.1] * 3}, ALL | PLAIN),
        (STREAMED, {"data/dataset": "digits"}, ALL | PLAIN | WHOLE),
        (STREAMED, {"data/dataset": "other:data"}, ALL),
        (STREAMED, {"data/dataset": "digits", "data/stream": True}, ALL | PLAIN | WHOLE),
        ({"dataset": "digits", **READ}, {"data/dataset": "mine:data"}, ALL | PHOTOS),
    ],
)
def test_what_was_read_of_other_data_is_cleared(
    file: dict[str, Any], given: dict[str, Any], derived: dict[str, Any]
) -> None:
    expected = {path: value for path, value in derived.items() if path not in given}
    assert derived_data(given, DataConfig(**file), file) == expected
