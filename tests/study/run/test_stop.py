"""An interrupted run goes on exactly where it stopped."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from study.commands.train import main
from study.run import single_run as single_run_module
from study.run.epoch_log import EpochLog
from study.run.files import RunFiles
from tests.support.single_runs import LONG, SMALL, Artefacts, artefacts, same_files, train

pytestmark = pytest.mark.usefixtures("few_threads")


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_exactly(
    tmp_path: Path,
    uninterrupted: Artefacts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    words = [*SMALL, *LONG, "--checkpoint-dir", str(tmp_path)]
    write = EpochLog.write

    def interrupt(self: EpochLog, row: Any, *rest: Any) -> None:
        write(self, row, *rest)
        if row.epoch == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(EpochLog, "write", interrupt)
        assert main(words) == 128 + number
    said = capsys.readouterr().err
    assert "interrupted after 3 complete epochs" in said
    assert said.rstrip().endswith("--resume")
    stopped = artefacts(tmp_path)
    assert len(stopped.epochs) == 3
    assert stopped.files.weights_files(), "usable weights are there"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert main([*words, "--resume"]) == 0
    same_files(artefacts(tmp_path), uninterrupted)


def test_lines_ahead_of_the_checkpoint_are_written_once(
    tmp_path: Path, uninterrupted: Artefacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between an epoch's lines and its checkpoint, with half a line on top."""
    words = [*SMALL, *LONG, "--checkpoint-dir", str(tmp_path)]
    save = single_run_module.save_state

    def fail(path: Path, state: Any) -> int:
        if len(state["history"]) == 4:
            raise OSError(28, "No space left on device")
        return save(path, state)

    with monkeypatch.context() as patched:
        patched.setattr(single_run_module, "save_state", fail)
        assert main(words) == 1
    stopped = artefacts(tmp_path)
    assert len(stopped.epochs) == 4
    with (stopped.files.metrics / "noise.jsonl").open("a") as file:
        file.write('{"epoch": 4, "kin')
    assert main([*words, "--resume"]) == 0
    same_files(artefacts(tmp_path), uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_leaves_what_is_needed_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    """From outside: Ctrl-C, and a kill that nobody can answer; then it goes on exactly."""
    long = (*LONG, "-e", "50")
    words = [*SMALL, *long, "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    process = subprocess.Popen(
        [sys.executable, "-m", "study.commands.train", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    epochs = 0
    for line in process.stdout:
        epochs += line.startswith("epoch ")
        if epochs == 3:
            process.send_signal(number)
            break
    _, errors = process.communicate(timeout=60)
    stopped = artefacts(tmp_path)
    done = len(stopped.epochs)
    assert 3 <= done < 50
    assert stopped.column("noise", "epoch") == list(range(done))
    assert torch.load(tmp_path / "mine.pth", weights_only=True)["epoch"] < done
    assert stopped.files.state.exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"after {done} complete epochs" in errors
        assert "--save-as mine --resume" in errors
    assert main([*words, "--resume"]) == 0
    train(tmp_path / "whole", *long, "--save-as", "mine")
    same_files(
        *(Artefacts(RunFiles(at, "mine", "mine.pth")) for at in (tmp_path, tmp_path / "whole"))
    )
