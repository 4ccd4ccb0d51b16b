"""Pareto fronts, by hand."""

import pytest

from study.statistics.pareto import front


@pytest.mark.parametrize(
    ("points", "keys"),
    [
        ({}, []),
        ({"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (0.0, 0.0)}, ["a", "b"]),
        # What is as good in both is not beaten; what is as good in one and worse in the other is.
        ({"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (1.0, 0.5)}, ["a", "b"]),
        ({"a": (2.0, 2.0), "b": (1.0, 3.0), "c": (3.0, 1.0), "d": (2.0, 1.0)}, ["a", "b", "c"]),
    ],
)
def test_what_no_other_point_beats(points: dict[str, tuple[float, float]], keys: list[str]) -> None:
    assert front(points) == keys
