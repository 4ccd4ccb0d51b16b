"""Figures in their unit: as many digits as the images carry, and nothing that is not 0 as 0."""

import pytest

from study.units import image_worth, share_unit, unit_of


@pytest.mark.parametrize(
    ("images", "digits"),
    [(10, 1), (100, 1), (101, 1), (359, 1), (1000, 1), (5000, 2), (10_000, 2), (None, 2)],
)
def test_shares_have_the_digits_that_images_tell_apart(images: int | None, digits: int) -> None:
    assert share_unit(images).digits == digits


@pytest.mark.parametrize(
    ("metric", "images", "difference", "text"),
    [
        ("final_test_accuracy", 1000, 0.018, "+1.8 points"),
        ("final_test_accuracy", 1000, -0.0181, "−1.8 points"),
        ("final_test_accuracy", 1000, 0.0, "0 points"),
        ("final_test_accuracy", 1000, -1e-17, "0 points"),
        ("final_test_accuracy", 1000, -0.0002, "−0.02 points"),
        ("final_test_accuracy", None, 0.0123, "+1.23 points"),
        ("generalization_gap", 1000, -0.02, "−2.0 points"),
        ("tail_val_loss", 1000, -0.0791, "−0.0791 nats"),
        ("tail_val_loss", 1000, 2.2, "+2.20 nats"),
        ("tail_val_loss", 1000, 123.4, "+123 nats"),
        ("tail_val_loss", 1000, None, "–"),
    ],
)
def test_differences(metric: str, images: int | None, difference: float | None, text: str) -> None:
    assert unit_of(metric, images).difference(difference) == text


def test_values_and_axes() -> None:
    accuracy, loss = unit_of("best_val_accuracy", 359), unit_of("best_val_loss", 359)
    assert (accuracy.value(0.9532), loss.value(0.12345)) == ("95.3 %", "0.1235 nats")
    assert (accuracy.axis("accuracy"), loss.axis("loss")) == ("accuracy (%)", "loss (nats)")
    assert accuracy.scaled([0.5, float("nan"), None]) == [50.0, None, None]


@pytest.mark.parametrize(
    ("metric", "difference", "told"),
    [
        ("test_accuracy", 0.001, True),
        ("test_accuracy", -0.0004, True),
        ("test_accuracy", 0.0011, False),
        ("test_accuracy", 0.0, False),
        ("test_loss", 0.0001, False),
    ],
)
def test_an_image_is_weighed_where_a_difference_is_no_larger(
    metric: str, difference: float, told: bool
) -> None:
    said = image_worth(metric, difference, 1000, "test")
    assert said == ("one of the 1,000 test images is worth 0.1 points" if told else "")
