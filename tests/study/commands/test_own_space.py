"""Spaces, ranges and metrics of one's own on the command line: what they mean, what is refused."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.checks import check_study, checked_entry
from study.commands.run import study_config
from study.commands.study import main
from study.config import StudyConfig
from study.config_changes import differences
from study.search.own_space import space_of
from trainables.code_trust import only_named
from trainables.errors import InputError
from trainables.settings import parse_config

MODULE = """
from pathlib import Path
from trainables.metric_config import metric

Path("it-ran").touch()

def space(base):
    return {"noise/patience": f"1..{base.epochs}", "noise/warmup_epochs": 0}

@metric("min", "euros", worst=9.0)
def cost(logits, labels):
    return 1.0

@metric("max", "points")
def crooked(logits, labels):
    return logits
"""
YAML = """
dimensions:
  noise/signals: stuck, val_loss_plateau
  noise/patience: 1..5
  noise/warmup_epochs: 2
conditions:
  noise/patience: {noise/signals: stuck}
"""
SMALL = ["--dataset", "synthetic", "--synthetic-train", "200", "--epochs", "10"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "things_of_mine.py").write_text(MODULE)
    (tmp_path / "mine.yaml").write_text(YAML)
    (tmp_path / "settings.json").write_text('[{"noise/patience": 3}]')
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("things_of_mine", None)


def checked(*words: str) -> StudyConfig:
    with only_named(words):
        return check_study(study_config([*SMALL, *words]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--range", "noise/patience"], ["range (--range) = 'noise/patience'", "SETTING=LOW..HI"]),
        (["--range", "noise/patience=1", "--range", "noise/patience=2"], ["is given twice"]),
        (["--range", "noise/patiense=1..2"], ["'noise/patiense'", "did you mean 'noise/patience'"]),
        (["--range", "noise/patience=9..2"], ["noise/patience = '9..2'", "begins at 9"]),
        (["--range", "noise/window=1..5"], ["noise/window = '1..5'", "'1'", "or equal to 2"]),
        (["--range", "optimizer/lr=1e-3..1"], ["'optimizer/lr'", "only settings of the noise"]),
        (["--range", "noise/signals=stuck+overfitting"], ["both noise/scaling and"]),
        (
            ["--space", "adaptive_noise", "--range", "noise/warmup_epochs=500"],
            ["noise can begin at none of its points", "noise.warmup_epochs = 500"],
        ),
        (
            ["--configs", "settings.json", "--range", "noise/window=3"],
            ["ranges (--range) = noise/window", "configs (--configs)", "leave one of the two out"],
        ),
        (["--space", "nowhere.yaml"], ["space (--space) = 'nowhere.yaml'", "can't be read"]),
        (["--space", "nowhere:f"], ["'nowhere:f'", "no module 'nowhere'"]),
        (["--space", "things_of_mine:f"], ["has no 'f'", "space"]),
        (["--space", "things_of_mine:cost"], ["it raised TypeError"]),
        (
            ["--space", "mine.yaml", "--sampler", "gp"],
            ["sampler (--sampler) = 'gp'", "space 'mine.yaml'", "take tpe or random"],
        ),
        (["--metric", "macro_f"], ["metric (--metric) = 'macro_f'", "did you mean 'macro_f1'"]),
        (["--metric", "things_of_mine:f"], ["has no 'f'"]),
        (["--metric", "things_of_mine:space"], ["declares no direction and unit"]),
        (
            ["--metric", "things_of_mine:crooked"],
            ["'things_of_mine:crooked'", "a tensor of shape (64, 10); give one number"],
        ),
        (["--objective", "tail_val_cost"], ["tail_val_cost", "allowed"]),
        (
            ["--metric", "things_of_mine:cost", "--objective", "tail_val_costs"],
            ["objective = 'tail_val_costs'", "did you mean 'tail_val_cost'"],
        ),
        (
            ["--metric", "things_of_mine:cost", "--decide-by", "final_test_cost"],
            ["margin (--margin) = None: none is declared for final_test_cost", "in euros"],
        ),
        (["--decide-by", "final_test_auc"], ["none is declared for final_test_auc", "in AUC"]),
    ],
)
def test_what_is_wrong_is_one_message_and_nothing_is_written(
    words: list[str], said: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--storage", str(work / "studies"), *SMALL, *words]) == 2
    message = capsys.readouterr().err
    assert message.startswith("noise-study: ")
    assert "Traceback" not in message
    for each in said:
        assert each in message
    assert not (work / "studies").exists()


def test_a_task_of_ones_own_declares_its_metrics_itself() -> None:
    with pytest.raises(InputError, match=r"metric \(--metric\) = 'auc': a task of your own declar"):
        study_config(["--task", "things_of_mine:Task", "--metric", "auc"])


def test_ranges_of_a_file_and_of_the_command_line_are_laid_over_each_other(work: Path) -> None:
    values = {"ranges": {"noise/patience": [1, 2], "noise/window": "3..4"}}
    (work / "study.json").write_text(json.dumps(values))
    config = checked("--config", "study.json", "--range", "noise/window=3")
    assert config.ranges == {"noise/patience": [1, 2], "noise/window": 3}
    # As it is stored, and read again.
    again = parse_config(StudyConfig, json.loads(config.model_dump_json()))
    assert differences(config, again) == []
    other = checked("--range", "noise/patience=1,3", "--range", "noise/window=3")
    assert differences(config, other) == ["ranges/noise/patience = [1, 3], stored: [1, 2]"]


def test_given_configurations_take_the_policy_of_ones_own_space_and_no_ranges(work: Path) -> None:
    (work / "mine.yaml").write_text("policy: always\ndimensions: {noise/magnitude: 0.1..1}\n")
    words = ["--space", "mine.yaml", "--configs", "settings.json"]
    config = checked(*words)
    assert config.configs is not None
    assert checked_entry(config, 0, config.configs[0]).noise.policy == "always"
    (work / "study.json").write_text(json.dumps({"ranges": {"noise/magnitude": "0.2..0.5"}}))
    with pytest.raises(InputError, match="leave one of the two out"):
        checked("--config", "study.json", *words)


def test_a_study_keeps_what_its_own_space_was(work: Path) -> None:
    config = checked("--space", "mine.yaml")
    stored = json.loads(config.model_dump_json())
    (work / "mine.yaml").write_text(YAML.replace("1..5", "1..6"))
    again = check_study(parse_config(StudyConfig, stored))
    assert space_of(again).distributions(again.train)["noise/patience"].high == 5
    changed = differences(config, checked("--space", "mine.yaml"))
    assert changed == ["own_space/dimensions/noise/patience = '1..6', stored: '1..5'"]
    # As the configuration of another study: what it was; another space is another one.
    (work / "study.json").write_text(json.dumps(stored))
    taken = checked("--config", "study.json")
    assert taken.own_space == config.own_space
    assert checked("--config", "study.json", "--space", "noise").own_space is None
    read_anew = checked("--config", "study.json", "--space", "mine.yaml")
    assert space_of(read_anew).distributions(taken.train)["noise/patience"].high == 6


def test_code_that_only_a_file_names_is_not_run(work: Path) -> None:
    for values in (
        {"space": "things_of_mine:space"},
        {"train": {"measured": ["things_of_mine:cost"]}},
    ):
        (work / "study.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match=r"--trust things_of_mine:(space|cost)"):
            checked("--config", "study.json")
        assert not (work / "it-ran").exists()
    # What a study stored of its space is no code.
    document = {"dimensions": {"noise/patience": "1..3", "noise/warmup_epochs": 0}}
    values = {"space": "things_of_mine:space", "own_space": document}
    (work / "study.json").write_text(json.dumps(values))
    assert checked("--config", "study.json").own_space is not None
    assert not (work / "it-ran").exists()


def test_the_name_of_a_figure_asks_for_its_metric(work: Path) -> None:
    config = checked("--objective", "tail_val_macro_f1", "--decide-by", "test_balanced_accuracy")
    assert [each.name for each in config.train.measured] == ["macro_f1", "balanced_accuracy"]
    assert config.modes == ("max",)
    own = checked("--metric", "things_of_mine:cost", "--objective", "final_val_cost")
    assert own.modes == ("min",)
    assert own.train.metrics["final_val_cost"].unit == "euros"
    assert checked().train.measured == ()
