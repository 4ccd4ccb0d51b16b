"""Where axes begin and end, and what an empty chart says."""

import pytest

from analysis.charts.chart import Band, Chart, Line, Panel, Points, Rule
from analysis.charts.draw_page import figures
from study.units import share_unit

LIMITS = share_unit(100).limits()


def panel(*ys: float | None, limits: tuple[float, float] | None = LIMITS) -> Panel:
    return Panel((Line(range(1, len(ys) + 1), ys, "validation", "#000"),), y_limits=limits)


@pytest.mark.parametrize(
    ("ys", "low", "high"),
    [
        # Far from its limits an axis fits the data; nobody sees much between 0 and 100.
        ((40.0, 50.0), 39.4, 50.6),
        # Nothing is below 0 % or above 100 %: the axis goes hardly beyond, and hides no line there.
        ((90.0, 100.0), 89.4, 100.3),
        ((0.0, 10.0), -0.3, 10.6),
        ((0.0, 100.0), -3.0, 103.0),
        ((None, 50.0, None), 47.5, 52.5),
    ],
)
def test_an_axis_of_accuracies_fits_its_data_within_its_limits(
    ys: tuple[float | None, ...], low: float, high: float
) -> None:
    assert panel(*ys).reach("y") == pytest.approx((low, high))


def test_what_leaves_its_limits_is_shown_all_the_same() -> None:
    assert panel(90.0, 110.0).reach("y") == pytest.approx((88.8, 111.2))
    assert panel(90.0, 100.0, limits=None).reach("y") == pytest.approx((89.4, 100.6))


@pytest.mark.parametrize("ys", [(), (None, None), (float("nan"), float("inf"))])
def test_an_empty_chart_says_why(ys: tuple[float | None, ...]) -> None:
    behind = (Band(1, 2, "noise", "#000"), Rule(0.0, "no difference", "#000"))
    marks = (*behind, Points(range(len(ys)), ys, "seeds", "#000"))
    empty = Panel(marks, missing="no seed <has> a difference yet")
    (figure,) = figures(Chart("x", "X", (empty,)))
    assert [each["text"] for each in figure["layout"]["annotations"]] == [
        "no seed &lt;has&gt; a difference yet"
    ]
    drawn = Panel((*marks, Points((1.0,), (0.5,), "seed 3", "#000")))
    (figure,) = figures(Chart("x", "X", (drawn,)))
    assert figure["layout"]["annotations"] == []
