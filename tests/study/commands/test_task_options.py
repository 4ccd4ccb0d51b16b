"""``noise-study run --task``: what is refused before anything is written, and the defaults."""

import json
from pathlib import Path

import pytest

from study.commands.run import study_config
from study.commands.study import main as noise_study
from study.commands.train import main as noise_train
from study.config import StudyConfig
from tests.support.own_tasks import Line, task_config

TASK = "tests.support.own_tasks:Line"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def test_a_task_decides_by_its_loss_and_has_no_noise_on_inputs() -> None:
    config = study_config(["--task", TASK, "--task-option", "lr=0.1", "--task-option", "who=me"])
    assert config.train.task.name == TASK
    assert config.train.task.options == {"lr": 0.1, "who": "me"}
    assert (config.decide_by, config.space) == ("final_test_loss", "adaptive_noise")
    given = study_config(["--task", TASK, "--space", "noise", "--decide-by", "test_worst"])
    assert (given.decide_by, given.space) == ("test_worst", "noise")


def test_a_study_of_images_says_nothing_of_tasks() -> None:
    config = study_config([])
    assert "task" not in config.model_dump(mode="json")["train"]
    assert config.decide_by == "final_test_accuracy"


def test_a_stored_study_of_a_task_is_read_without_its_code() -> None:
    train = task_config(Line)
    config = StudyConfig(train=train, objective=("tail_val_worst",), decide_by="final_test_worst")
    again = StudyConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.modes == ("min",)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--task", TASK, "--classifier", "resnet18"], "model.classifier"),
        (["--task", TASK, "--lr", "0.1"], "--task-option NAME=VALUE"),
        (["--task-option", "lr=0.1"], "for a task of your own"),
        (["--task", TASK, "--task-option", "lr"], "NAME=VALUE"),
        (["--task", "Line"], "task.name"),
        (["--task", "nowhere:Line"], "there is no module 'nowhere'"),
        (["--task", "tests.support.own_tasks:NoTask"], "not a subclass of Task"),
        (["--task", TASK, "--objective", "best_val_accuracy"], "objective = 'best_val_accuracy'"),
        (["--task", TASK, "--decide-by", "test_accuracy"], "decide_by (--decide-by)"),
        (["--task", TASK, "--tune-baseline", "8"], "tune it by --task-option"),
        (
            ["--task", TASK, "--decide-by", "final_test_worst", "--confirm", "6"],
            "the task declares none",
        ),
        (["--task", TASK, "--space", "noise"], "noise on labels"),
        (["--task", "tests.support.own_tasks:Raises"], "in train_epoch, it raised OSError"),
        (["--task", "tests.support.own_tasks:UnknownMetric"], "returned 'mea'"),
    ],
)
def test_a_wrong_task_is_told_before_anything_is_written(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert noise_study(["run", *words]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not Path("studies").exists()


def test_single_runs_are_of_classifiers(capsys: pytest.CaptureFixture[str]) -> None:
    Path("best.json").write_text(json.dumps(task_config(Line).model_dump(mode="json")))
    assert noise_train(["--config", "best.json", "--trust", TASK]) == 2
    assert "noise-study run --task" in capsys.readouterr().err
