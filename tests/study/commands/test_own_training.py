"""The options of training and augmentation: what is wrong is answered, and whose code may run."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.campaigns.own_code import with_code
from study.commands.study import main as noise_study
from study.commands.test import main as noise_test
from study.commands.train import main as noise_train
from study.config import StudyConfig
from study.presets import standard
from study.records.folder import StudyFolder
from trainables.code_identity import code_identity
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError

OWN = "tests.support.own_recipes"
OF_BATCHES = "tests.support.own_models:centred"
RECIPE = """
from pathlib import Path
import torch
import visiting_rates

Path("it-ran").touch()

def plain(parameters, lr, weight_decay):
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)

def rate(step, steps_per_epoch, epochs, lr):
    return lr * visiting_rates.FACTOR

def dark(images, generator):
    return images // 2
"""
NAMES = {
    "optimizer/optimizer": "visiting_recipe:plain",
    "optimizer/lr_schedule": "visiting_recipe:rate",
    "data/augment": "visiting_recipe:dark",
}
OPTIONS = [
    *("--optimizer", NAMES["optimizer/optimizer"]),
    *("--lr-schedule", NAMES["optimizer/lr_schedule"], "--augment", NAMES["data/augment"]),
]
SMALL = (
    *("--dataset", "synthetic", "--synthetic-train", "240", "--synthetic-test", "100"),
    *("-c", "BabyCNN", "-b", "32", "-e", "2", "-g", "cpu", "--policy", "off"),
    *("--save-as", "mine.pth"),
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a recipe that leaves a mark when it runs; nobody trusts it yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "visiting_recipe.py").write_text(RECIPE)
    (tmp_path / "visiting_rates.py").write_text("FACTOR = 1.0\n")
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in ("visiting_recipe", "visiting_rates"):
        sys.modules.pop(name, None)


def ran(folder: Path) -> bool:
    return (folder / "it-ran").exists()


def recipe_run(**changes: Any) -> TrainConfig:
    values = {"data/dataset": "digits", "device": "cpu", "epochs": 2, **NAMES, **changes}
    return apply_overrides(standard().train, values)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--optimizer", "AdamX"], ["optimizer.optimizer (--optimizer) = 'AdamX'", "AdamW"]),
        (["--optimizer", "nosuch:f"], ["optimizer = 'nosuch:f'", "no module 'nosuch'"]),
        (["--optimizer", "json:"], ["optimizer = 'json:'", "package.module:function"]),
        (["--optimizer", f"{OWN}:raises"], [f"'{OWN}:raises'", "nothing to optimize"]),
        (["--optimizer", "AdamW", "--scaling", "step"], ["scaling = 'step'", "relative or"]),
        (["--optimizer", "AdamW", "--no-nesterov"], ["(--nesterov) = False", "--optimizer SGD"]),
        (["--lr-schedule", "cosin"], ["(--lr-schedule) = 'cosin'", "cosine", "your own"]),
        (["--lr-schedule", f"{OWN}:negative"], [f"'{OWN}:negative'", "not below 0"]),
        (["--lr-warmup-epochs", "30"], ["(--lr-warmup-epochs) = 30", "30 epochs", "give less"]),
        (["--lr-warmup-epochs", "-1"], ["lr_warmup_epochs", "greater than or equal to 0"]),
        (["--lr-warmup-fraction", "1"], ["lr_warmup_fraction", "less than 1"]),
        (
            ["--lr-warmup-fraction", "0.1", "--lr-warmup-epochs", "2"],
            ["(--lr-warmup-epochs) = 2", "(--lr-warmup-fraction) = 0.1", "one of them"],
        ),
        (["--lr-step-epochs", "3"], ["(--lr-step-epochs) = 3", "--lr-schedule step"]),
        (["--lr-step-factor", "0.5"], ["(--lr-step-factor) = 0.5", "--lr-schedule step"]),
        (["--lr-peak-at", "0.5"], ["(--lr-peak-at) = 0.5", "--lr-schedule one-cycle"]),
        (["--lr-schedule", "step", "--lr-step-epochs", "0"], ["lr_step_epochs", "equal to 1"]),
        (["--clip-norm", "0"], ["clip_norm (--clip-norm) = '0'", "greater than 0"]),
        (["--clip-norm", "nan"], ["clip_norm", "finite"]),
        (["--label-smoothing", "1"], ["label_smoothing (--label-smoothing) = '1'", "less than 1"]),
        (["--ema", "1"], ["ema (--ema) = '1'", "less than 1"]),
        (["--ema", "0"], ["ema (--ema) = '0'", "greater than 0"]),
        (["--accumulate", "0"], ["accumulate (--accumulate) = '0'", "equal to 1"]),
        (["--accumulate", "3"], ["(--accumulate) = 3", "the 64 images", "give 2"]),
        (["--slice", "-1"], ["slice (--slice) = '-1'", "greater than or equal to 0"]),
        (["--slice", "1.5"], ["slice (--slice) = '1.5'", "integer"]),
        (["--slice", "8", "-c", "resnet18"], ["(--slice) = 8", "BatchNorm2d in bn1", "give 0"]),
        (["--slice", "8", "-c", OF_BATCHES], ["(--slice) = 8", OF_BATCHES, "whole batches"]),
        (["--task", "x:Y", "--slice", "8"], ["slice: with --task", "--task-option"]),
        (["--augment", "trivia"], ["(--augment) = 'trivia'", "trivial", "your own"]),
        (["--augment", "flip"], ["(--augment) = 'flip'", "mirrored images of digits"]),
        (["--augment", f"{OWN}:smaller"], [f"'{OWN}:smaller'", "must return the same shape"]),
        (["--augment", "nosuch:f"], ["augment = 'nosuch:f'", "no module 'nosuch'"]),
        (["--task", "x:Y", "--clip-norm", "1"], ["optimizer.clip_norm", "--task-option"]),
    ],
)
def test_a_wrong_recipe_is_one_message_and_nothing_is_written(
    options: list[str], said: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(work.rglob("*"))
    assert noise_study(["run", *options]) == 2
    message = capsys.readouterr().err
    for words in said:
        assert words in message
    assert len(message.splitlines()) == 1
    after = {path for path in work.rglob("*") if "config" not in path.parts}
    assert after == set(before)


def as_run_config() -> list[str]:
    Path("theirs.json").write_text(recipe_run().model_dump_json())
    return ["--config", "theirs.json"]


def as_study_config() -> list[str]:
    Path("theirs.json").write_text(StudyConfig(train=recipe_run()).model_dump_json())
    return ["run", "--config", "theirs.json"]


@pytest.mark.parametrize(
    ("command", "words"), [(noise_train, as_run_config), (noise_study, as_study_config)]
)
def test_a_file_runs_no_recipe_unasked(
    command: Any, words: Any, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = words()
    before = sorted(work.rglob("*"))
    assert command(line) == 2
    said = capsys.readouterr().err
    assert "theirs.json names code of its own" in said
    assert "--trust visiting_recipe:" in said
    assert not ran(work)
    assert sorted(work.rglob("*")) == before


def test_a_single_run_goes_on_with_its_source_only_and_weights_need_no_recipe(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert noise_train([*SMALL, *OPTIONS]) == 0
    stored = json.loads((work / "checkpoints/metrics/mine/config.json").read_text())
    assert dict(stored["codes"]).keys() == set(NAMES.values())
    assert noise_train([*SMALL, *OPTIONS, "--resume"]) == 0
    (work / "visiting_rates.py").write_text("FACTOR = 2.0\n")
    capsys.readouterr()
    assert noise_train([*SMALL, *OPTIONS, "--resume"]) == 2
    assert "another source of visiting_rates" in capsys.readouterr().err
    # What trained them is not run to evaluate them, nor asked for.
    (work / "it-ran").unlink()
    sys.modules.pop("visiting_recipe")
    (work / "visiting_recipe.py").unlink()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(work / "another user"))
    assert noise_test(["-c", "checkpoints/mine.pth"]) == 0
    assert not ran(work)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--optimizer", f"{OWN}:TiresLater"], "in step(), it raised RuntimeError: out of breath"),
        (["--lr-schedule", f"{OWN}:nan_later"], "called with step = 9, it returned nan"),
        (["--augment", f"{OWN}:smaller_later"], "it must return the same shape"),
    ],
)
def test_what_fails_only_in_training_is_told_by_name_in_a_line(
    options: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert noise_train([*SMALL, "-e", "3", *options]) == 2
    message = capsys.readouterr().err
    assert f"{options[0][2:].replace('-', '_')} = '{options[1]}': " in message
    assert said in message
    assert len(message.splitlines()) == 1


def test_a_study_goes_on_with_its_source_or_with_a_changed_one_that_is_accepted(
    work: Path,
) -> None:
    config = StudyConfig(name="mine", train=recipe_run())
    folder = StudyFolder.of("studies", "mine")
    begun = with_code(config, folder)
    assert dict(begun.train.codes) == {name: code_identity(name) for name in NAMES.values()}
    folder.path.mkdir(parents=True)
    folder.config.write_text(begun.model_dump_json())
    assert with_code(config, folder) == begun
    (work / "visiting_rates.py").write_text("FACTOR = 2.0\n")
    with pytest.raises(InputError, match="source of visiting_rates, which augment = 'visiting"):
        with_code(config, folder)
    after = with_code(config, folder, accept=True)
    assert after.code_changes == 1
    assert dict(after.train.codes) == {name: code_identity(name) for name in NAMES.values()}
    assert after.train.code != begun.train.code


def test_check_data_shows_ones_own_augmentation_and_refuses_what_is_none(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheets = []
    for words in ([], ["--augment", "none"], ["--augment", NAMES["data/augment"]]):
        assert noise_study(["check-data", "--sheet", "sheet.png", *words]) == 0
        sheets.append(Path("sheet.png").read_bytes())
        Path("sheet.png").unlink()
    assert len(set(sheets)) == 3
    line = ["check-data", "--sheet", "sheet.png", "--augment", f"{OWN}:otherwise"]
    assert noise_study(line) == 2
    assert "when it is called again" in capsys.readouterr().err
    assert not Path("sheet.png").exists()
