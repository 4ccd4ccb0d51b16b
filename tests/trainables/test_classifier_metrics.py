"""Further metrics of classifiers: against scikit-learn; one's own, and what that does wrong."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from trainables.classifier_metrics import (
    Measures,
    auc,
    balanced_accuracy,
    check_measures,
    described,
    macro_f1,
)
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.evaluation import evaluate, figures_on_test
from trainables.margin import effective_margin
from trainables.metric_config import MetricConfig, recorded_metrics
from trainables.metrics import METRICS
from trainables.noise.fork import baseline_digest
from trainables.settings import parse_config

MODULE = """
import itertools
import torch
from trainables.metric_config import metric

calls = itertools.count()

@metric("min", "euros", worst=9.0, margin=0.05)
def cost(logits, labels):
    logits.zero_()  # its own copy
    return (labels + 1.0).mean()

@metric("max", "a share")
def moody(logits, labels):
    return next(calls)

@metric("max", "a share")
def raises(logits, labels):
    raise IndexError("no such class")

@metric("max", "a share")
def complex_number(logits, labels):
    return logits.sum() * 1j

@metric("max", "points")
def per_class(logits, labels):
    return logits.mean(0)

@metric("max", "a share")
def nothing(logits, labels):
    return None

@metric("max", "a share")
def not_a_number(logits, labels):
    return float("nan")

@metric("upwards", "a share")
def upwards(logits, labels):
    return 1.0

@metric("max", "a share", worst=float("inf"))
def endless(logits, labels):
    return 1.0

@metric("max", "a share", margin=-1)
def below(logits, labels):
    return 1.0

def undeclared(logits, labels):
    return 1.0
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics_of_mine.py").write_text(MODULE)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("metrics_of_mine", None)


def own(name: str) -> MetricConfig:
    [found] = TrainConfig(measured=[f"metrics_of_mine:{name}"]).measured
    return described(found)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**30),
    samples=st.integers(2, 80),
    classes=st.integers(2, 6),
    levels=st.sampled_from([2, 5, 1000]),
)
def test_the_built_in_ones_are_scikit_learns(seed, samples, classes, levels) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few levels make ties.
    logits = torch.randint(levels, (samples, classes), generator=generator).float() / levels
    labels = torch.randint(classes, (samples,), generator=generator)
    predicted = logits.argmax(1)
    known = sorted({*labels.tolist(), *predicted.tolist()})
    f1 = f1_score(labels, predicted, average="macro", labels=known, zero_division=0)
    assert macro_f1(logits, labels) == pytest.approx(f1, abs=1e-12)
    recalls = [
        float((predicted[labels == label] == label).double().mean())
        for label in set(labels.tolist())
    ]
    assert balanced_accuracy(logits, labels) == pytest.approx(math.fsum(recalls) / len(recalls))
    scores = logits.double().softmax(1)
    areas = [
        roc_auc_score(labels == label, scores[:, label])
        for label in set(labels.tolist())
        if len(set(labels.tolist())) > 1
    ]
    if areas:
        assert auc(logits, labels) == pytest.approx(math.fsum(areas) / len(areas), abs=1e-9)
    else:
        assert math.isnan(auc(logits, labels))


def test_with_all_classes_there_they_are_the_scores_of_their_names() -> None:
    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(300, 4, generator=generator), torch.arange(300) % 4
    predicted, scores = logits.argmax(1), logits.double().softmax(1)
    assert balanced_accuracy(logits, labels) == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )
    told = roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert auc(logits, labels) == pytest.approx(told)


def test_evaluation_gives_what_is_asked_for_whatever_the_batches() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images, labels = torch.randn(50, 3, 2, 2), torch.arange(50) % 3
    measures = Measures(TrainConfig(measured=["macro_f1", "auc"]).measured)
    whole = evaluate(model, [(images, labels)], 3, measures=measures)
    parts = list(zip(images.split(7), labels.split(7), strict=True))
    assert evaluate(model, parts, 3, measures=measures).further == pytest.approx(whole.further)
    with torch.no_grad():
        logits = model(images)
    assert whole.further == {"macro_f1": macro_f1(logits, labels), "auc": auc(logits, labels)}
    assert evaluate(model, parts, 3).further == {}
    assert figures_on_test(whole, whole)["final_test_auc"] == whole.further["auc"]


