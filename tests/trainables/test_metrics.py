"""The objectives, as a table of histories and values worked out by hand, and by another formula."""

import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest

from trainables.margin import effective_margin
from trainables.metrics import (
    METRICS,
    OBJECTIVES,
    TEST_FIGURES,
    EpochMetrics,
    guessing,
    objective_value,
    objective_values,
)

TAIL = ("tail_val_accuracy", "tail_val_loss")


def history(accuracies: list[float], losses: list[float] | None = None) -> list[EpochMetrics]:
    """Epochs with these validation figures, a training accuracy of 1 and quiet other figures."""
    return [
        EpochMetrics(epoch, 0.5, 1.0, loss, accuracy, 1.0, 0.1, 0.01)
        for epoch, (accuracy, loss) in enumerate(
            zip(accuracies, losses or [1.0] * len(accuracies), strict=True)
        )
    ]


def exact_tail_mean(values: list[float]) -> float:
    """The tail's mean in fractions, the tail counted in whole numbers from the end."""
    length = 3
    while 10 * length < len(values):
        length += 1
    tail = [Fraction(value) for value in values[::-1][:length]]
    return float(sum(tail, Fraction(0)) / len(tail))


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        pytest.param([0.25], 0.25, id="an epoch is its own tail"),
        pytest.param([0.25, 0.75], 0.5, id="fewer epochs than a tail: all of them"),
        pytest.param([0.25, 0.5, 0.75], 0.5, id="three"),
        pytest.param([1.0, 0.25, 0.5, 0.75], 0.5, id="of four the last three"),
        pytest.param([1.0] * 27 + [0.25, 0.5, 0.75], 0.5, id="a tenth of thirty are three"),
        pytest.param([1.0] * 27 + [0.25, 0.5, 0.5, 0.75], 0.5, id="of 31 the last four"),
        pytest.param([0.0] * 36 + [0.5] * 4, 0.5, id="a tenth of forty are four"),
        pytest.param([0.0] * 36 + [0.5] * 5, 0.5, id="of 41 the last five"),
        pytest.param([0.0] * 90 + [0.75] * 10, 0.75, id="a tenth of a hundred are ten"),
    ],
)
def test_the_tail(accuracies: list[float], expected: float) -> None:
    assert objective_value("tail_val_accuracy", history(accuracies)) == expected
    losses = [4 * value for value in accuracies]
    same = history([0.0] * len(losses), losses)
    assert objective_value("tail_val_loss", same) == 4 * expected


@pytest.mark.parametrize("epochs", [*range(1, 45), 99, 100, 101])
def test_the_tail_against_fractions(epochs: int) -> None:
    draw = random.Random(epochs)
    accuracies = [draw.randrange(181) / 180 for _ in range(epochs)]
    losses = [math.exp(draw.gauss(0, 3)) for _ in range(epochs)]
    values = objective_values(history(accuracies, losses))
    assert values["tail_val_accuracy"] == pytest.approx(exact_tail_mean(accuracies), rel=1e-15)
    assert values["tail_val_loss"] == pytest.approx(exact_tail_mean(losses), rel=1e-15)


def test_directions() -> None:
    assert [OBJECTIVES[name] for name in TAIL] == ["max", "min"]


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param([1.0, 1.0, math.nan], id="nan"),
        pytest.param([math.inf, 1.0, 1.0], id="infinite"),
        pytest.param([math.inf, -math.inf, 1.0], id="both infinities"),
        pytest.param([math.nan, math.inf, 1.0], id="nan and infinite"),
    ],
)
def test_an_epoch_of_the_tail_that_is_not_finite(losses: list[float]) -> None:
    assert not math.isfinite(objective_value("tail_val_loss", history([0.5] * 3, losses)))


def test_an_epoch_before_the_tail_does_not_count() -> None:
    rows = history([0.5] * 4, [math.nan, 1.0, 2.0, 3.0])
    assert objective_value("tail_val_loss", rows) == 2.0


def test_losses_whose_sum_is_no_double() -> None:
    rows = history([0.5] * 3, [1.5e308] * 3)
    assert objective_value("tail_val_loss", rows) == pytest.approx(1.5e308)


@pytest.mark.parametrize(
    ("clean", "gap"),
    [
        # By the training accuracy of 1, as before, where any of the last ten has no clean one.
        ([None] * 12, 0.25),
        ([None, None, None, *[0.5] * 9], 0.25),
        ([None, None, *[0.5] * 10], -0.25),
        ([0.0, 0.0, *[0.5] * 9, 1.0], -0.2),
    ],
)
def test_the_gap_takes_clean_accuracies_where_all_of_the_last_epochs_have_them(
    clean: list[float | None], gap: float
) -> None:
    rows = [
        replace(row, clean_train_accuracy=value)
        for row, value in zip(history([0.75] * 12), clean, strict=True)
    ]
    assert objective_value("generalization_gap", rows) == pytest.approx(gap)
    assert [EpochMetrics.from_dict(row.to_dict()) for row in rows] == rows


def test_every_figure_says_what_is_better_and_what_diverging_costs() -> None:
    assert set(METRICS) == {*OBJECTIVES, *TEST_FIGURES}
    for name, metric in METRICS.items():
        assert metric.mode == ("max" if name.endswith("accuracy") else "min")
        assert metric.unit == ("nats" if name.endswith("loss") else "share of images")
        # What guesses is charged by the classes; a gap's is that of what is learnt by heart alone.
        assert metric.worst == (1.0 if name == "generalization_gap" else None)
        assert (guessing(name, 10) is None) == (name == "generalization_gap")
        if metric.weights is not None:
            assert metric.weights == ("final" if name.startswith("final") else "best")


@pytest.mark.parametrize(
    ("metric", "wanted", "images", "value", "words"),
    [
        ("final_test_accuracy", None, None, 0.003, "0.003"),
        ("final_test_accuracy", None, 10_000, 0.003, "0.003"),
        ("test_accuracy", None, 450, 2 / 450, "0.004444 (2 of the 450 test images)"),
        ("test_accuracy", 0.01, 450, 0.01, "0.01"),
        ("test_accuracy", 0.0001, 10_000, 0.0002, "0.0002 (2 of the 10,000 test images)"),
        ("final_test_loss", None, 10, 0.01, "0.01 nats"),
        ("test_loss", 0.5, 10, 0.5, "0.5 nats"),
    ],
)
def test_a_margin_is_worth_two_test_images_at_least(
    metric: str, wanted: float | None, images: int | None, value: float, words: str
) -> None:
    found = effective_margin(metric, wanted, images)
    assert (found.value, found.words) == (pytest.approx(value, abs=1e-15), words)
