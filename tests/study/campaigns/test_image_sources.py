"""Studies of a table of photos, of arrays in a file, of Hugging Face's and of one's own data held
in memory, each with another classifier and another way to train: forked or not, killed and
resumed."""

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.support.data_sets import write_images
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
HELD = """
import random

import numpy as np
from PIL import Image


class Held:
    # Drawn anew at each call: a study sees the same ones all the same.
    def __init__(self, count):
        self.items = [
            (Image.fromarray(np.random.randint(0, 200, (20, 16), np.uint8)), random.randint(0, 1))
            for _ in range(count)
        ]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, n):
        return self.items[n]


def data():
    return Held(60), Held(20)
"""


def _table(folder: Path) -> list[str]:
    """Photos that are turned, transparent, in folders of folders, and one that is none."""
    write_images(folder / "photos", train=30, test=10, size=40)
    lines = ["path,label,split"]
    for n, path in enumerate(sorted((folder / "photos").rglob("*.png"))):
        part, name = path.parts[-3:-1]
        nested = path.with_name(f"shelf{n % 2}") / f"{n}.png"
        nested.parent.mkdir(exist_ok=True)
        photo = Image.open(path).crop((0, 0, 40, 28))
        if n % 3 == 0:
            photo.putalpha(90)
        exif = Image.Exif()
        exif[0x0112] = n % 8 + 1
        photo.save(nested, exif=exif)
        lines.append(f"{nested.relative_to(folder)},{name},{part}")
    nested.write_bytes(nested.read_bytes()[:50])
    (folder / "photos.csv").write_text("\n".join(lines))
    return [
        *("--dataset", "csv", "--data-dir", str(folder / "photos.csv"), "--skip-broken"),
        *("--fit", "pad", "--background", "grey", "--image-size", "36", "-c", "timm:test_resnet"),
    ]


def _arrays(folder: Path) -> list[str]:
    drawn = np.random.default_rng(3)
    parts = {
        f"{part}_{what}": drawn.integers(0, high, (n, *shape), np.uint8)
        for part, n in (("train", 60), ("test", 20))
        for what, high, shape in (("images", 256, (28, 28)), ("labels", 3, (1,)))
    }
    np.savez(folder / "arrays.npz", **parts)
    return [
        *("--dataset", "npz", "--data-dir", str(folder / "arrays.npz"), "--image-size", "28"),
        *("--channels", "1", "-c", "BabyCNN", "--precision", "bf16", "--ema", "0.9"),
        *("--accumulate", "2", "--clip-norm", "1", "--label-smoothing", "0.1"),
    ]


def _hugging_face(folder: Path) -> list[str]:
    drawn = np.random.default_rng(4)
    parts = {
        name: datasets.Dataset.from_dict(
            {
                "image": [Image.fromarray(p) for p in drawn.integers(0, 256, (n, 24, 32, 3), "u1")],
                "label": ["cat", "dog"] * (n // 2),
            },
            features=datasets.Features(
                {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
            ),
        )
        for name, n in (("train", 60), ("test", 20))
    }
    datasets.DatasetDict(parts).save_to_disk(folder / "faces")
    return [
        *("--dataset", "huggingface", "--data-dir", str(folder / "faces"), "--fit", "stretch"),
        *("-c", "DeepMLP", "--optimizer", "AdamW", "--lr", "0.001"),
    ]


def _held(folder: Path) -> list[str]:
    (folder / "held_data.py").write_text(HELD)
    return ["--dataset", "held_data:data", "--image-size", "16", "-c", "TinyCNN"]


@pytest.mark.slow
@pytest.mark.parametrize("source", [_table, _arrays, _hugging_face, _held])
def test_a_study_of_it_is_the_same_forked_whole_and_killed_on_the_way(
    source: Callable[[Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    configs = tmp_path / "configs.json"
    configs.write_text(json.dumps([NOISY]))
    words = [*source(tmp_path), "-b", "16", "-e", str(EPOCHS), "--configs", str(configs)]
    words += ["--baseline-seeds", "1", "--max-concurrent", "1"]
    storage = check_killed_equals_whole(tmp_path, words, epochs=EPOCHS)
    notes = json.loads((storage / "killed" / "summary.json").read_text())["notes"]
    left_out = [note for note in notes if "can't be read and were left out" in note]
    assert len(left_out) == (source is _table)
