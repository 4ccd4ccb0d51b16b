"""Studies of data by a function of one's own, streamed: forked or not, killed and resumed."""

import json
from pathlib import Path

import pytest

from study.commands.study import main as noise_study
from tests.support.killed_studies import check_killed_equals_whole

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
import random

import numpy as np
import torch


class Drawn:
    # Nothing is in memory, and an item is another one each time it is asked for.
    classes = ["dark", "bright"]

    def __init__(self, high, count):
        self.high = high
        self.targets = [n % 2 for n in range(count)]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, n):
        image = np.random.randint(0, self.high, (12, 12)) + 40 * self.targets[n]
        image += torch.randint(0, 9, (12, 12)).numpy() + random.randint(0, 9)
        return image.astype(np.uint8), self.targets[n]


def data(folder):
    high = int(open(f"{folder}/high").read())
    return Drawn(high, 60), Drawn(high, 20)
"""


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
    words = ["--dataset", "data_of_ones_own:data", "--data-dir", str(tmp_path)]
    words += ["--image-size", "12", "--channels", "1", "--stream"]
    words += ["-c", "BabyCNN", "-b", "16", "-e", str(EPOCHS), "--configs", str(configs)]
    words += ["--baseline-seeds", "1", "--max-concurrent", "1"]
    # Who reads the images makes no difference.
    storage = check_killed_equals_whole(tmp_path, words, "--stream-workers", "1", epochs=EPOCHS)
    best = json.loads((storage / "whole" / "study.json").read_text())["train"]
    assert best["data"]["content"]
    assert best["data"]["classes"] == ["dark", "bright"]

    # The same source, but other images: what it reads has changed.
    (tmp_path / "high").write_text("101")
    capsys.readouterr()
    assert noise_study(["resume", "killed", "--storage", str(storage)]) == 2
    assert "data.content = " in capsys.readouterr().err
