"""``noise-study run --task``: what is refused before anything is written, and the defaults."""

import json
from pathlib import Path

import pytest

from study.campaigns.own_code import with_code
from study.commands.run import _as_begun, study_config
from study.commands.study import main as noise_study
from study.commands.train import main as noise_train
from study.config import StudyConfig
from study.records.folder import StudyFolder, storage_of
from tests.support import own_tasks
from tests.support.own_tasks import Line, OtherOrder, task_config
from trainables.code_identity import code_identity
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.task_config import TaskConfig
from trainables.tasks.own_task import described, own_task

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
        (["--task", TASK, "--decide-by", "final_test_worst"], "none is declared"),
        (["--task", TASK, "--task-option", "lr=NaN"], "can't be stored as JSON"),
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


def test_a_confirmation_after_a_study_that_is_not_forked_is_not_forked(tmp_path: Path) -> None:
    config = study_config(["--task", TASK, "--name", "mine", "--storage", str(tmp_path)])
    assert config.fork == "auto"
    folder = StudyFolder.of(storage_of(config), "mine")
    folder.path.mkdir()
    train = task_config(Line)
    folder.write_config(config.model_copy(update={"fork": "never", "train": train}))
    found = _as_begun(config)
    assert (found.fork, found.train) == ("never", train)


def test_single_runs_are_of_classifiers(capsys: pytest.CaptureFixture[str]) -> None:
    Path("best.json").write_text(json.dumps(task_config(Line).model_dump(mode="json")))
    assert noise_train(["--config", "best.json", "--trust", TASK]) == 2
    assert "noise-study run --task" in capsys.readouterr().err


def test_a_file_of_another_task_gives_its_settings_only() -> None:
    other = task_config(OtherOrder).model_dump(mode="json")
    other["task"]["metrics"] = {"loss": other["task"]["metrics"]["loss"]}
    Path("study.json").write_text(json.dumps({"train": other, "decide_by": "test_loss"}))
    words = ["--config", "study.json", "--task", TASK, "--objective", "tail_val_worst"]
    config = study_config(words)
    assert config.train.task.name == TASK
    assert config.train.task.metrics == {}
    assert (config.train.epochs, config.decide_by) == (6, "test_loss")


def test_a_changed_source_of_a_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(own_tasks.__file__).read_text()
    Path("visiting_task.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "visiting_task:Line"
    train = TrainConfig(epochs=6, task=described(TaskConfig(name=name)))
    config = StudyConfig(name="mine", storage=str(tmp_path), train=train, decide_by="test_loss")
    folder = StudyFolder.of(storage_of(config), "mine")
    recorded = with_code(config, folder)
    assert recorded.train.code == code_identity(name)
    folder.path.mkdir()
    folder.write_config(recorded)
    assert own_task(recorded.train).inner.steps_per_epoch == 4
    Path("visiting_task.py").write_text(text + "# another\n")
    with pytest.raises(InputError, match="task = 'visiting_task:Line' consists of, was changed"):
        with_code(config, folder)
    accepted = with_code(config, folder, accept=True)
    assert accepted.code_changes == 1
    assert accepted.train.code == code_identity(name) != recorded.train.code
    # A worker that has another source than the study does not train.
    with pytest.raises(InputError, match="not the one that was recorded"):
        own_task(recorded.train)
