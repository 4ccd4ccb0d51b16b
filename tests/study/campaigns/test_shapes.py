"""Studies of images of another size, and of grey ones, from weights of a file: forked or not,
killed and resumed."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from analysis.commands.analysis import main as noise_analysis
from study.commands.study import main as noise_study
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from tests.support.data_sets import write_images
from tests.support.study_processes import ROOT, check_whole, count, study_process, wait_until
from trainables.models.registry import build_model

EPOCHS = 4
NOISY = (
    {
        "noise/policy": "on_stagnation",
        "noise/signals": ["low_weight_update"],
        "noise/weight_update_threshold": 1e3,
        "noise/warmup_epochs": 2,
        "noise/window": 2,
        "noise/trigger_epochs": 1,
    },
    {"noise/policy": "always", "noise/kind": "input", "noise/magnitude": 0.3},
)


def _ledger(storage: Path, name: str) -> LedgerState:
    return read_ledger(StudyFolder.of(storage, name).ledger)


@pytest.mark.slow
def test_a_study_of_large_grey_photos_is_the_same_forked_whole_and_killed_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos, configs = tmp_path / "photos", tmp_path / "configs.json"
    write_images(photos, train=40, test=20, size=70)
    configs.write_text(json.dumps(NOISY))
    storage = tmp_path / "studies"
    where = ["--storage", str(storage)]
    words = ["--dataset", "imagefolder", "--data-dir", str(photos), "--image-size", "64"]
    words += ["--channels", "1", "-c", "TinyCNN", "-b", "16", "-e", str(EPOCHS)]
    # Of colour and 32×32: the convolutions fit, the first one summed over the colours.
    torch.manual_seed(1)
    torch.save(build_model("TinyCNN", 10).state_dict(), weights := tmp_path / "weights.pt")
    # Relative to where the command is started, as people give it.
    monkeypatch.chdir(ROOT)
    words += ["--weights", os.path.relpath(weights)]
    words += ["--configs", str(configs), "--baseline-seeds", "1", "--max-concurrent", "1"]
    assert noise_study(["run", "--name", "whole", *where, *words, "--fork", "never"]) == 0
    ledger = StudyFolder.of(storage, "killed").ledger
    with study_process(["run", "--name", "killed", *where, *words]) as process:
        wait_until(lambda: count(ledger, '"trial":"trial-0000"') > 1, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert not all(r.finished for r in _ledger(storage, "killed").trials.values())
    assert noise_study(["resume", "killed", *where]) == 0

    # Killed and resumed it is forked all the same.
    whole, killed = (_ledger(storage, name).trials for name in ("whole", "killed"))
    assert killed["trial-0000"].fork_epoch == 2
    assert whole["trial-0000"].fork_epoch is None
    assert len(whole) == len(killed) == 1 + len(NOISY)
    for key, record in killed.items():
        assert str(record.history) == str(whole[key].history)
        assert len(record.history) == EPOCHS
    check_whole(storage / "killed")
    # Said once, in what is kept of the study.
    notes = json.loads((storage / "killed" / "summary.json").read_text())["notes"]
    told = [note for note in notes if note.startswith("runs start from 5 tensors of ")]
    assert len(told) == 1
    assert "fc1.weight (stored 128×4096" in told[0]
    for verb in ("report", "export"):
        assert noise_analysis([verb, "killed", *where]) == 0
    # The same command, with another size: it can't be the same study.
    assert noise_study(["run", "--name", "killed", *where, *words, "--image-size", "48"]) == 2
    capsys.readouterr()
    torch.save(build_model("TinyCNN", 10).state_dict(), weights)
    for command, told in (
        (["resume", "killed", *where], "it is not the file that this configuration was made with"),
        (["run", "--name", "killed", *where, *words], "model/content = "),
    ):
        assert noise_study(command) == 2
        assert told in capsys.readouterr().err
