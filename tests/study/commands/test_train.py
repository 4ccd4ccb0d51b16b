"""``noise-train``: what it prints, what it advises, and bad input."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from study.commands.test import main as evaluate
from study.commands.train import main
from study.run.files import find_runs
from tests.support.single_runs import OFF, SMALL, STATIC

pytestmark = pytest.mark.usefixtures("few_threads")


ROOT = Path(__file__).parents[3]


def test_print_config_is_a_configuration_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--preset", "paper-as-run", "-c", "baby_cnn", "--print-config"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["noise"]["window"], printed["noise"]["warmup_epochs"]) == (70, 10)
    assert printed["model"]["classifier"] == "BabyCNN"
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "printed.json"
    file.write_text(json.dumps(printed))
    assert main(["--config", str(file), "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_what_is_said_to_be_next_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, *STATIC, "-e", "1", "--checkpoint-dir", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    commands = [shlex.split(line) for line in said.partition("next:")[2].splitlines() if line]
    assert [command[0] for command in commands] == ["noise-test", "noise-train", "noise-train"]
    assert evaluate(commands[0][1:]) == 0
    assert [main(command[1:]) for command in commands[1:]] == [0, 0]
    assert len(find_runs(tmp_path)) == 3, "beside the first"


def test_divergence_is_said_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--checkpoint-dir", str(tmp_path), *STATIC, "--scaling", "absolute"]
    assert main([*words, "-nm", "1e18", "-e", "3"]) == 1
    said = capsys.readouterr()
    assert "diverged" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "did you mean --epochs?"),
        (["--lr", "0"], "optimizer.lr (--lr) = '0'"),
        (["-b", "300"], "300"),
        (["-c", "BabyCN"], "did you mean 'BabyCNN'"),
        (["--dataset", "digit"], "did you mean 'digits'"),
        (["--preset", "readm"], "did you mean 'readme'"),
        (["--dataset", "imagefolder", "-d", "nowhere"], "nowhere"),
        (["--dataset", "cifar10"], "--download"),
        (["--policy", "on_stagnation", "-e", "3"], "noise could never begin"),
        (["-nl", "convolution"], "conv1.weight"),
        (["-g", "0,1"], "--gpus-per-trial"),
        (["-g", "7x"], "--gpu = 7x"),
        (["--device", "cpu"], "--gpu = cpu and --device = cpu say the same thing"),
        (["--save-as", "a/b.pth"], "--checkpoint-dir"),
        (["--config", "missing.json"], "missing.json"),
        (["--checkpoint-dir", "/dev/null/x"], "--checkpoint-dir"),
        (["--tracking-uri", "mlruns"], "tracking_uri"),
        (["--relative-max-noise", "0"], "--relative-min-noise"),
        (["-w"], "download_weights"),
        (["--weights", "nowhere.pt"], "model.weights (--weights) = 'nowhere.pt': can't be read"),
        (["--resume"], "--resume: no run"),
        (["-c", "nowhere:model"], "nowhere"),
    ],
)
def test_bad_input_is_answered_once_and_nothing_is_written(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, *OFF, *words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_metric_of_ones_own_is_tried_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "metric_tried_first.py").write_text(
        "from trainables.metric_config import metric\n\n"
        '@metric("max", "a share")\n'
        "def broken(logits, labels):\n    raise KeyError('no such class')\n"
    )
    name = "metric_tried_first:broken"
    (work / "asked.json").write_text(json.dumps({"measured": [name]}))
    before = {path.name for path in work.iterdir()}
    assert main([*SMALL, *OFF, "--config", "asked.json", "--trust", name]) == 2
    said = capsys.readouterr().err
    assert f"metric (--metric) = '{name}': on 64 samples of 10 classes it raised KeyError" in said
    assert {path.name for path in work.iterdir()} - {"__pycache__"} == before


@pytest.mark.parametrize("words", [["--lr", "x"], ["--nois"], ["--print-config"], ["--help"]])
def test_what_needs_no_torch_does_not_wait_for_it(words: list[str]) -> None:
    code = (
        "import sys; from study.commands.train import main; main(sys.argv[1:]); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'ray', 'mlflow', 'optuna')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_without_a_gpu_the_run_says_that_it_uses_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is one")
    small = SMALL[:-2]
    assert main([*small, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path / "a")]) == 0
    assert "uses the CPU" in capsys.readouterr().out
    words = [*small, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path / "b"), "-g", "0"]
    assert main(words) == 0
    assert "using the CPU" in capsys.readouterr().err
