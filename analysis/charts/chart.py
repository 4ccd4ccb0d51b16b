"""Pictures as data: what is drawn, without saying by which library.

A picture is computed once as a ``Chart``; ``draw_static`` makes PNG and SVG of it, ``draw_page``
the interactive form in a report. So both show the same.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.charts.looks import Dash, Symbol

Axis = Literal["x", "y"]
Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Line:
    """A line through points; a point whose y is None leaves a gap."""

    x: Sequence[float]
    y: Sequence[float | None]
    name: str
    colour: str
    dash: Dash = "solid"
    width: float = 1.8
    opacity: float = 1.0
    legend: bool = True


@dataclass(frozen=True)
class Points:
    x: Sequence[float]
    y: Sequence[float | None]
    name: str
    colour: str
    symbol: Symbol = "circle"
    size: float = 8
    labels: Sequence[str] = ()
    legend: bool = True


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, the first one at the top."""

    labels: Sequence[str]
    values: Sequence[float]
    name: str
    colour: str


@dataclass(frozen=True)
class Blocks:
    """Coloured spans in named rows: ``spans`` are (row, from, to)."""

    rows: Sequence[str]
    spans: Sequence[tuple[str, float, float]]
    name: str
    colour: str
    legend: bool = False


@dataclass(frozen=True)
class Band:
    """A shaded range of x (``axis`` x) or of y."""

    start: float
    stop: float
    name: str
    colour: str
    opacity: float = 0.18
    axis: Axis = "x"


@dataclass(frozen=True)
class Rule:
    at: float
    name: str
    colour: str
    axis: Axis = "y"
    dash: Dash = "dash"


Mark = Line | Points | Bars | Blocks | Band | Rule


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        x_limits, y_limits: what values can't leave: an axis that fits its data ends there.
        x_whole: whether x is counted: ticks are whole numbers, as they are of epochs.
        missing: what to say where there is nothing to draw.
    """

    marks: tuple[Mark, ...]
    x: str = "epoch"
    y: str = ""
    x_log: bool = False
    y_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    x_ticks: Ticks = ()
    y_ticks: Ticks = ()
    x_whole: bool = False
    height: float = 1.0
    missing: str = "no finite value is recorded"

    @property
    def counts(self) -> bool:
        return not self.x_ticks and (self.x_whole or self.x in ("epoch", "trial"))

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the rows of bars or blocks, from the top on."""
        for mark in self.marks:
            if isinstance(mark, (Bars, Blocks)):
                return tuple(mark.labels if isinstance(mark, Bars) else mark.rows)
        return ()

    @property
    def is_empty(self) -> bool:
        return not any(
            value is not None and math.isfinite(value)
            for mark in self.marks
            for value in _shown(mark)
        )

    def ticks(self, axis: Axis) -> Ticks:
        """Those given; else, on a logarithmic axis, a few that suit the marks."""
        given, log = (self.x_ticks, self.x_log) if axis == "x" else (self.y_ticks, self.y_log)
        if given or not log:
            return given
        values = (value for mark in self.marks for value in getattr(mark, axis, ()))
        return log_ticks(float(value) for value in values if value is not None)

    def reach(self, axis: Axis) -> tuple[float, float] | None:
        """Where a linear axis begins and ends: round its marks and ticks, within its limits.

        None for a logarithmic axis, and where there is nothing to draw.
        """
        x = axis == "x"
        log, given = (self.x_log, self.x_range) if x else (self.y_log, self.y_range)
        if given is not None:
            return given
        if not x and self.rows:
            return (-0.5, len(self.rows) - 0.5)
        found = [at for at, _ in self.ticks(axis)]
        found += [value for mark in self.marks for value in _along(mark, axis) if value is not None]
        known = [value for value in found if math.isfinite(value)]
        if log or not known:
            return None
        low, high = min(known), max(known)
        limits = self.x_limits if x else self.y_limits
        pad = _PAD * (high - low) or _ALONE * abs(high) or 1.0
        if limits is None or not limits[0] <= low <= high <= limits[1]:
            return low - pad, high + pad
        over = _PAD / 2 * max(pad, high - low)
        return max(low - pad, limits[0] - over), min(high + pad, limits[1] + over)


_PAD = 0.06
"""The share of an axis that is left free at either end."""

_ALONE = 0.05
"""How far, in parts of it, an axis reaches round a value that stands alone."""


def _shown(mark: Mark) -> list[float | None]:
    """The values that a mark shows; none of what only stands behind others."""
    match mark:
        case Line() | Points():
            return list(mark.y)
        case Bars():
            return list(mark.values)
        case Blocks():
            return [start for _, start, _ in mark.spans]
        case Band() | Rule():
            return []


def _along(mark: Mark, axis: Axis) -> list[float | None]:
    """The places of a mark along an axis."""
    match mark:
        case Line() | Points():
            return list(mark.x if axis == "x" else mark.y)
        case Bars():
            return [0.0, *mark.values] if axis == "x" else []
        case Blocks():
            return [at for _, *ends in mark.spans for at in ends] if axis == "x" else []
        case Band():
            return [mark.start, mark.stop] if mark.axis == axis else []
        case Rule():
            return [mark.at] if mark.axis == axis else []


def whole_step(low: float, high: float, most: int = 8) -> int:
    """The distance of whole, round ticks of which an axis has room for ``most``."""
    wanted = (high - low) / most
    steps = (step * 10**power for power in range(12) for step in (1, 2, 5))
    return next((step for step in steps if step >= wanted), 1)


@dataclass(frozen=True)
class Chart:
    """A picture.

    Attributes:
        key: its file name, without an ending.
        columns: panels beside one another; with 1 they share the x axis.
        caption: how to read it, for people.
    """

    key: str
    title: str
    panels: tuple[Panel, ...]
    columns: int = 1
    caption: str = ""

    @property
    def rows(self) -> int:
        return -(-len(self.panels) // self.columns)


def log_ticks(values: Iterable[float], most: int = 4) -> Ticks:
    """A few round ticks for a logarithmic axis, written out: 0.02, not 2 over a power of ten.

    Values that are not positive are left out.
    """
    known = [value for value in values if value > 0 and math.isfinite(value)]
    if not known:
        return ()
    low, high = min(known), max(known)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        round_ones = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        ticks = [tick for tick in round_ones if 0.8 * low <= tick <= 1.25 * high]
        if len(ticks) <= most:
            break
    else:
        ticks = ticks[:: -(-len(ticks) // most)]
    if len(ticks) < 2:
        ticks = sorted({low, high})
    return tuple((tick, f"{tick:.2g}") for tick in ticks)


def cut_label(text: str, room: int) -> str:
    """A text that has no room, cut."""
    return text if len(text) <= room else text[: room - 1] + "…"


def spans(epochs: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive epochs as (first, last), ascending."""
    found: list[tuple[int, int]] = []
    for epoch in sorted(set(epochs)):
        if found and epoch == found[-1][1] + 1:
            found[-1] = (found[-1][0], epoch)
        else:
            found.append((epoch, epoch))
    return found


def span_text(epochs: Sequence[int]) -> str:
    """``3–7, 9``; a dash for none."""
    parts = [f"{a}" if a == b else f"{a}–{b}" for a, b in spans(epochs)]
    return ", ".join(parts) or "–"
