"""Numbers, durations and Markdown tables as people read them."""

import pytest

from study.formats import (
    duration,
    exact,
    markdown_table,
    mean_sd,
    number,
    seeds_named,
    short,
    signed,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59, "59s"), (61, "1m01s"), (3599.9, "1h00m"), (7500, "2h05m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_not_there_is_a_dash() -> None:
    assert (number(None), signed(None), number(0.0), signed(0.5)) == ("–", "–", "0.0000", "+0.5000")
    assert (mean_sd(1.0, None), mean_sd(1.0, 0.25)) == ("1.0000", "1.0000 ± 0.2500")


def test_a_setting_is_short_and_a_key_exact() -> None:
    assert (short(0.123456), short(7), short("input")) == ("0.123", "7", "input")
    assert (exact(0.01), exact(1.0), exact(0.1234567891)) == ("0.01", "1", "0.1234567891")


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([3], "seed 3"),
        ([3, 5], "seeds 3 and 5"),
        ([3, 5, 7], "seeds 3, 5 and 7"),
        ([3, 5, 7, 9, 11], "seeds 3, 5, 7 and 2 more"),
    ],
)
def test_seeds_are_named_and_many_are_counted(seeds: list[int], text: str) -> None:
    assert seeds_named(seeds) == text


def test_a_markdown_table_escapes_what_would_part_its_cells() -> None:
    text = markdown_table(["a", "b", "c"], [["x|y", "1", "2"]], "lr")
    assert text.splitlines() == ["| a | b | c |", "|---|---:|---|", r"| x\|y | 1 | 2 |"]
