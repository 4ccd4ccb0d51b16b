"""A section of the report, before it is laid out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from analysis.charts.chart import Chart
from analysis.report.card import Card


class Figure(NamedTuple):
    """A number in a table: how it is written, and what it is sorted by."""

    text: str
    value: float | None


@dataclass(frozen=True)
class Table:
    """Figures beside one another; ``note``: how to read them."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        key: its name in links.
        card: the answer, in the section that begins with it.
        notes: sentences that nobody should miss.
        tables: below the pictures.
        details: sentences that are shown on demand.
        missing: what to say if there is no picture; empty if none is expected.
    """

    key: str
    title: str
    lines: tuple[str, ...] = ()
    card: Card | None = None
    notes: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    details: tuple[str, ...] = ()
    missing: str = ""


def pictured(
    key: str, title: str, chart: Chart | None, missing: str, tables: tuple[Table, ...] = ()
) -> Section:
    return Section(key, title, charts=only(chart), tables=tables, missing=missing)


def only(*charts: Chart | None) -> tuple[Chart, ...]:
    return tuple(chart for chart in charts if chart is not None)
