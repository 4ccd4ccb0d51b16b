"""Data of one's own by the dotted name of a function."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.config import DataConfig
from trainables.data.image_sets import check_data, load_dataset, resolve_data
from trainables.data.inspection import inspect_data
from trainables.errors import InputError

Write = Callable[[str], str]

GOOD = """
import numpy as np
calls = []

def data(where=None):
    calls.append(where)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 8, 8), np.uint8)
    labels = np.arange(40) % 2
    return (images, labels), (images[:10], labels[:10]), ["even", "odd"]
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of another name each time; returns that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def written(text: str) -> str:
        name = f"own_data_{tmp_path.name.replace('-', '_')}_{len(list(tmp_path.glob('*.py')))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return written


def config(name: str, **fields: Any) -> DataConfig:
    return DataConfig(dataset=name, image_size=8, channels=1, batch_size=4, **fields)


def test_it_is_called_once_to_be_checked_and_read(write: Write) -> None:
    name = write(GOOD)
    check_data(config(f"{name}:data"))
    data = load_dataset(config(f"{name}:data"))
    assert sys.modules[name].calls == [None]
    assert data.classes == ("even", "odd")
    assert (len(data.train_labels), len(data.val_labels), len(data.test_labels)) == (36, 4, 10)
    load_dataset(config(f"{name}:data", data_dir="there"))
    assert sys.modules[name].calls == [None, "there"]


def test_it_is_asked_again_after_a_refusal(write: Write) -> None:
    name = write(GOOD)
    check_data(config(f"{name}:data"))
    check_data(config(f"{name}:data"))
    assert sys.modules[name].calls == [None, None]


def test_data_that_change_between_calls_are_told(write: Write) -> None:
    name = write(GOOD.replace("default_rng(0)", "default_rng(len(calls))"))
    own = config(f"{name}:data")
    found = resolve_data(own, load_dataset(own))
    with pytest.raises(InputError, match="code of your own must give the same ones whenever"):
        load_dataset(found)


def test_data_that_change_between_calls_are_told_beforehand(write: Write) -> None:
    for seed, found in (("0", ()), ("len(calls)", ("called twice it gives other images",))):
        name = write(GOOD.replace("default_rng(0)", f"default_rng({seed})"))
        findings = inspect_data(config(f"{name}:data")).findings
        told = [line for line in findings if "a leak" not in line]
        assert len(told) == len(found)
        assert all(words in line for words, line in zip(found, told, strict=True))
        assert len(sys.modules[name].calls) == 2


def test_what_is_drawn_from_global_generators_is_the_same_at_each_call(write: Write) -> None:
    name = write(
        GOOD.replace("np.random.default_rng(0)", "np.random").replace("integers", "randint")
    )
    own = config(f"{name}:data")
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    first = load_dataset(own)
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(6)
    assert load_dataset(own).content == first.content


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('images')", "called without arguments, it raised KeyError: 'images'"),
        ("return None", "it must return .*, not NoneType"),
        ("return [1]", r"it must return \(train, test\)"),
        ("return 1, 2", "train is of type int"),
        ("return ([], []), ([], []), 'ab'", "classes = 'ab'; give their names"),
    ],
)
def test_what_it_does_wrong_is_told_by_its_name(write: Write, body: str, words: str) -> None:
    name = write(f"def data():\n    {body}\n")
    with pytest.raises(InputError, match=words) as caught:
        check_data(config(f"{name}:data"))
    assert str(caught.value).startswith(f"dataset = '{name}:data': ")


RAISING = """
class Items(list):
    @property
    def {name}(self):
        raise ZeroDivisionError("a bug")

def data():
    return Items([(0, 0)]), Items([(0, 0)])
"""


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        (RAISING.format(name="classes"), False),
        (RAISING.format(name="targets"), True),
        (RAISING.format(name="length").replace("@property", "def __len__(self): 1 / 0"), False),
    ],
)
def test_what_a_data_set_raises_is_told_by_its_name(write: Write, text: str, stream: bool) -> None:
    name = write(text)
    with pytest.raises(InputError, match=f"^dataset = '{name}:data': .* raised ZeroDivisionError"):
        check_data(config(f"{name}:data", stream=stream))


def test_names_that_lead_nowhere_are_told(write: Write) -> None:
    name = write(GOOD)
    for wrong, words in (
        (f"{name}:missing", f"{name} has no 'missing'; it has: data"),
        ("no_such_module_here:data", "there is no module 'no_such_module_here'"),
        (f"{name}:calls", "is of type list; give a function"),
        ("__main__:data", "workers have another one; put the code into a file .* mine:data"),
    ):
        with pytest.raises(InputError, match=words):
            check_data(config(wrong))


def test_the_classes_of_a_data_set_of_torchvisions_kind_are_taken(write: Write) -> None:
    name = write(
        "class Items(list):\n    classes = ['cat', 'dog']\n\n"
        "def data():\n    import numpy as np\n"
        "    rows = [(np.full((8, 8), n, np.uint8), n % 2) for n in range(40)]\n"
        "    return Items(rows), Items(rows[:10])\n"
    )
    data = load_dataset(config(f"{name}:data"))
    assert data.classes == ("cat", "dog")
    assert np.array_equal(data.test_images[:, 0, 0, 0], np.arange(10))
