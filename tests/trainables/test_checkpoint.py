"""Checkpoint files: whole or not at all, and damage is noticed."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import checkpoint
from trainables.checkpoint import (
    CheckpointError,
    decode,
    encode,
    load_run,
    load_state,
    save_state,
)
from trainables.trial_checkpoints import TrialCheckpoints, baseline_folder

STATE = {"epoch": 3, "weights": {"w": torch.arange(12.0)}, "rows": [{"loss": 0.1}], "none": None}
CONTENT = encode(STATE)


def test_round_trip(tmp_path: Path) -> None:
    size = save_state(tmp_path / "a" / "x.ckpt", STATE)
    assert size == (tmp_path / "a" / "x.ckpt").stat().st_size
    back = load_state(tmp_path / "a" / "x.ckpt")
    assert torch.equal(back["weights"]["w"], STATE["weights"]["w"])  # type: ignore[index]
    assert {k: back[k] for k in ("epoch", "rows", "none")} == {
        "epoch": 3,
        "rows": [{"loss": 0.1}],
        "none": None,
    }


@given(st.integers(0, len(CONTENT) - 1))
def test_a_file_cut_short_anywhere_is_noticed(length: int) -> None:
    with pytest.raises(CheckpointError):
        decode(CONTENT[:length])


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed(position: int, change: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[position] ^= change
    with pytest.raises(CheckpointError):
        decode(bytes(damaged))


def test_a_missing_file_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be read"):
        load_state(tmp_path / "none.ckpt")


PARTS = ("config", "history", "model", "optimizer", "best_epoch", "best_weights")


@pytest.mark.parametrize("part", PARTS)
def test_a_checkpoint_that_lacks_a_part_of_a_run_is_named(part: str, tmp_path: Path) -> None:
    path, whole = tmp_path / "x.ckpt", dict.fromkeys(PARTS)
    save_state(path, whole)
    assert load_run(path) == whole
    del whole[part]
    save_state(path, whole)
    with pytest.raises(CheckpointError, match=f"x.ckpt: .*lacks {part}$"):
        load_run(path)


def test_a_right_checksum_over_something_else_is_a_checkpoint_error(tmp_path: Path) -> None:
    save_state(tmp_path / "list.ckpt", [1, 2])  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="holds a list"):
        load_state(tmp_path / "list.ckpt")
    payload = b"not what torch writes"
    magic = CONTENT.partition(b"\n")[0] + b"\n"
    with pytest.raises(CheckpointError, match="can't be read"):
        decode(magic + hashlib.sha256(payload).digest() + payload)


def test_a_full_disk_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.ckpt"
    save_state(path, STATE)

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        save_state(path, {"epoch": 4})
    assert load_state(path)["epoch"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_trial_keeps_two_and_survives_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = TrialCheckpoints(tmp_path, "trial-0001")
    monkeypatch.setattr("trainables.trial_checkpoints._SHARE_OF_TIME", 1e9)
    for epoch in (1, 2, 3):
        trial.save_if_due({"epoch": epoch})
    assert [load_state(p)["epoch"] for p in trial.own()] == [3, 2]

    def no_space(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainables.trial_checkpoints.write_atomically", no_space)
    trial.save_if_due({"epoch": 4})
    monkeypatch.undo()
    assert trial.problem == "last.ckpt not written (No space left on device): trained on without"
    assert [load_state(p)["epoch"] for p in trial.own()] == [3]
    trial.save_final({"epoch": 5})
    assert [p.name for p in trial.own()] == ["final.ckpt"]


def test_checkpoints_are_written_seldom_where_they_cost_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = TrialCheckpoints(tmp_path, "trial-0001")
    clock = iter([0.0, 1.0, 10.0, 40.0, 60.0, 61.0])
    trial._last_written = 0.0
    monkeypatch.setattr("trainables.trial_checkpoints.time.monotonic", lambda: next(clock))
    trial.save_if_due({"epoch": 1})  # from 0 to 1: it cost a second, so 50 must pass
    trial.save_if_due({"epoch": 2})  # at 10
    trial.save_if_due({"epoch": 3})  # at 40
    assert load_state(next(trial.own()))["epoch"] == 1
    trial.save_if_due({"epoch": 4})  # at 60
    assert load_state(next(trial.own()))["epoch"] == 4


def test_baseline_checkpoints_are_found_newest_first_at_or_before_an_epoch(tmp_path: Path) -> None:
    trial = TrialCheckpoints(tmp_path, "baseline-seed0")
    for done in range(1, 10):
        trial.save_for_forks(
            {"done": done}, "d1", done=done, epochs=10, first=3, budget=10 * len(CONTENT)
        )
    assert sorted(p.name for p in baseline_folder(tmp_path, "d1").iterdir()) == [
        f"epoch-{done:05d}.ckpt" for done in range(3, 10)
    ]
    found = [p.name for p in TrialCheckpoints(tmp_path, "t").of_baseline("d1", 5)]
    assert found == ["epoch-00005.ckpt", "epoch-00004.ckpt", "epoch-00003.ckpt"]
    assert list(TrialCheckpoints(tmp_path, "t").of_baseline("d2", 5)) == []


def test_module_has_no_pickle() -> None:
    # weights_only keeps a checkpoint from running code when it is read.
    source = Path(checkpoint.__file__).read_text()
    assert "weights_only=True" in source
    assert "weights_only=False" not in source
