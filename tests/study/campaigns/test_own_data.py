"""Studies of data by a function of one's own: forked or not, killed and resumed, confirmed."""

import json
import os
import signal
from pathlib import Path

import pytest

from study.commands.study import main as noise_study
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from tests.support.study_processes import ROOT, check_whole, count, study_process, wait_until

EPOCHS = 4
NOISY = {
    "noise/policy": "on_stagnation",
    "noise/signals": ["low_weight_update"],
    "noise/weight_update_threshold": 1e3,
    "noise/warmup_epochs": 2,
    "noise/window": 2,
    "noise/trigger_epochs": 1,
}
MODULE = """
import numpy as np


def data(folder):
    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    high = int(open(f"{folder}/high").read())
    images = random.integers(0, high, (80, 12, 12)) + (labels * 40)[:, None, None]
    images = images.astype(np.uint8)
    return (images[:60], labels[:60]), (images[60:], labels[60:]), ["dark", "bright"]
"""


def _ledger(storage: Path, name: str) -> LedgerState:
    return read_ledger(StudyFolder.of(storage, name).ledger)


@pytest.mark.slow
def test_a_study_is_the_same_forked_whole_and_killed_and_refuses_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "data_of_ones_own.py").write_text(MODULE)
    (tmp_path / "high").write_text("100")
    configs = tmp_path / "configs.json"
    configs.write_text(json.dumps([NOISY]))
    storage = tmp_path / "studies"
    where = ["--storage", str(storage)]
    words = ["--dataset", "data_of_ones_own:data", "--data-dir", str(tmp_path)]
    words += ["--image-size", "12", "--channels", "1"]
    words += ["-c", "BabyCNN", "-b", "16", "-e", str(EPOCHS), "--configs", str(configs)]
    words += ["--baseline-seeds", "1", "--max-concurrent", "1"]
    assert noise_study(["run", "--name", "whole", *where, *words, "--fork", "never"]) == 0
    ledger = StudyFolder.of(storage, "killed").ledger
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with study_process(["run", "--name", "killed", *where, *words], environment) as process:
        wait_until(lambda: count(ledger, '"type":"epochs"') > 1, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert not all(r.finished for r in _ledger(storage, "killed").trials.values())
    assert noise_study(["resume", "killed", *where]) == 0

    whole, killed = (_ledger(storage, name).trials for name in ("whole", "killed"))
    assert killed["trial-0000"].fork_epoch == 2
    assert whole["trial-0000"].fork_epoch is None
    for key, record in killed.items():
        assert str(record.history) == str(whole[key].history)
        assert len(record.history) == EPOCHS
    check_whole(storage / "killed")
    best = json.loads((storage / "whole" / "study.json").read_text())["train"]
    assert best["data"]["content"]
    assert best["data"]["classes"] == ["dark", "bright"]

    # The same source, but other images: what it reads has changed.
    (tmp_path / "high").write_text("101")
    capsys.readouterr()
    assert noise_study(["resume", "killed", *where]) == 2
    assert "data.content = " in capsys.readouterr().err