def test_a_diverged_model_has_no_figure() -> None:
    measures = Measures(TrainConfig(measured=["macro_f1"]).measured)
    logits = torch.tensor([[math.nan, 1.0]])
    assert math.isnan(measures.of(logits, torch.tensor([0]))["macro_f1"])


def test_ones_own_is_declared_with_its_function(work: Path) -> None:
    config = own("cost")
    assert (config.name, config.mode, config.unit) == ("cost", "min", "euros")
    assert (config.worst, config.margin) == (9.0, 0.05)
    assert config.code is not None
    check_measures([config], 3)
    train = TrainConfig(measured=(config,))
    for known in (train.metrics, recorded_metrics(train.model_dump(mode="json"))):
        assert known["tail_val_cost"].mode == "min"
        assert known["final_test_cost"].weights == "final"
        assert known["final_test_accuracy"] is METRICS["final_test_accuracy"]
    assert effective_margin("final_test_cost", None, 100, train.metrics).words == "0.05 euros"
    # The classifier's own margins count images, as ever.
    plain = effective_margin("final_test_accuracy", None, 100, None)
    assert effective_margin("final_test_accuracy", None, 100, train.metrics) == plain
    logits = torch.ones(4, 2)
    assert Measures([config]).of(logits, torch.tensor([0, 1, 0, 1])) == {"cost": 1.5}
    assert logits.sum() == 8


def test_a_changed_source_is_refused(work: Path) -> None:
    config = own("cost")
    (work / "metrics_of_mine.py").write_text(MODULE + "\n\nMORE = 1\n")
    for call in (described, lambda each: Measures([each])):
        with pytest.raises(InputError, match="the source of metrics_of_mine"):
            call(config)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("moody", "on the same logits and labels it returned 0, then 1"),
        ("raises", "on 64 samples of 3 classes it raised IndexError: 'no such class'"),
        ("per_class", "returned a tensor of shape (3,); give one number"),
        ("complex_number", "j), which is no number"),
        ("nothing", "returned None, which is no number"),
        ("not_a_number", "returned nan; give a finite number"),
        ("undeclared", "declares no direction and unit; put @metric"),
        ("upwards", "declares no direction and unit"),
        ("endless", "its worst = inf: give a finite number"),
        ("below", "its margin = -1: give a number above 0"),
        ("missing", "has no 'missing'"),
    ],
)
def test_what_ones_own_does_wrong_is_told_by_name(work: Path, name: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        check_measures([own(name)], 3)
    assert f"'metrics_of_mine:{name}'" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (["macro_f"], "did you mean 'macro_f1'"),
        (["a:auc", "b:auc"], "measured = 'a:auc' (--metric): 'auc' is there twice"),
        (["a:Cost"], "measured = 'a:Cost' (--metric): name: 'Cost': a metric's name"),
        (["macro_f1", "macro_f1"], "'macro_f1' is there twice"),
        (["a:accuracy"], "'accuracy' is taken"),
        (["a:Cost"], "a metric's name is of a-z, 0-9 and _"),
        (["a b:cost"], "function"),
        ([{"name": "cost"}], "or your own as package.module:function"),
        ([{"name": "auc", "mode": "min"}], "of auc it is 'max'"),
    ],
)
def test_what_is_no_metric_is_refused(measured: list[str], said: str) -> None:
    with pytest.raises(InputError, match="measured") as refused:
        parse_config(TrainConfig, {"measured": measured})
    assert said in str(refused.value)


def test_a_built_in_one_is_known_by_its_name_alone() -> None:
    config = parse_config(TrainConfig, {"measured": [{"name": "macro_f1", "margin": 0.1}]})
    (found,) = config.measured
    assert (found.mode, found.unit, found.worst) == ("max", "macro F1", 0.0)
    # What was recorded stays.
    assert found.margin == 0.1


def test_without_further_metrics_a_run_is_known_by_what_it_was() -> None:
    plain = TrainConfig()
    assert plain.metrics is METRICS
    assert baseline_digest(TrainConfig(measured=["auc"])) != baseline_digest(plain)
