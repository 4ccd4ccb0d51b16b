"""The dashboard's graphs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from study.run.watched import Watched

_GRAPH_LINES = range(7, 13)
"""Heights of a graph that can be read, the panel round it not counted."""

_GRAPH_COLUMNS = 40
"""The least width of a graph, its panel included."""

_NARROW = 100
"""Below so many columns the panels stand one under the other."""

_OTHER_LINES = 16
_OTHER_LINES_NARROW = 23
"""Lines of the dashboard that are no graphs; a terminal of 80×24 has room for them."""


class Graphs:
    """As many graphs as the terminal has room for."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        other = _OTHER_LINES_NARROW if options.max_width < _NARROW else _OTHER_LINES
        room = console.height - other
        rows = min(2, room // (_GRAPH_LINES.start + 2))
        if rows < 1 or options.max_width < 2 * _GRAPH_COLUMNS:
            needed = f"{2 * _GRAPH_COLUMNS} columns and {other + _GRAPH_LINES.start + 2} lines"
            yield Text(f"graphs need a terminal of at least {needed}", style="dim")
            return
        lines = min(room // rows - 2, _GRAPH_LINES.stop - 1)
        graphs = [_Graph(self._watched, title, lines) for title in _GRAPHS]
        for row in range(rows):
            yield _two_columns(*graphs[2 * row : 2 * row + 2])


class SideBySide:
    """Two renderables in one row; in a narrow terminal one under the other."""

    def __init__(self, left: RenderableType, right: RenderableType) -> None:
        self._pair = (left, right)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < _NARROW:
            yield from self._pair
            return
        yield _two_columns(*self._pair)


def _two_columns(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


@dataclass(frozen=True)
class _Graph:
    """Lines over epochs, drawn with plotext in the width that is there."""

    watched: Watched
    title: str
    lines: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title = Text(self.title)
        series, floor = _GRAPHS[self.title]
        for name, _, color in series:
            title.append(f"  — {name}", style=color)
        history = self.watched.history
        drawn = draw_lines(
            tuple((_finite([getattr(row, name) for row in history]), c) for _, name, c in series),
            self.watched.config.epochs,
            floor=floor,
            width=max(20, options.max_width - 4),
            height=self.lines,
        )
        yield Panel(Text.from_ansi(drawn, no_wrap=True), title=title, title_align="left")


@lru_cache(maxsize=16)
def draw_lines(
    lines: tuple[tuple[tuple[float, ...], str], ...],
    epochs: int,
    *,
    floor: float | None = None,
    width: int,
    height: int,
) -> str:
    """Lines over epochs as text with ANSI colours.

    Drawn once an epoch, not with each redraw of the dashboard: that costs ten milliseconds.

    Args:
        lines: values by epoch, and a colour's name; at least one value.
        epochs: the epoch budget, the length of the axis.
        floor: where the axis of the values begins, unless one is lower; None: at the lowest.
        width: columns.
        height: rows, the axis with its labels included.
    """
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.theme("simple")
    figure.plot_size(width, height)
    figure.legend(False)
    drawn = [value for values, _ in lines for value in values]
    low, high = min(drawn), max(drawn)
    low = low if floor is None else min(floor, low)
    last = max(2, epochs)
    figure.ruler("x").lim(1, last)
    figure.ruler("x").ticks(sorted({1 + round(i * (last - 1) / 5) for i in range(6)}))
    # A line that is the same everywhere has no range of its own.
    figure.ruler("y").lim(low, high if high > low else low + 1)
    for values, color in lines:
        marker = plotext.marker("braille", color)
        signal = figure.signal(list(range(1, len(values) + 1)), list(values), marker=marker)
        figure.draw(signal.lines())
    return str(figure.build().string()).rstrip("\n")


def _finite(values: Sequence[float]) -> tuple[float, ...]:
    """Values to draw: what is not finite stays at the last finite one."""
    drawn: list[float] = []
    for value in values:
        last = drawn[-1] if drawn else 0.0
        drawn.append(value if math.isfinite(value) else last)
    return tuple(drawn)


_GRAPHS: dict[str, tuple[tuple[tuple[str, str, str], ...], float | None]] = {
    "accuracy": (
        (("training", "train_accuracy", "cyan"), ("validation", "val_accuracy", "yellow")),
        None,
    ),
    "loss": ((("training", "train_loss", "cyan"), ("validation", "val_loss", "yellow")), None),
    "learning rate": ((("last step", "lr", "green"),), 0.0),
    "noise magnitude": ((("σ", "noise_magnitude", "red"),), 0.0),
}
"""By title: the lines (name, statistic, colour), and where the axis begins."""
