"""Rows as tables of pandas, and as a notebook shows them."""

import pandas as pd

from trainables.frames import TitledList, as_html, frame


def test_columns_are_those_of_all_rows_in_their_order() -> None:
    table = frame([{"a": 1}, {"a": 2, "b": 3}])
    assert list(table.columns) == ["a", "b"]
    assert pd.isna(table["b"][0])
    assert as_html("none", frame([])) == "<p><b>none</b></p>"


def test_a_list_is_a_list_that_shows_itself_as_a_table() -> None:
    items = TitledList([2, 3], "<of> two", lambda n: {"n": n, "square": n * n}, ["a note"])
    assert items == [2, 3]
    assert items.to_frame()["square"].tolist() == [4, 9]
    shown = items._repr_html_()
    assert shown.startswith("<p><b>&lt;of&gt; two</b></p>")
    assert "<td>9</td>" in shown
    assert shown.endswith("<p>a note</p>")
