"""Metrics of one's own in a grid: what they say is recorded, wrong and changed ones are refused."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.campaigns.experiment import checked_with_codes
from study.campaigns.experiment_grid import (
    ExperimentConfig,
    baselines,
    check_experiment,
    noisy_runs,
    small,
)
from study.commands.study import main
from study.records.folder import StudyFolder
from trainables.code_identity import code_identity
from trainables.config import apply_overrides
from trainables.metric_config import MetricConfig
from trainables.settings import parse_config

NAME = "grid_metric:cost"
METRIC = """
from trainables.metric_config import metric

@metric("min", "euros", worst=5.0)
def cost(logits, labels):
    return ((logits.argmax(1) != labels) * 2.0).mean()

@metric("max", "points")
def crooked(logits, labels):
    return logits
"""


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid_metric.py").write_text(METRIC)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("grid_metric", None)


def grid(*measured: Any) -> ExperimentConfig:
    values = small().model_dump(mode="json")
    values["train"]["measured"] = measured
    return parse_config(ExperimentConfig, values)


def stored(config: ExperimentConfig) -> StudyFolder:
    folder = StudyFolder.of("studies", config.name)
    folder.path.mkdir(parents=True)
    folder.experiment.write_text(config.model_dump_json())
    return folder


def change_source(work: Path) -> None:
    (work / "grid_metric.py").write_text(METRIC.replace("2.0", "3.0"))
    sys.modules.pop("grid_metric", None)


def test_every_run_says_what_its_metrics_are_and_whose_source_they_have() -> None:
    config = check_experiment(grid("macro_f1", NAME))
    cost = MetricConfig(
        name="cost", function=NAME, mode="min", unit="euros", worst=5.0, code=code_identity(NAME)
    )
    for run in (*baselines(config), *noisy_runs(config)):
        assert apply_overrides(config.train, run.changes).measured[1] == cost
    # The same command goes on with it.
    folder = stored(config)
    assert checked_with_codes(grid("macro_f1", NAME), folder).train == config.train


def test_a_grid_without_metrics_of_ones_own_is_recorded_as_it_was() -> None:
    for config in (grid(), grid("macro_f1")):
        assert check_experiment(config).train.model_dump() == {
            **config.train.model_dump(),
            "device": "cpu",
        }


def test_what_is_begun_anew_measures_by_the_present_source(work: Path) -> None:
    before = check_experiment(grid(NAME))
    change_source(work)
    now = checked_with_codes(before, StudyFolder.of("studies", "other"))
    assert now.train.measured[0].code == code_identity(NAME) != before.train.measured[0].code


def _as_named() -> dict[str, Any]:
    return {"train": {"measured": [NAME]}}


def _as_stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        Path("studies/experiment/experiment_config.json").read_text()
    )
    return found


@pytest.mark.parametrize("asked", [_as_named, _as_stored])
def test_a_grid_does_not_go_on_with_a_changed_metric(
    asked: Any, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(check_experiment(grid(NAME)))
    (work / "grid.json").write_text(json.dumps(asked()))
    change_source(work)
    before = sorted((work / "studies").rglob("*"))
    assert main(["experiment", "--config", "grid.json", "--trust", NAME]) == 2
    message = capsys.readouterr().err
    assert "grid_metric" in message
    assert "another --name" in message
    assert sorted((work / "studies").rglob("*")) == before


def test_a_metric_that_fails_is_refused_before_anything_is_written(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = "grid_metric:crooked"
    (work / "grid.json").write_text(json.dumps({"train": {"measured": [own]}}))
    assert main(["experiment", "--config", "grid.json", "--trust", own]) == 2
    assert "a tensor of shape (64, 10); give one number" in capsys.readouterr().err
    assert not (work / "studies").exists()
