"""Code that a file names is not run unasked, by no command; and runs say whose source they have."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.commands.analysis import main as noise_analysis
from study.campaigns.experiment_grid import small as small_grid
from study.campaigns.own_code import late_codes, record_late, with_code
from study.campaigns.session import Session
from study.commands.study import main as noise_study
from study.commands.test import main as noise_test
from study.commands.train import main as noise_train
from study.config import StudyConfig
from study.presets import standard
from study.records.folder import StudyFolder
from study.run.weights_file import FORMAT
from trainables.code_identity import code_identity
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError
from trainables.models.registry import build_configured

NAME = "visiting_net:build"
NET = """
from pathlib import Path
from torch import nn
import visiting_parts

Path("it-ran").touch()

def build(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))
"""
SMALL = (
    *("--dataset", "synthetic", "--synthetic-train", "240", "--synthetic-test", "100"),
    *("-b", "32", "-e", "2", "-g", "cpu", "--policy", "off", "--save-as", "mine.pth"),
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module that leaves a mark when it runs; nobody trusts it yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "visiting_net.py").write_text(NET)
    (tmp_path / "visiting_parts.py").write_text("X = 1\n")
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in ("visiting_net", "visiting_parts"):
        sys.modules.pop(name, None)


def ran(folder: Path) -> bool:
    return (folder / "it-ran").exists()


def small_run(name: str = NAME) -> TrainConfig:
    changes = {"model/classifier": name, "data/dataset": "digits", "device": "cpu", "epochs": 2}
    return apply_overrides(standard().train, changes)


def weights(path: Path, name: str) -> None:
    content = {"format": FORMAT, "config": small_run(name).model_dump_json(), "epoch": 0}
    model = {"1.weight": torch.zeros(10, 3072), "1.bias": torch.zeros(10)}
    torch.save({**content, "classes": [*"0123456789"], "metrics": {}, "model": model}, path)


def stored_study(**changes: Any) -> StudyConfig:
    config = StudyConfig(name="theirs", train=small_run(), **changes)
    folder = Path("studies/theirs")
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(config.model_dump_json())
    return config


def a_file(values: object) -> str:
    Path("theirs.json").write_text(json.dumps(values))
    return "theirs.json"


def as_weights() -> list[str]:
    weights(Path("theirs.pth"), NAME)
    return ["-c", "theirs.pth"]


def as_run_config() -> list[str]:
    return ["--config", a_file(small_run().model_dump(mode="json"))]


def as_study_config() -> list[str]:
    config = StudyConfig(train=small_run()).model_dump(mode="json")
    return ["run", "--config", a_file(config)]


def as_entry() -> list[str]:
    entry = {"model/classifier": NAME, "noise/layers": ["weight"]}
    return ["run", "--configs", a_file([entry])]


def as_study(verb: str) -> Callable[[], list[str]]:
    def words() -> list[str]:
        stored_study()
        return [verb, "theirs"]

    return words


def as_grid() -> list[str]:
    config = small_grid().model_dump(mode="json")
    return ["experiment", "--config", a_file({**config, "classifiers": [NAME]})]


Command = Callable[[Sequence[str]], int]
WAYS: list[tuple[Command, Callable[[], list[str]]]] = [
    (noise_test, as_weights),
    (noise_train, as_run_config),
    (noise_study, as_study_config),
    (noise_study, as_entry),
    (noise_study, as_study("resume")),
    (noise_study, as_study("confirm")),
    (noise_study, as_grid),
]


@pytest.mark.parametrize(("command", "words"), WAYS)
def test_a_file_runs_no_code_unasked(work, capsys, command, words):
    line = words()
    before = sorted(work.rglob("*"))
    assert command(line) == 2
    said = capsys.readouterr().err
    assert "theirs" in said
    assert NAME in said
    assert f"--trust {NAME}" in said
    assert len(said.splitlines()) == 1
    assert not ran(work)
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize("name", ["os:_exit", "trainables.models.registry:os._exit"])
def test_a_weights_file_ends_nothing(work, capsys, name):
    weights(work / "evil.pth", name)
    assert noise_test(["-c", "evil.pth"]) == 2
    assert name in capsys.readouterr().err


def test_weights_are_evaluated_once_trusted_and_then_without_a_question(work, capsys):
    line = as_weights()
    assert noise_test([*line, "--trust", NAME]) == 0
    assert ran(work)
    assert noise_test(line) == 0
    # It is the source that is trusted.
    (work / "visiting_parts.py").write_text("X = 2\n")
    capsys.readouterr()
    assert noise_test(line) == 2
    assert "not the one that you trusted before" in capsys.readouterr().err


def test_a_single_run_goes_on_with_its_own_source_only(work, capsys):
    assert noise_train(["-c", NAME, *SMALL]) == 0
    config = json.loads((work / "checkpoints/metrics/mine/config.json").read_text())
    assert config["model"]["code"] == list(code_identity(NAME))
    assert noise_train(["-c", NAME, *SMALL, "--resume"]) == 0
    (work / "visiting_parts.py").write_text("X = 2\n")
    capsys.readouterr()
    assert noise_train(["-c", NAME, *SMALL, "--resume"]) == 2
    assert "another source of visiting_parts" in capsys.readouterr().err
    # Its weights can be looked at, with a word about it.
    assert noise_test(["-c", "checkpoints/mine.pth", "-m", NAME]) == 0
    assert "source of visiting_parts was changed" in capsys.readouterr().err
    # Trained anew, the earlier run is kept.
    assert noise_train(["-c", NAME, *SMALL]) == 0
    assert (work / "checkpoints/mine~1.pth").exists()


def test_a_run_of_an_earlier_version_says_nothing_of_its_source_and_goes_on(work):
    assert noise_train(["-c", NAME, *SMALL]) == 0
    path = work / "checkpoints/metrics/mine/config.json"
    values = json.loads(path.read_text())
    del values["model"]["code"]
    path.write_text(json.dumps(values))
    assert noise_train(["-c", NAME, *SMALL, "--resume"]) == 0


def test_a_grid_goes_on_with_its_own_source_only(work, capsys):
    grid = small_grid().model_copy(update={"classifiers": (NAME,)})
    stored = grid.model_copy(update={"codes": {NAME: code_identity(NAME)}})
    folder = work / "studies" / "experiment"
    folder.mkdir(parents=True)
    (folder / "experiment_config.json").write_text(stored.model_dump_json())
    (work / "visiting_parts.py").write_text("X = 2\n")
    before = sorted(work.rglob("*"))
    assert noise_study(["experiment", "--classifiers", NAME]) == 2
    assert "source of visiting_parts" in capsys.readouterr().err
    assert sorted(work.rglob("*")) == before


def test_another_version_of_the_source_on_a_node_is_an_error_that_names_it(work):
    run = small_run().with_identities({NAME: code_identity(NAME)})
    assert build_configured(run, 10) is not None
    (work / "visiting_parts.py").write_text("X = 2\n")
    with pytest.raises(InputError, match="source of visiting_parts"):
        build_configured(run, 10)


def test_a_study_without_a_source_goes_on_and_records_it_once(work):
    config = stored_study()
    folder = StudyFolder.of("studies", "theirs")
    same = with_code(config, folder)
    assert same == config
    session = Session(folder, config, None)
    session.begin(objectives=config.objective, asked="")
    for _ in range(2):
        record_late(session, late_codes(config))
    study = session.state().study
    assert study is not None
    assert json.loads(study.tags["code"]) == {NAME: list(code_identity(NAME))}
    assert "note.2" not in study.tags
    assert with_code(config, folder) == config
    (work / "visiting_parts.py").write_text("X = 2\n")
    with pytest.raises(InputError, match="source of visiting_parts"):
        with_code(config, folder)
    now = with_code(config, folder, accept=True)
    assert (now.train.model.code, now.code_changes) == (code_identity(NAME), 1)


def test_a_list_of_given_configurations_is_not_trained_twice(work):
    code = code_identity(NAME)
    model = small_run().model.model_copy(update={"code": code})
    config = stored_study(configs=({"noise/patience": 3},))
    config = config.model_copy(update={"train": config.train.model_copy(update={"model": model})})
    (work / "studies/theirs/study.json").write_text(config.model_dump_json())
    folder = StudyFolder.of("studies", "theirs")
    assert with_code(config, folder, accept=True) == config
    (work / "visiting_parts.py").write_text("X = 2\n")
    with pytest.raises(InputError, match="list of given configurations"):
        with_code(config, folder, accept=True)


def test_only_reading_a_study_needs_no_trust(work):
    stored_study()
    assert noise_analysis(["compare", "theirs"]) == 2  # It has too few studies.
    assert noise_study(["list"]) == 0
    assert not ran(work)


OPTIONS = ("-c", "--dataset", "--optimizer", "--lr-schedule", "--augment", "--metric", "--space")


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("at", ["import", "call"])
def test_code_that_ends_its_process_is_told_by_name(work, capsys, option, at):
    body = "def ends(*given, **named):\n    raise SystemExit(0)\n"
    if at == "import":
        body += "ends()\n"
    elif option == "--metric":
        body = f'from trainables.metric_config import metric\n@metric("max", "points")\n{body}'
    (work / "visiting_net.py").write_text(body)
    assert noise_study(["run", option, "visiting_net:ends", "--storage", "studies"]) == 2
    said = capsys.readouterr().err
    assert "'visiting_net:ends'" in said
    assert "raised SystemExit: " in said
    assert not (work / "studies").exists()


@pytest.mark.parametrize("body", ["raise SystemExit(0)", "def ends():\n    raise SystemExit(0)"])
def test_data_that_end_the_process_are_told_when_they_are_checked(work, capsys, body):
    (work / "visiting_net.py").write_text(f"{body}\n")
    assert noise_study(["check-data", "--dataset", "visiting_net:ends"]) == 2
    assert "raised SystemExit: " in capsys.readouterr().err
