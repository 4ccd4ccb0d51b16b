"""A baseline's history as someone has it: rows, a table, a file; what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import run, small_config
from trainables.errors import InputError
from trainables.noise.baseline_history import baseline_rows
from trainables.noise_config import NoiseConfig

NOISE = NoiseConfig(policy="on_stagnation", signals=("stuck", "low_weight_update"))
ROW: dict[str, Any] = {"train_loss": 1.0, "weight_update_norm": 2.0}


def test_rows_need_what_the_signals_read_alone() -> None:
    rows = baseline_rows([ROW, {**ROW, "epoch": 1, "noise_kind": "none"}], NOISE)
    assert [row.epoch for row in rows] == [0, 1]
    assert [row.weight_update_norm for row in rows] == [2.0, 2.0]


def test_every_form_gives_the_same_rows(tmp_path: Path) -> None:
    import pandas as pd

    history, _ = run(small_config())
    told = [row.to_dict() for row in history]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    (tmp_path / "b.json").write_text(json.dumps(told))
    (tmp_path / "state.json").write_text(json.dumps({"history": told, "seed": 0}))
    pd.DataFrame(told).to_csv(tmp_path / "b.csv", index=False)
    for path in tmp_path.iterdir():
        assert baseline_rows(path, NOISE) == tuple(history), path
    assert baseline_rows(history, NOISE) == tuple(history)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "there is no epoch"),
        (3, "a list of epochs, not int"),
        ({"train_loss": [1.0]}, "a list of epochs, not dict"),
        ([ROW, 4], "epoch 2 is 4"),
        (
            [ROW, {"train_loss": 1.0}],
            "epoch 2 of 2 has no finite weight_update_norm, which signal",
        ),
        ([{**ROW, "train_loss": "nan"}] * 2, "no finite train_loss, which signal stuck reads"),
        ([{**ROW, "train_loss": "low"}], "train_loss = 'low': not a number"),
        ([{**ROW, "train_loss": True}], "train_loss = True: not a number"),
        ([ROW, {**ROW, "noise_kind": "weight"}], "epoch 2 was trained with weight noise"),
        ([{**ROW, "epoch": 5}], "epoch = 5 where 0 belongs"),
        ("nowhere.csv", "nowhere.csv"),
    ],
)
def test_a_bad_history_is_one_message(history: Any, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        baseline_rows(history, NOISE)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_damaged_file_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"train_loss": 1.0,\n')
    with pytest.raises(InputError, match="not a line of JSON"):
        baseline_rows(path, NOISE)
