"""Every command has a function: the guide's table says which, and they do what the commands do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import analysis.api
import study.api
from analysis.commands.analysis import COMMANDS as ANALYSES
from analysis.commands.analysis import main as noise_analysis
from study.api import (
    ConfirmConfig,
    ExperimentConfig,
    StudyConfig,
    evaluate,
    inspect_data,
    list_studies,
    run_confirm,
    run_controls,
    run_experiment,
    run_study,
    train_run,
    write_contact_sheet,
)
from study.commands.study import COMMANDS as STUDIES
from study.commands.study import main as noise_study
from study.commands.test import main as noise_test
from study.records.folder import StudyFolder
from study.records.storage import Storage
from study.run.single_run import SingleRunOptions
from tests.support.data_sets import folder_config, write_images
from tests.support.trained_studies import write_study
from trainables.config import DataConfig, ModelConfig, TrainConfig
from trainables.errors import InputError
from trainables.noise_config import NoiseConfig

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
    assert found.to_frame()["accuracy"][0] == found.test.accuracy
    assert f"{found.test.correct} of 40 images right" in found._repr_html_()
    by_figure = result.to_frame().set_index("figure")["value"]
    assert by_figure["test_accuracy"] == found.test.accuracy
    assert "<td>test_accuracy</td>" in result._repr_html_()
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
    listed = list_studies(tmp_path)
    assert "<td>mine</td>" in listed._repr_html_()
    [line] = listed
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


OLD, NEW = (1, "stretch"), (2, "crop")
FOLDER: dict[str, Any] = {"dataset": "imagefolder", "data_dir": "photos"}


@pytest.mark.parametrize(
    ("stored", "fields", "expected"),
    [
        (None, FOLDER, NEW),
        (None, {**FOLDER, "fit": "pad"}, (2, "pad")),
        (None, {**FOLDER, "decoding": 1, "fit": "stretch"}, OLD),
        # As a study or run recorded it, before there was a choice.
        (None, {**FOLDER, "classes": ["a", "b"]}, OLD),
        (None, DataConfig(**FOLDER).model_dump(), OLD),
        (None, {"dataset": "digits"}, OLD),
        (OLD, FOLDER, OLD),
        (OLD, {**FOLDER, "fit": "crop"}, (1, "crop")),
        (NEW, FOLDER, NEW),
    ],
)
def test_new_photos_are_decoded_as_by_the_commands(
    stored: tuple[int, str] | None,
    fields: dict[str, Any],
    expected: tuple[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    for name in ("_run_study", "_run_confirm", "_run_experiment"):
        monkeypatch.setattr(study.api, name, lambda config, *_, **__: asked.append(config))
    where: dict[str, Any] = {"name": "mine", "storage": str(tmp_path)}
    train = TrainConfig(data=DataConfig(**fields))
    noisy = train.model_copy(update={"noise": NoiseConfig(policy="on_stagnation")})
    search, grid = StudyConfig(train=train, **where), ExperimentConfig(train=noisy, **where)
    folder = StudyFolder.of(Storage.of(str(tmp_path)), "mine")
    for config, path in ((search, folder.config), (grid, folder.experiment)):
        if stored is not None:
            data = DataConfig(**FOLDER, decoding=stored[0], fit=stored[1])
            begun = config.model_copy(
                update={"train": config.train.model_copy(update={"data": data})}
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(begun.model_dump_json())
    run_study(search)
    run_confirm(search, ConfirmConfig())
    run_experiment(grid)
    assert [(c.train.data.decoding, c.train.data.fit) for c in asked] == [expected] * 3


def test_photos_are_looked_at_and_trained_on_as_by_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = folder_config(write_images(tmp_path / "photos", train=4, test=2), batch_size=4)
    found = inspect_data(data)
    assert "the middle square; turned by EXIF orientation" in found.remarks[0]
    counts = found.to_frame().set_index("class").to_dict("index")
    assert counts["cat"] == found.counts["cat"] == {"training": 3, "validation": 1, "test": 2}
    assert found.remarks[1] in found._repr_html_()
    options = SingleRunOptions(checkpoint_dir=str(tmp_path), save_as="mine")
    model = ModelConfig(classifier="TinyCNN")
    result = train_run(TrainConfig(data=data, model=model, epochs=1), options)
    assert (result.config.data.decoding, result.config.data.fit) == NEW


def test_controls_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean"):
        run_controls(["stuck"], out=str(tmp_path / "out"), console=Console(quiet=True))
    assert not list(tmp_path.iterdir())
