"""Sources that can not be used: field, value and remedy, exit code 2, nothing written."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.refusals import refused_run

MINE = """
import numpy as np

number = 7

def nothing():
    return None

def raises():
    raise KeyError("images")

def images(n=40):
    return np.zeros((n, 8, 8), np.uint8)

def too_few_labels():
    return (images(), [0, 1]), (images(), [0, 1] * 20)

def too_bright():
    return (images() + 2.0, [0, 1] * 20), (images() + 2.0, [0, 1] * 20)

def negative():
    return (images(), [0, -1] * 20), (images(), [0, -1] * 20)
"""


@pytest.fixture
def work(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with files of which none can be used; what is cached would lie in it, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Code that a command names is trusted, and that is noted before it runs.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad_sources.py").write_text(MINE)
    (tmp_path / "no_label.csv").write_text("path,name\na.png,cat\n")
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "part.npz", train_images=np.zeros((4, 8, 8), np.uint8))
    (tmp_path / "empty").mkdir()
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("bad_sources", None)


SMALL = ["--image-size", "8", "--channels", "1", "--batch-size", "4"]


def data(name: str, place: str | None = None) -> list[str]:
    return ["--dataset", name, *([] if place is None else ["--data-dir", place]), *SMALL]


def mine(function: str) -> list[str]:
    return data(f"bad_sources:{function}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stream"], ["data.stream (--stream) = True", "huggingface and your own"]),
        (
            [*data("npz", "part.npz"), "--stream"],
            ["data.stream (--stream) = True: data.dataset = 'npz'", "huggingface and your own"],
        ),
        (
            [*mine("images"), "--stream-workers", "2"],
            ["data.stream_workers (--stream-workers) = 2", "give both, or neither"],
        ),
        (
            [*mine("images"), "--stream", "--stream-workers", "65"],
            ["data.stream_workers (--stream-workers) = '65'", "less than or equal to 64"],
        ),
        (
            [*data("imagefolder", "empty"), "--decoding", "3"],
            ["data.decoding (--decoding) = '3'", "less than or equal to 2"],
        ),
        (
            ["--decoding", "2"],
            ["data.decoding (--decoding) = 2", "imagefolder, csv, npz", "'digits' has none"],
        ),
        (["--classifier", "timm:resnet81"], ["'timm:resnet81'", "did you mean 'resnet18'?"]),
        (
            ["--classifier", "timm:test_vit", "--image-size", "40"],
            ["data.image_size (--image-size) = 40", "'timm:test_vit' can't take", "another size"],
        ),
        (
            ["--classifier", "timm:test_resnet", "--weights", "gone.safetensors"],
            ["model.weights (--weights) = 'gone.safetensors'", "No such file"],
        ),
        (
            ["--weights", "text.npz"],
            ["model.weights (--weights) = 'text.npz'", "load failed); give a state dict as torch"],
        ),
        (data("csv"), ["data.data_dir", "needs a .csv file", "--data-dir"]),
        (data("csv", "gone.csv"), ["data.data_dir = 'gone.csv'", "give"]),
        (data("csv", "empty"), ["data.data_dir = 'empty'", "give"]),
        (data("csv", "no_label.csv"), ["no_label.csv", "label"]),
        (data("npz"), ["data.data_dir", "needs a .npz file", "--data-dir"]),
        (data("npz", "gone.npz"), ["'gone.npz'", "can't be read as an .npz file"]),
        (data("npz", "text.npz"), ["'text.npz'", "can't be read as an .npz file"]),
        (data("npz", "part.npz"), ["'part.npz'", "train_labels"]),
        (data("huggingface"), ["data.data_dir", "DatasetDict.save_to_disk", "--data-dir"]),
        (data("huggingface", "gone"), ["data.data_dir = 'gone'", "DatasetDict.save_to_disk"]),
        (data("huggingface", "empty"), ["data.data_dir = 'empty'", "DatasetDict.save_to_disk"]),
        (data("gone_module:f"), ["dataset = 'gone_module:f'", "no module 'gone_module'"]),
        (mine("gone"), ["dataset = 'bad_sources:gone'", "it has: nothing, raises"]),
        (mine("number"), ["dataset = 'bad_sources:number'", "of type int; give a function"]),
        (mine("nothing"), ["dataset = 'bad_sources:nothing'", "must return", "NoneType"]),
        (mine("raises"), ["dataset = 'bad_sources:raises'", "raised KeyError: 'images'"]),
        (mine("too_few_labels"), ["dataset = 'bad_sources:too_few_labels'", "labels"]),
        (
            mine("too_bright"),
            ["too_bright", "image 0 holds numbers from 2 to 2", "leave normalisation out"],
        ),
        (mine("negative"), ["dataset = 'bad_sources:negative'", "from 0"]),
    ],
)
def test_what_can_not_be_used_is_answered(
    words: list[str], said: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused_run(capsys, work, *words)
    for text in said:
        assert text in message


@pytest.mark.parametrize(
    "option",
    [
        "--dataset",
        "--classifier",
        "--optimizer",
        "--lr-schedule",
        "--augment",
        "--metric",
        "--space",
        "--task",
    ],
)
def test_code_of_a_notebook_or_script_is_refused_wherever_it_is_named(
    option: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused_run(capsys, work, option, "__main__:thing")
    assert "= '__main__:thing': __main__ is this notebook or script" in message
    assert "put the code into a file of the same folder, say mine.py, and name it mine:" in message
