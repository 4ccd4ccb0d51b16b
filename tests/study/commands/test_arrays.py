"""Single runs of images in an ``.npz`` file: gone on with, evaluated, and refused other images."""

from pathlib import Path

import numpy as np
import pytest

from study.commands.test import main as noise_test
from study.commands.train import main as noise_train

IMAGES = np.random.default_rng(3).integers(0, 256, (60, 8, 8), np.uint8)
LABELS = np.arange(60) % 2
WORDS = ["--dataset", "npz", "--data-dir", "a.npz", "--image-size", "8", "--channels", "1"]
WORDS += ["-c", "BabyCNN", "-b", "16", "-e", "2", "-g", "cpu", "--disable-adaptive-flags"]


def write(name: str, labels: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
    np.savez(
        name,
        train_images=IMAGES,
        train_labels=labels,
        test_images=IMAGES[:20],
        test_labels=LABELS[:20],
    )


def test_a_run_goes_on_is_evaluated_and_refuses_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.npz", LABELS)
    assert noise_train(WORDS) == 0
    [config] = tmp_path.rglob("metrics/*/config.json")
    for again in (WORDS, ["--config", str(config)]):
        assert noise_train([*again, "--resume"]) == 0
    assert len(list(tmp_path.rglob("metrics/*/config.json"))) == 1
    [weights] = tmp_path.glob("checkpoints/*.pth")
    assert noise_test(["--checkpoint", str(weights)]) == 0
    # Another size is another run, of images that are read anew.
    assert noise_train(["--config", str(config), "--image-size", "12"]) == 0
    capsys.readouterr()

    write("a.npz", 1 - LABELS)
    assert noise_train([*WORDS, "--resume"]) == 2
    assert "data/content" in capsys.readouterr().err
    assert noise_train(["--config", str(config), "--resume"]) == 2
    assert "data.content" in capsys.readouterr().err
