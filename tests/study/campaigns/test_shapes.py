"""Studies of images of another size, and of grey ones, from weights of a file: forked or not,
killed and resumed."""

import json
import os
from pathlib import Path

import pytest
import torch

from analysis.commands.analysis import main as noise_analysis
from study.commands.study import main as noise_study
from study.records.ledger_view import read_ledger
from tests.support.data_sets import write_images
from tests.support.killed_studies import check_killed_equals_whole
from tests.support.study_processes import ROOT
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


@pytest.mark.slow
def test_a_study_of_large_grey_photos_is_the_same_forked_whole_and_killed_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos, configs = tmp_path / "photos", tmp_path / "configs.json"
    write_images(photos, train=40, test=20, size=70)
    configs.write_text(json.dumps(NOISY))
    words = ["--dataset", "imagefolder", "--data-dir", str(photos), "--image-size", "64"]
    words += ["--channels", "1", "-c", "TinyCNN", "-b", "16", "-e", str(EPOCHS)]
    # Of colour and 32×32: the convolutions fit, the first one summed over the colours.
    torch.manual_seed(1)
    torch.save(build_model("TinyCNN", 10).state_dict(), weights := tmp_path / "weights.pt")
    # Relative to where the command is started, as people give it.
    monkeypatch.chdir(ROOT)
    words += ["--weights", os.path.relpath(weights)]
    words += ["--configs", str(configs), "--baseline-seeds", "1", "--max-concurrent", "1"]
    storage = check_killed_equals_whole(
        tmp_path, words, epochs=EPOCHS, after='"trial":"trial-0000"'
    )
    where = ["--storage", str(storage)]
    assert len(read_ledger(storage / "killed" / "ledger.jsonl").trials) == 1 + len(NOISY)
    # Said once, in what is kept of the study.
    notes = json.loads((storage / "killed" / "summary.json").read_text())["notes"]
    told = [note for note in notes if note.startswith("runs of TinyCNN start from 5 tensors of ")]
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
