"""Every command has a function: the guide's table says which, and they do what the commands do."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

import analysis.api
import study.api
from analysis.commands.analysis import COMMANDS as ANALYSES
from analysis.commands.analysis import main as noise_analysis
from study.api import (
    evaluate,
    inspect_data,
    list_studies,
    run_controls,
    train_run,
    write_contact_sheet,
)
from study.commands.study import COMMANDS as STUDIES
from study.commands.study import main as noise_study
from study.commands.test import main as noise_test
from study.run.single_run import SingleRunOptions
from tests.support.trained_studies import write_study
from trainables.config import DataConfig, TrainConfig
from trainables.errors import InputError

GUIDE = (Path(__file__).parents[1] / "docs" / "guide.md").read_text()
FROM_PYTHON = GUIDE[GUIDE.index("## From Python") :]
RUN = TrainConfig(
    data=DataConfig(
        dataset="synthetic",
        synthetic_train=120,
        synthetic_test=40,
        synthetic_classes=2,
        batch_size=20,
    ),
    epochs=1,
)


def test_every_command_is_in_the_guides_table_with_functions_that_are_there() -> None:
    for prog, commands in (("noise-study", STUDIES), ("noise-analysis", ANALYSES)):
        named = " ".join(re.findall(rf"`{prog} [^|\n]*", FROM_PYTHON))
        assert [name for name in commands if not re.search(rf"\b{name}`", named)] == []
    rows = re.findall(r"^\| `noise-[^|]*\| ([^|]*) \|", FROM_PYTHON, re.M)
    functions = [name for row in rows for name in re.findall(r"`(\w+)[(`]", row)]
    offered = {*study.api.__all__, *analysis.api.__all__}
    assert len(functions) > 15
    assert set(functions) <= offered
    without = [row for row in rows if not re.search(r"`\w+[(`]", row)]
    assert without == []
    for module in (study.api, analysis.api):
        assert all(hasattr(module, name) for name in module.__all__)


def test_a_run_is_trained_and_evaluated_as_the_commands_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train_run(RUN, SingleRunOptions(checkpoint_dir=str(tmp_path), save_as="mine"))
    found = evaluate(result.weights)
    assert capsys.readouterr().out == ""
    assert found.test.accuracy == result.metrics["test_accuracy"]
    assert noise_test(["-c", str(result.weights), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["accuracy"] == found.test.accuracy
    other = evaluate(result.weights, {"data/synthetic_test": 60})
    assert (found.test.total, other.test.total) == (40, 60)
    with pytest.raises(InputError, match="optimizer"):
        evaluate(result.weights, {"optimizer/optimiser": "SGD"})


def test_studies_are_listed_and_reported(tmp_path: Path) -> None:
    assert list_studies(tmp_path) == []
    config = write_study(tmp_path, "mine")
    [line] = list_studies(tmp_path)
    assert (line.name, line.state) == ("mine", "complete")
    assert line.trials == f"{config.trials}/{config.trials}"
    written = analysis.api.report("mine", tmp_path)
    assert [path.name for path in written] == ["report.html"]
    with pytest.raises(InputError, match="no such"):
        analysis.api.report("no such", tmp_path)


def test_a_history_answers_what_settings_and_spaces_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, "mine")
    found = analysis.api.preview_noise(
        "mine", tmp_path, {"noise/warmup_epochs": 1, "noise/trigger_epochs": 1}
    )
    assert (found.noise.policy, found.noise.warmup_epochs) == ("on_stagnation", 1)
    words = ["--flag-min-epochs", "1", "--consecutive-flag-trigger", "1", "--no-picture"]
    assert noise_analysis(["preview", "mine", "--storage", str(tmp_path), *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(sentence in said for sentence in found.sentences())
    with pytest.raises(InputError, match="patiance"):
        analysis.api.preview_noise("mine", tmp_path, {"noise/patiance": 1})
    shares = analysis.api.space_shares("mine", tmp_path, "adaptive_noise", n=20)
    assert shares.space == "adaptive_noise"


def test_the_contact_sheet_is_the_commands(tmp_path: Path) -> None:
    found = inspect_data(RUN.data)
    write_contact_sheet(found.dataset, RUN.data, tmp_path / "one.png")
    words = ["--dataset", "synthetic", "--synthetic-train", "120", "--synthetic-test", "40"]
    words += ["--synthetic-classes", "2", "--sheet", str(tmp_path / "two.png")]
    assert noise_study(["check-data", *words]) == 0
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two


def test_controls_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean"):
        run_controls(["stuck"], out=str(tmp_path / "out"), console=Console(quiet=True))
    assert not list(tmp_path.iterdir())
