"""The scripts of ``examples/`` run as they stand."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from study.checks import check_train
from tests.support.notebooks import executed
from tests.support.trained_studies import write_study
from trainables.config import TrainConfig

ROOT = Path(__file__).parents[1]
_ADDED = re.compile(r"noise|callback|e\.(forward|before_step|validated)|settings", re.I).search


def output(script: str, folder: Path) -> list[str]:
    """The lines that a script prints, run in a folder of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_every_script_is_run_here_and_listed() -> None:
    tests, listed = Path(__file__).read_text(), (ROOT / "examples" / "README.md").read_text()
    for script in (
        path for end in ("py", "ipynb") for path in (ROOT / "examples").glob(f"*.{end}")
    ):
        assert f'"{script.name}"' in tests
        assert f"]({script.name})" in listed


def test_a_space_and_a_metric_of_ones_own(tmp_path: Path) -> None:
    *dimensions, points, cost, trained = output("own_space.py", tmp_path)
    assert "noise/window IntDistribution(high=3, log=False, low=3, step=1)" in dimensions
    assert points == "0 of 256 points can't begin"
    # Ten images of class 0 at 10, eighty others at 1, of a hundred.
    assert cost == "cost of always class 1: 1.7999999523162842"
    # Of a tenth of them, ten, of the others one: nobody who learned something pays as much.
    assert 0 < float(trained.split()[-2]) < 1.8


def test_data_of_ones_own(tmp_path: Path) -> None:
    held, fine, streamed, fine_too = output("own_data.py", tmp_path)
    assert held.startswith("own_data:arrays (8×8 pixels, grey): [")
    assert streamed == "own_data:stripes: [360, 40, 100], classes across, upright"
    assert fine == fine_too == "nothing wrong was found"


def test_photos_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, *_, trials, photo = output("photos.py", tmp_path)
    assert first.startswith("each becomes 48×48 pixels")
    assert trials == "2 trials, 1 baseline"
    assert photo == f"a photo: {48 * 48} bytes"
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_a_classifier_of_ones_own_and_its_weights(tmp_path: Path) -> None:
    lines = output("own_classifier.py", tmp_path)
    first, second, *timms = (float(line.split(": ")[1]) for line in lines)
    assert first < second
    assert len(timms) == bool(find_spec("timm"))


def test_a_study_and_reading_it(tmp_path: Path) -> None:
    lines = [line for line in output("study_from_python.py", tmp_path) if line.startswith("trial-")]
    assert len(lines) == 4
    assert (tmp_path / "studies" / "from-python" / "summary.json").exists()
    read = output("read_results.py", tmp_path)
    assert len([line for line in read if line.startswith("baseline, seed ")]) == 2
    assert len([line for line in read if line.startswith("trial-")]) == 4
    assert any(line.startswith("13 runs, ") for line in read)
    assert [line.split()[0] for line in read[-5:]] == ["1", "2", "3", "4", "5"]


def test_a_picture_of_forking(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    write_study(tmp_path / "studies", "from-python")
    output("forking_picture.py", tmp_path)
    assert (tmp_path / "forking.png").stat().st_size < 150_000


def test_a_single_run(tmp_path: Path) -> None:
    *epochs, last = output("single_run.py", tmp_path)
    assert [line.split()[0] for line in epochs] == [str(epoch) for epoch in range(1, 9)]
    assert any("injecting" in line for line in epochs)
    assert last.startswith("best epoch ")
    assert not list(tmp_path.iterdir())


def test_training_of_ones_own(tmp_path: Path) -> None:
    rate, weights, grey, trained = output("own_training.py", tmp_path)
    assert [float(word) for word in rate.split(": ")[1].split()] == [0.1, 1.0, 0.2]
    assert weights.endswith("[0.8999999761581421, 1.100000023841858, 1.0, 0.8999999761581421]")
    assert grey == f"grey pixels: {5 * 8 * 8}"
    assert float(trained.split(": ")[1]) > 0.2
    train = {
        "optimizer": {
            "optimizer": "examples.own_training:lion",
            "lr_schedule": "examples.own_training:trapezoid",
        },
        "data": {"augment": "examples.own_training:erased"},
    }
    config = TrainConfig.model_validate(train)
    assert check_train(config) == config


@pytest.mark.slow
@pytest.mark.parametrize("script", ["own_loop.py", "own_loop_lightning.py", "own_loop_trainer.py"])
def test_a_loop_of_ones_own_is_freed_by_noise(script: str, tmp_path: Path) -> None:
    found = re.fullmatch(
        r"without noise (0\.\d+), with adaptive noise (0\.\d+)", output(script, tmp_path)[-1]
    )
    assert found is not None
    without, with_noise = map(float, found.groups())
    assert without < 0.15
    assert with_noise > 2 * without
    # What the noise adds to a loop that is there.
    added = [line for line in (ROOT / "examples" / script).read_text().splitlines() if _ADDED(line)]
    assert len(added) <= 25


@pytest.mark.slow
def test_a_grid(tmp_path: Path) -> None:
    lines = [line for line in output("grid_from_python.py", tmp_path) if " complete " in line]
    assert len(lines) == 4
    assert (tmp_path / "studies" / "grid-from-python" / "experiment.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "name", "confirmed"),
    [("tabular_task.py", "Diabetes", True), ("language_task.py", "HelpTexts", False)],
)
def test_a_task_of_ones_own_from_a_run_to_its_report(
    script: str, name: str, confirmed: bool, tmp_path: Path
) -> None:
    task = f"examples.{script.removesuffix('.py')}:{name}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path / "own")}
    small = ["--epochs", "8", "--trials", "2", "--race-seeds", "1", "--baseline-seeds", "1"]
    small += ["--max-concurrent", "1"]
    confirm = ["noise-study", "confirm", "mine", "--top", "1", "--seeds", "2"]
    for command in (
        ["noise-study", "run", "--task", task, "--name", "mine", *small],
        *([confirm] if confirmed else []),
        ["noise-analysis", "report", "mine"],
    ):
        words = [str(Path(sys.executable).parent / command[0]), *command[1:]]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "studies" / "mine" / "report.html").exists()


@pytest.mark.slow
def test_the_notebook_was_executed_and_runs_again(tmp_path: Path) -> None:
    notebook = ROOT / "examples" / "notebook.ipynb"
    for cells in (nbformat.read(notebook, as_version=4).cells, executed(notebook, tmp_path).cells):
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        outputs = [output for cell in code for output in cell.outputs]
        assert {output.output_type for output in outputs} <= {
            "stream",
            "display_data",
            "execute_result",
        }
        # What is returned shows itself as a table; Tune and Ray say nothing.
        tables = [each for each in outputs if "<table" in each.get("data", {}).get("text/html", "")]
        assert len(tables) == 4
        progress = [each for each in outputs if " running · " in str(each.get("data"))]
        assert len(progress) == 1
        assert [each.name for each in outputs if each.output_type == "stream"] == ["stdout"] * 3
    assert (tmp_path / "studies" / "notebook" / "report.html").exists()
