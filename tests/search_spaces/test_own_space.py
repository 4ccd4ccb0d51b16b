"""A space of one's own: from a file, from a function; what is wrong with one is told by name."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.conditions import build_point
from search_spaces.own_space import checked_document, load_space, own_spec
from trainables.config import TrainConfig
from trainables.errors import InputError

BASE = TrainConfig(epochs=20)

YAML = """
policy: on_stagnation
description: two signals,
  each with its own setting
dimensions:
  noise/signals: [stuck, val_loss_plateau]
  noise/patience: 1..5
  noise/plateau_delta: 1e-5..1e-2:log
  noise/schedule: cosine, constant
  noise/window: 4
conditions:
  noise/patience: {noise/signals: stuck}
  noise/plateau_delta: [{noise/signals: [val_loss_plateau]}]
opening:
  - {noise/signals: stuck, noise/patience: 2}
"""

MODULE = """
import itertools
from optuna.distributions import FloatDistribution, IntDistribution

count = itertools.count(3)

def plain(base):
    return {
        "noise/patience": IntDistribution(1, base.epochs // 4),
        "noise/magnitude_min": FloatDistribution(1e-3, 1, log=True),
        "noise/schedule": ("cosine", "constant"),
    }

def changes(base):
    return {"noise/window": 5, "noise/patience": f"1..{next(count)}"}

def raises(base):
    raise KeyError("gone")

def leaves(base):
    raise SystemExit(0)

def a_list(base):
    return ["noise/patience"]

def other(base):
    return {"noise/patience": IntDistribution}

def no_argument():
    return {}

NUMBER = 3
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spaces_of_mine.py").write_text(MODULE)
    (tmp_path / "mine.yaml").write_text(YAML)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("spaces_of_mine", None)


def test_a_file_is_a_space(work: Path) -> None:
    document = load_space("mine.yaml", BASE)
    # As it is stored, and read again.
    assert checked_document(json.loads(json.dumps(document)), "stored") == document
    spec = own_spec("mine.yaml", document)
    box = spec.distributions(BASE)
    assert (spec.policy, spec.description) == (
        "on_stagnation",
        "two signals, each with its own setting",
    )
    assert box == {
        "noise/signals": CategoricalDistribution(("stuck", "val_loss_plateau")),
        "noise/patience": IntDistribution(1, 5),
        "noise/plateau_delta": FloatDistribution(1e-5, 1e-2, log=True),
        "noise/schedule": CategoricalDistribution(("cosine", "constant")),
        "noise/window": IntDistribution(4, 4),
    }
    values = {"noise/signals": "stuck", "noise/schedule": "cosine", "noise/window": 4}
    point = build_point(box, spec.conditions(box), lambda name: values.get(name, 1))
    assert point == {**values, "noise/patience": 1}
    assert spec.opening(box) == [{"noise/signals": "stuck", "noise/patience": 2}]
    assert "noise/patience" not in spec.conditions({"noise/signals": box["noise/signals"]})


def test_a_functions_space_follows_its_argument(work: Path) -> None:
    document = load_space("spaces_of_mine:plain", BASE)
    assert document["dimensions"] == {
        "noise/patience": "1..5",
        "noise/magnitude_min": "0.001..1.0:log",
        "noise/schedule": ["cosine", "constant"],
    }
    longer = load_space("spaces_of_mine:plain", TrainConfig(epochs=40))
    assert longer["dimensions"]["noise/patience"] == "1..10"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("changes", "called twice it returned two different spaces (dimensions: noise/patience = "),
        ("raises", "it raised KeyError: \"'gone'\""),
        ("leaves", "it raised SystemExit"),
        ("a_list", "it returned a list; give a mapping"),
        ("other", "noise/patience is of type"),
        ("no_argument", "it raised TypeError"),
        ("NUMBER", "is of type int; give a function of the base configuration"),
        ("nothing", "has no 'nothing'"),
    ],
)
def test_what_a_function_does_wrong_is_told(work: Path, name: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        load_space(f"spaces_of_mine:{name}", BASE)
    assert said in str(refused.value)
    assert f"'spaces_of_mine:{name}'" in str(refused.value)


DIMENSIONS = {"noise/signals": "stuck,overfitting", "noise/patience": "1..5"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "expected a mapping, found list"),
        ({}, "it has no dimensions"),
        ({"dimensions": {}}, "it has no dimensions"),
        ({"dimension": {}}, "'dimension' is no part of a space; did you mean 'dimensions'"),
        ({"policy": "alway"}, "policy = 'alway': did you mean 'always'"),
        ({"description": 3}, "description = 3: give a sentence"),
        ({"conditions": [1]}, "conditions: expected a mapping"),
        ({"conditions": {"noise/window": {}}}, "'noise/window' is no dimension"),
        ({"conditions": {"noise/patience": {}}}, "conditions of noise/patience: expected a map"),
        (
            {"conditions": {"noise/signals": {"noise/patience": 1}}},
            "noise/patience stands behind it",
        ),
        (
            {"conditions": {"noise/patience": {"noise/signals": "val_loss_plateau"}}},
            "noise/signals = 'val_loss_plateau' is not in its range",
        ),
        ({"opening": {"noise/patience": 1}}, "opening: expected a list of points"),
        ({"opening": ["x"]}, "opening, point 0: expected a mapping"),
        ({"opening": [{"noise/patience": 9}]}, "point 0: noise/patience = 9 is not in its range"),
        ({"opening": [{"noise/window": 9}]}, "'noise/window' is no dimension"),
    ],
)
def test_what_is_wrong_in_a_document_is_told(document: Any, said: str) -> None:
    if isinstance(document, dict) and not any(key.startswith("dimension") for key in document):
        document = {"dimensions": DIMENSIONS, **document} if document else document
    with pytest.raises(InputError) as refused:
        checked_document(document, "space (--space) = 'x.yaml'")
    assert str(refused.value).startswith("space (--space) = 'x.yaml': ")
    assert said in str(refused.value)


def test_a_file_that_is_not_there_is_named_with_the_option(work: Path) -> None:
    with pytest.raises(InputError, match=r"space \(--space\) = 'none.yaml': .*can't be read"):
        load_space("none.yaml", BASE)
