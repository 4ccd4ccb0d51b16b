"""Rows as tables of pandas, which a notebook shows; pandas is imported when it is asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 20

Item = TypeVar("Item")
Row = Mapping[str, Any]


def frame(rows: Sequence[Row]) -> "pd.DataFrame":
    """A table of rows, with all columns that any of them has, in the order of their appearance."""
    import pandas as pd

    columns = list({name: None for row in rows for name in row})
    return pd.DataFrame([dict(row) for row in rows], columns=columns)


def as_html(title: str, table: "pd.DataFrame", notes: Sequence[str] = ()) -> str:
    """What a notebook shows: a line, the table, notes; every text is escaped."""
    parts = [f"<p><b>{escape(title)}</b></p>"]
    if len(table):
        parts.append(table.to_html(max_rows=_MOST_ROWS, index=False, na_rep="", border=0))
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    return "".join(parts)


class TitledList(list[Item]):
    """A list that a notebook shows as a table.

    Args:
        title: stands above it.
        row: what the table says of an item.
        notes: stand below.
    """

    def __init__(
        self,
        items: Iterable[Item],
        title: str,
        row: Callable[[Item], Row],
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(items)
        self._title, self._row, self._notes = title, row, notes

    def to_frame(self) -> "pd.DataFrame":
        """A row an item."""
        return frame([self._row(item) for item in self])

    def _repr_html_(self) -> str:
        return as_html(self._title, self.to_frame(), self._notes)
