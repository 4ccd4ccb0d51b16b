"""Images of another size, and grey ones, through the commands for single runs and data sets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from study.commands.study import main as noise_study
from study.commands.test import main as noise_test
from tests.support.data_sets import write_images
from tests.support.single_runs import OFF, SMALL, train
from trainables.data.image_decoding import Decoding
from trainables.data.image_folder import decode_image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def _figures(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert noise_test([*words, "--json", "-g", "cpu"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("kind", ["input", "weight", "gradient", "label"])
def test_every_noise_is_added_to_grey_images(tmp_path: Path, kind: str) -> None:
    shape = ("--image-size", "28", "--channels", "1", "-e", "2")
    noisy = train(tmp_path / "noisy", *shape, "-nt", kind, "-nm", "0.5")
    plain = train(tmp_path / "plain", *shape, *OFF)
    data = noisy.config["data"]
    assert (data["image_size"], data["channels"], len(data["mean"])) == (28, 1, 1)
    assert noisy.noisy == [0, 1]
    assert noisy.column("epoch_metrics", "train_loss") != plain.column(
        "epoch_metrics", "train_loss"
    )


def test_an_exported_configuration_and_a_checkpoint_mean_the_same_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_images(tmp_path / "photos", train=80, test=30, size=70)
    words = ("--dataset", "imagefolder", "--data-dir", str(photos), "-e", "2")
    shape = ("--image-size", "64", "--channels", "1")
    run = train(tmp_path / "run", *words, *shape, *OFF, "--save-as", "photos.pth")
    again = train(tmp_path / "again", "--config", str(run.files.config), small=())
    assert again.column("epoch_metrics", "val_loss") == run.column("epoch_metrics", "val_loss")
    weights = run.files.folder / "photos.pth"
    found = _figures(capsys, "-c", str(weights))
    assert found["loss"] == run.final["test_loss"]

    bare = tmp_path / "bare.pth"
    torch.save(torch.load(weights, weights_only=True)["model"], bare)
    given = ("-c", str(bare), "-m", "BabyCNN", *words[:4])
    assert _figures(capsys, *given, *shape)["loss"] == found["loss"]
    for other, said in (
        (("--image-size", "48"), "does not fit BabyCNN: fc1.weight has shape (2, 8192)"),
        (("--channels", "3"), "does not fit BabyCNN: conv1.weight has shape (8, 1, 3, 3)"),
        (("--image-size", "4"), "data.image_size (--image-size) = '4': "),
    ):
        assert noise_test(["-c", str(weights), *other]) == 2
        assert said in capsys.readouterr().err


def test_the_pixels_of_a_run_are_those_of_decode_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_images(tmp_path / "photos", size=70)
    sheet = tmp_path / "sheet.png"
    words = ["check-data", "--dataset", "imagefolder", "--data-dir", str(photos)]
    words += ["--image-size", "128", "--channels", "1", "--sheet", str(sheet)]
    assert noise_study(words) == 0
    assert "each becomes 128×128 pixels, grey: the middle square" in capsys.readouterr().out
    shown = np.asarray(Image.open(sheet))
    # The first image as it is, one tile of as many pixels.
    pixels = np.frombuffer(
        decode_image(photos / "train/cat/1.png", Decoding(size=128, channels=1)), np.uint8
    ).reshape(128, 128)
    tiles = np.lib.stride_tricks.sliding_window_view(shown[..., 0], (128, 128))[20]
    assert any(np.array_equal(tile, pixels) for tile in tiles)
    assert (shown == shown[..., :1]).all()


@pytest.mark.parametrize(("size", "tile"), [(8, 64), (28, 56), (64, 64), (100, 100), (224, 128)])
def test_the_contact_sheet_shows_images_of_any_size(size: int, tile: int, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    words = ["check-data", "--dataset", "synthetic", "--synthetic-train", "40"]
    words += ["--synthetic-test", "20", "--image-size", str(size), "--sheet", str(sheet)]
    assert noise_study(words) == 0
    assert Image.open(sheet).width == 3 * (4 * (tile + 4) + 8) + 8


def test_classifiers_of_ones_own_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"told_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\n\n"
        "def net(num_classes, image_size, in_channels):\n"
        "    pixels = in_channels * image_size**2\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    words = (*SMALL, "-c", f"{name}:net", "--image-size", "12", "--channels", "1", *OFF)
    run = train(tmp_path / "run", *words, small=())
    assert len(run.epochs) == 4
