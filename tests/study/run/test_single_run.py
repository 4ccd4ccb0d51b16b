"""A single run: its files, its result, and going on with it under its name."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch

from study.commands.test import main as evaluate
from study.commands.train import main
from study.records.register import Register
from study.run.epoch_log import EpochLog
from study.run.files import RunFiles
from study.run.weights_file import read_weights
from tests.support.single_runs import EAGER, OFF, SMALL, Artefacts, Run, artefacts, figures, train
from trainables.config import TrainConfig, apply_overrides
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset, resolve_data
from trainables.loop import train_epochs
from trainables.tasks.image_task import ImageTraining

pytestmark = pytest.mark.usefixtures("few_threads")


def test_every_file_of_a_run(run: Run) -> None:
    done = run(*EAGER, "-e", "5", "--layer-norms")
    assert sorted(path.name for path in done.files.metrics.iterdir()) == [
        "config.json",
        "epoch_metrics.jsonl",
        "final_metrics.json",
        "final_weights.pth",
        "images.json",
        "noise.jsonl",
        "optimizer.jsonl",
        "signals.jsonl",
        "test_per_class.json",
    ]
    for name in ("epoch_metrics", "noise", "optimizer"):
        assert done.column(name, "epoch") == [0, 1, 2, 3, 4]
    assert TrainConfig.model_validate(done.config).data.classes is not None
    clean, noisy = done.noise[0], done.noise[2]
    assert (clean["kind"], clean["norm_before"], clean["layers"]) == ("none", None, {})
    assert noisy["norm_after"] > 0
    assert set(noisy["layers"]) == {"conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"}
    signals = done.lines("signals")
    assert set(signals[0]) == {"epoch", "signal", "value", "threshold", "raised"}
    assert [line["epoch"] for line in signals] == [2, 4]  # none in warm-up and cooldown


def test_the_result_follows_from_the_epochs(plain: Artefacts) -> None:
    final, rows = plain.final, plain.epochs
    assert all(not isinstance(value, (dict, list)) for value in final.values())
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert final["best_epoch"] == best["epoch"]
    assert final["epochs_to_best"] == best["epoch"] + 1
    assert final["best_val_accuracy"] == best["val_accuracy"]
    assert final["final_val_accuracy"] == rows[-1]["val_accuracy"]
    gaps = [row["train_accuracy"] - row["val_accuracy"] for row in rows]
    assert final["generalization_gap_final"] == gaps[-1]
    assert final["generalization_gap_at_best"] == gaps[best["epoch"]]
    assert final["generalization_gap_last_ten"] == pytest.approx(sum(gaps) / len(gaps))
    assert final["sharpness_epsilon"] > 0
    assert final["sharpness_draws"] >= 1
    assert 0 <= final["test_accuracy"] <= 1
    assert final["seconds"] > 0


def test_the_final_weights_are_kept_and_evaluated_too(
    plain: Artefacts, capsys: pytest.CaptureFixture[str]
) -> None:
    path, final = plain.files.final_weights, plain.final
    assert read_weights(path).epoch == final["epochs"] - 1
    capsys.readouterr()
    assert evaluate(["--checkpoint", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == final["final_test_accuracy"]
    assert found["loss"] == final["final_test_loss"]


def test_a_configuration_reproduces_a_trials_metrics_bit_for_bit(tmp_path: Path, run: Run) -> None:
    """What a study trains and what the command trains are one loop."""
    config = apply_overrides(
        TrainConfig.model_validate(run(*EAGER, "-e", "5").config),
        {"noise/magnitude_min": 0.7, "noise/schedule": "cosine", "seed": 3},
    )
    dataset = load_dataset(config.data)
    config = config.model_copy(update={"data": resolve_data(config.data, dataset)})
    training = ImageTraining(config, DeviceData(dataset, torch.device("cpu")))
    trial = [json.loads(json.dumps(row.to_dict())) for row in train_epochs(training)]
    file = tmp_path / "best_config.json"
    file.write_text(config.model_dump_json())
    done = train(tmp_path / "again", "--config", str(file), small=())
    keys = trial[0].keys()
    assert [{key: row[key] for key in keys} for row in done.epochs] == trial


def test_a_stored_configuration_finds_its_run_again(
    plain: Artefacts, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", str(plain.files.config), "--resume"]
    assert main([*words, "--checkpoint-dir", str(plain.files.folder)]) == 0
    assert "test set, best weights" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["metrics", "weights"])
def test_a_finished_run_that_is_damaged_is_refused_before_anything_is_written(
    damage: str, plain: Artefacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copied"
    shutil.copytree(plain.files.folder, folder)
    for lock in (folder / "metrics").glob(".*.lock"):
        lock.unlink()
    if damage == "metrics":
        (folder / "metrics" / plain.files.name / "final_metrics.json").write_text("[]")
    else:
        for path in folder.glob("*.pth"):
            path.unlink()
    before = sorted(folder.rglob("*"))
    words = ["--config", str(plain.files.config), "--resume", "--checkpoint-dir", str(folder)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "final_metrics.json" in said if damage == "metrics" else "weights are not in" in said
    assert sorted(folder.rglob("*")) == before


def test_a_damaged_checkpoint_is_said_and_costs_nobody_their_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, *OFF, "-e", "2", "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    with monkeypatch.context() as patched:
        patched.setattr(EpochLog, "close", lambda self: signal.raise_signal(signal.SIGINT))
        assert main(words) == 130
    files = RunFiles(tmp_path, "mine", "mine.pth")
    files.state.write_bytes(files.state.read_bytes()[:-5])
    assert main([*words, "--resume"]) == 2
    assert "last.ckpt: damaged" in capsys.readouterr().err
    assert main(words) == 0
    assert "is kept as mine~1" in capsys.readouterr().out


def test_a_finished_run_is_shown_again(
    plain: Artefacts, capsys: pytest.CaptureFixture[str]
) -> None:
    before = plain.files.final.read_bytes()
    words = [*SMALL, *OFF, "--checkpoint-dir", str(plain.files.folder), "--resume"]
    assert main(words) == 0
    assert "test set, best weights" in capsys.readouterr().out
    assert plain.files.final.read_bytes() == before


def test_resume_needs_the_same_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    assert main([*words, "--resume"]) == 2
    assert "no run mine" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(words) == 0
    assert main([*words, "--lr", "0.5", "--resume"]) == 2
    assert "optimizer/lr = 0.5, the run has 0.01" in capsys.readouterr().err


def test_a_run_begins_with_the_weights_of_another_and_knows_their_file_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [*SMALL, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path), "--save-as"]
    assert main([*first, "mine"]) == 0
    moved = (tmp_path / "mine.pth").rename(tmp_path / "elsewhere.pth")
    on = [*first, "more", "--weights", str(moved)]
    assert main(on) == 0
    told = re.escape(f"pre-trained weights of {moved}: ") + r"\d+ tensors loaded; not loaded: none"
    assert re.search(told, capsys.readouterr().out)
    runs = [Artefacts(RunFiles(tmp_path, name)) for name in ("mine", "more")]
    losses = [run.epochs[0]["train_loss"] for run in runs]
    assert losses[1] < losses[0]
    # The same file by another name.
    again = moved.rename(tmp_path / "again.pth")
    assert main([*first, "more", "--weights", str(again), "--resume"]) == 0
    assert main([*first, "more", "--resume"]) == 2
    assert "model/content = None" in capsys.readouterr().err
    # Named by what the file holds, too.
    unnamed = first[:-1]
    assert main([*unnamed, "--weights", str(again)]) == 0
    moved = again.rename(tmp_path / "moved.pth")
    assert main([*unnamed, "--weights", str(moved), "--resume"]) == 0
    again = moved.rename(again)
    torch.save(torch.load(again, weights_only=True)["model"], again)
    assert main([*first, "more", "--weights", str(again), "--resume"]) == 2
    assert "model/content = " in capsys.readouterr().err


def test_a_name_that_is_taken_costs_nobody_their_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    assert main(words) == 0
    first = artefacts(tmp_path)
    kept = figures(first)
    assert main([*words, "--seed", "5"]) == 0
    assert "is kept as mine~1" in capsys.readouterr().out
    assert figures(Artefacts(RunFiles(tmp_path, "mine~1"))) == kept
    assert torch.load(tmp_path / "mine~1.pth", weights_only=True)["epoch"] == 0
    assert figures(Artefacts(RunFiles(tmp_path, "mine"))) != kept
    # The same settings again come out the same: nothing to keep.
    assert main([*words, "--seed", "5"]) == 0
    assert not (tmp_path / "metrics" / "mine~2").exists()


def test_a_run_under_way_is_not_trained_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, *OFF, "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    with RunFiles(tmp_path, "mine", "mine.pth").locked():
        assert main(words) == 2
    assert "is being trained by another process" in capsys.readouterr().err


def test_each_reading_of_the_test_set_is_registered_where_the_runs_lie(tmp_path: Path) -> None:
    first = train(tmp_path, *OFF, "--save-as", "a.pth")
    train(tmp_path, *OFF, "--save-as", "a.pth", "--resume")  # It is finished: nothing is read.
    weights = tmp_path / "a.pth"
    for _ in range(2):
        assert evaluate([*("-c", str(weights), "-g", "cpu")]) == 0
    words = [*SMALL, *OFF, "--checkpoint-dir", str(tmp_path)]
    assert main([*words, "--save-as", "b.pth", "--split", "pooled", "--split-seed", "3"]) == 0
    found = Register(tmp_path).read()
    assert found.damage == ()
    assert [(e.what, e.by, e.name, e.seeds, e.images) for e in found.entries] == [
        ("read", "noise-train", "a", (0,), 100),
        ("read", "noise-test", "a.pth", (), 100),
        ("read", "noise-test", "a.pth", (), 100),
        ("read", "noise-train", "b", (0,), 100),
    ]
    one, *_, other = (e.test_set for e in found.entries)
    assert [e.test_set for e in found.entries] == [one, one, one, other]
    assert one != other
    # What was read before its result was written is read again, and registered once.
    first.files.final.unlink()
    assert main([*words, "--save-as", "a.pth", "--resume"]) == 0
    assert Register(tmp_path).read().entries == found.entries


def test_a_register_that_can_not_be_written_costs_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "register.jsonl").mkdir()
    done = train(tmp_path, *OFF, "--save-as", "a.pth")
    assert "is not registered: the register" in " ".join(capsys.readouterr().out.split())
    assert evaluate(["-c", str(tmp_path / "a.pth"), "-g", "cpu", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["accuracy"] == done.final["test_accuracy"]
    assert "is not registered: the register" in " ".join(said.err.split())
