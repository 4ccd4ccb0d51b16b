"""What is exported is read again: configurations by noise-train, tables by other libraries."""

import csv
import json
from pathlib import Path

import pandas
import pytest

from analysis.commands.analysis import main
from analysis.export.result_table import result_table, to_latex, to_markdown
from analysis.reading import StudyView, load_study
from study.commands.train import main as noise_train
from tests.support.trained_studies import EPOCHS, TRIALS, write_study
from trainables.config import TrainConfig
from trainables.documents import read_mapping
from trainables.noise.assumed import assumed_of
from trainables.settings import parse_config


@pytest.fixture(scope="module")
def exported(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    command = ["export", "small", "--storage", str(storage), "--top", "2", "--out", str(folder)]
    assert main(command) == 0
    return folder


def test_configurations_are_those_of_the_best_trials(exported: Path, small: StudyView) -> None:
    files = (exported / "configs").iterdir()
    names = sorted(path.name for path in files if ".assumed." not in path.name)
    best = [trial.trial_id for trial in small.complete[:2]]
    assert names == sorted(
        f"{rank:02d}_{key}.{form}" for rank, key in enumerate(best, 1) for form in ("json", "yaml")
    )
    for name in names:
        config = parse_config(TrainConfig, read_mapping(exported / "configs" / name))
        assert config == small.train_config(name[3:13])


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_a_configuration_assumed_lies_beside_it(
    form: str, exported: Path, small: StudyView
) -> None:
    trial = small.complete[0].trial_id
    found = assumed_of(exported / "configs" / f"01_{trial}.{form}", None, EPOCHS)
    assert found.epochs == EPOCHS
    recorded = small.baselines[small.train_config(trial).seed].history
    assert found.baseline.grad_norm == tuple(row.grad_norm for row in recorded)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_noise_train_repeats_the_trial_bit_for_bit(
    form: str, exported: Path, small: StudyView, tmp_path: Path
) -> None:
    path = exported / "configs" / f"01_{small.complete[0].trial_id}.{form}"
    assert noise_train(["--config", str(path), "--checkpoint-dir", str(tmp_path)]) == 0
    (metrics,) = tmp_path.glob("metrics/*/epoch_metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    recorded = small.state.trials[path.name[3:13]].history
    assert len(rows) == EPOCHS
    for row, known in zip(rows, recorded, strict=True):
        assert {name: row[name] for name in known.to_dict()} == known.to_dict()


def test_csv_and_parquet_hold_every_run(exported: Path, small: StudyView) -> None:
    with (exported / "trials.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    frame = pandas.read_parquet(exported / "trials.parquet")
    assert len(lines) == len(frame) == 2 + len(TRIALS)
    assert list(frame.columns) == list(lines[0])
    by_key = frame.set_index("trial")
    for trial in small.summary.trials:
        assert by_key.loc[trial.trial_id, "state"] == trial.state
        assert by_key.loc[trial.trial_id, "best_val_accuracy"] == trial.value
        assert by_key.loc[trial.trial_id, "difference_best_val_accuracy"] == trial.paired_difference
        assert by_key.loc[trial.trial_id, "noise/magnitude_min"] == pytest.approx(
            trial.overrides.get("noise/magnitude_min", float("nan")), nan_ok=True
        )
    (row,) = [line for line in lines if line["trial"] == "trial-0004"]
    assert (row["state"], row["reason"]) == ("failed", "made to fail")
    assert row["forked_from"] == "" or int(row["forked_from"]) == int(row["epochs"])


def test_the_result_in_markdown_and_latex(small: StudyView) -> None:
    table = result_table(small)
    assert len(table.rows) == 1 + len(small.complete)
    assert table.rows[0][:2] == ("baseline", "2")
    markdown = to_markdown(table).splitlines()
    assert {line.count("|") for line in markdown[: 2 + len(table.rows)]} == {len(table.header) + 1}
    latex = to_latex(table)
    assert r"best\_val\_accuracy" in latex
    assert latex.count(r"\\") == 1 + len(table.rows)
    assert latex.isascii()


def test_an_unfinished_study_gives_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, "begun", trials=TRIALS[3:5], seeds=1, over=False)
    assert main(["export", "begun", "--storage", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "No trial is complete yet" in said.err
    assert len(pandas.read_parquet(tmp_path / "begun" / "export" / "trials.parquet")) == 3
    write_study(tmp_path, "empty", trials=(), seeds=0, over=False)
    assert main(["export", "empty", "--storage", str(tmp_path)]) == 0
    assert "No complete baseline" in capsys.readouterr().err


def test_pareto_takes_the_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, "two", objective=["best_val_accuracy", "generalization_gap"])
    assert main(["export", "two", "--storage", str(tmp_path), "--pareto"]) == 0
    capsys.readouterr()
    view = load_study(tmp_path, "two")
    files = {path.stem[3:] for path in (view.folder.path / "export" / "configs").glob("*.yaml")}
    assert isinstance(view.summary.best, list)
    assert files == set(view.summary.best)


@pytest.mark.parametrize(
    ("words", "said"), [(["--pareto"], "has one objective"), (["--top", "0"], "at least 1")]
)
def test_mistakes(
    words: list[str], said: str, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "small", "--storage", str(storage), "--out", str(tmp_path), *words]
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
