"""What a single run shows while it trains: a dashboard, or without a terminal a line an epoch.

A view is told of steps and epochs by the loop that it watches and changes nothing in it.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics, is_better
from trainables.noise.controller import Injection

_REFRESHES = 4
_GRAPH_LINES = range(7, 13)
"""Heights of a graph that can be read, the panel round it not counted."""

_NARROW = 100
"""Below so many columns the panels stand one under the other."""

_OTHER_LINES = 16
_OTHER_LINES_NARROW = 23
"""Lines of the dashboard that are no graphs; a terminal of 80×24 has room for them."""

_GRAPH_COLUMNS = 40
"""The least width of a graph, its panel included."""

_PHASES = {
    "off": "no noise in this run",
    "warm_up": "warm-up: no signal is raised yet",
    "watching": "watching the signals",
    "injecting": "injecting noise",
    "cooldown": "cooldown: no noise",
}


class View(Protocol):
    """Watches a run."""

    def step(self, step: int, steps: int) -> None:
        """An optimiser step is done: ``step`` of the epoch's ``steps``, counted from 1."""

    def epoch(self, row: EpochMetrics, injection: Injection) -> None:
        """An epoch is done."""

    def note(self, text: str) -> None:
        """Something to tell the user."""


@dataclass
class Watched:
    """What is known of the run so far; both views draw from it."""

    config: TrainConfig
    title: str
    history: list[EpochMetrics] = field(default_factory=list)
    best: EpochMetrics | None = None
    injection: Injection | None = None
    done: float = 0.0
    began: float = field(default_factory=time.monotonic)
    resumed_at: int = 0

    @classmethod
    def of(cls, config: TrainConfig, title: str, history: Sequence[EpochMetrics]) -> "Watched":
        """A run that goes on after ``history``, which may be empty."""
        watched = cls(config, title, resumed_at=len(history), done=float(len(history)))
        for row in history:
            watched.add(row)
        return watched

    def add(self, row: EpochMetrics) -> None:
        """Take in a completed epoch."""
        self.history.append(row)
        self.done = float(len(self.history))
        if row.finite and is_better(row, self.best):
            self.best = row

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the pace since this process began; None before the first step."""
        passed = self.done - self.resumed_at
        if passed <= 0:
            return None
        return (time.monotonic() - self.began) / passed * (self.config.epochs - self.done)


class PlainView:
    """One line an epoch, for files, pipes and CI."""

    def __init__(self, console: Console, watched: Watched) -> None:
        self._console = console
        self._watched = watched

    def step(self, step: int, steps: int) -> None:
        """Nothing: steps are too many for lines."""

    def epoch(self, row: EpochMetrics, injection: Injection) -> None:
        """Print the epoch's line."""
        watched = self._watched
        watched.add(row)
        self._console.print(epoch_line(watched, row, injection), soft_wrap=True, highlight=False)

    def note(self, text: str) -> None:
        """Print it."""
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


class LiveView:
    """The dashboard, redrawn in place."""

    def __init__(self, live: Live, watched: Watched, graphs: bool) -> None:
        self._live = live
        self._watched = watched
        self._graphs = graphs
        self._bars = _progress(watched)
        self._epochs = self._bars.add_task(
            "epochs", total=watched.config.epochs, completed=len(watched.history)
        )
        self._steps = self._bars.add_task("batches", total=None)
        self._live.update(self._render())

    def step(self, step: int, steps: int) -> None:
        """Move the bars."""
        watched = self._watched
        watched.done = len(watched.history) + step / steps
        self._bars.update(self._steps, completed=step, total=steps)

    def epoch(self, row: EpochMetrics, injection: Injection) -> None:
        """Redraw everything."""
        self._watched.add(row)
        self._watched.injection = injection
        self._bars.update(self._epochs, completed=len(self._watched.history))
        if len(self._watched.history) < self._watched.config.epochs:
            self._bars.reset(self._steps)
        self._live.update(self._render())

    def note(self, text: str) -> None:
        """Print it above the dashboard."""
        self._live.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _render(self) -> RenderableType:
        return render(self._watched, self._bars, graphs=self._graphs)


@contextmanager
def watching(
    console: Console, watched: Watched, *, graphs: bool = False
) -> Iterator[PlainView | LiveView]:
    """The view that fits ``console``: the dashboard on a terminal, else plain lines."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainView(console, watched)
        return
    with Live(console=console, refresh_per_second=_REFRESHES, vertical_overflow="ellipsis") as live:
        yield LiveView(live, watched, graphs)


def epoch_line(watched: Watched, row: EpochMetrics, injection: Injection) -> str:
    """An epoch in one line of plain text."""
    best = watched.best
    parts = [
        f"epoch {row.epoch + 1}/{watched.config.epochs}",
        f"train {row.train_loss:.4f} {row.train_accuracy:.2%}",
        f"val {row.val_loss:.4f} {row.val_accuracy:.2%}",
        f"best {best.val_accuracy:.2%} @ {best.epoch + 1}" if best else "best –",
        f"lr {row.lr:.2e}",
        f"noise {noise_text(injection)}",
    ]
    left = watched.seconds_left
    if left is not None:
        parts.append(f"left {duration(left)}")
    return "  ".join(parts)


def noise_text(injection: Injection) -> str:
    """The controller's decision for an epoch, in a few words."""
    if injection.injecting:
        by = f" by {'+'.join(injection.signals)}" if injection.signals else ""
        return f"{injection.kind} {injection.magnitude:.3g}{by}"
    if injection.phase == "watching" and injection.signals:
        return f"none (watching: {'+'.join(injection.signals)})"
    return f"none ({injection.phase.replace('_', '-')})"


def duration(seconds: float) -> str:
    """``1h02m``, ``3m05s`` or ``7s``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"


def render(watched: Watched, bars: RenderableType, *, graphs: bool) -> RenderableType:
    """The whole dashboard."""
    parts: list[RenderableType] = [
        Panel(bars, title=watched.title, title_align="left", border_style="cyan"),
        _SideBySide(_metrics_panel(watched), _noise_panel(watched)),
    ]
    if graphs and watched.history:
        parts.append(_Graphs(watched))
    return Group(*parts)


class _Graphs:
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
        watched = self._watched
        yield _two_columns(_accuracy_graph(watched, lines), _loss_graph(watched, lines))
        if rows > 1:
            yield _two_columns(_lr_graph(watched, lines), _magnitude_graph(watched, lines))


class _SideBySide:
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


class _TimeLeft(ProgressColumn):
    """Time left of the whole run and of the epoch under way, from the pace of their steps."""

    max_refresh = 0.5

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched

    def render(self, task: Task) -> Text:
        """The time left of what the bar counts."""
        left = self._watched.seconds_left
        if task.description != "epochs":
            pace = (task.elapsed or 0.0) / task.completed if task.completed else None
            left = None if pace is None or task.remaining is None else pace * task.remaining
        return Text("" if left is None else f"{duration(left)} left", style="cyan")


def _progress(watched: Watched) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _TimeLeft(watched),
        expand=True,
    )


def _labelled() -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    return table


def _metrics_panel(watched: Watched) -> Panel:
    table = _labelled()
    row = watched.history[-1] if watched.history else None
    if row is None:
        table.add_row("epoch", "the first one is under way")
        return Panel(table, title="metrics", title_align="left")
    best = watched.best
    gap = f"gap {row.train_accuracy - row.val_accuracy:+.2%}"
    found = f"[bold]{best.val_accuracy:.2%}[/] in epoch {best.epoch + 1}" if best else "–"
    table.add_row("training", f"loss {row.train_loss:.4f}   accuracy {row.train_accuracy:.2%}")
    table.add_row("validation", f"loss {row.val_loss:.4f}   accuracy {row.val_accuracy:.2%}")
    table.add_row("best", f"{found}   {gap}")
    moved = f"weights moved {row.weight_update_norm:.4g}"
    table.add_row("gradient", f"norm {row.grad_norm:.4g}   {moved}")
    table.add_row("lr", f"{row.lr:.3g}")
    return Panel(table, title=f"metrics, epoch {row.epoch + 1}", title_align="left")


def _noise_panel(watched: Watched) -> Panel:
    table = _labelled()
    injection, noise = watched.injection, watched.config.noise
    policy, noisy = noise.policy.replace("_", " "), sum(row.injected for row in watched.history)
    so_far = f"{noisy} of {len(watched.history)} epochs"
    if injection is None:
        table.add_row("policy", policy)
        table.add_row("noisy so far", so_far)
        return Panel(table, title="noise controller", title_align="left", border_style="dim")
    watching = injection.phase == "watching"
    style = "red" if injection.injecting else "green" if watching else "dim"
    table.add_row("policy", Text(f"{policy}: ").append(_PHASES[injection.phase], style=style))
    what = f"{injection.kind}   σ {injection.magnitude:.4g}"
    if noise.policy == "on_stagnation":
        table.add_row("noise", f"{what}   severity {injection.severity:.3f}")
        table.add_row("signals", _signals_text(injection))
        table.add_row(
            "streaks",
            f"raised {injection.raised_streak} of {noise.trigger_epochs}   "
            f"noisy {injection.injection_streak} of {noise.max_injection_epochs}",
        )
        table.add_row("cooldown", f"{injection.cooldown_remaining} epochs left")
    else:
        table.add_row("noise", what)
    table.add_row("noisy so far", so_far)
    title = f"noise controller, epoch {len(watched.history)}"
    return Panel(table, title=title, title_align="left", border_style=style)


def _signals_text(injection: Injection) -> Text:
    if not injection.readings:
        return Text("not evaluated", style="dim")
    text = Text()
    for reading in injection.readings:
        value = "–" if reading.value is None else f"{reading.value:.3g}"
        text.append(
            f"{reading.name} {value} / {reading.threshold:.3g}",
            style="bold red" if reading.raised else "",
        )
        text.append("  raised\n" if reading.raised else "\n", style="red")
    text.rstrip()
    return text


@dataclass(frozen=True)
class _Series:
    name: str
    values: Sequence[float]
    color: str


class _Graph:
    """Lines over epochs, drawn with plotext in the width that is there."""

    def __init__(
        self,
        title: str,
        epochs: int,
        series: Sequence[_Series],
        lines: int,
        floor: float | None = None,
    ) -> None:
        self._title = title
        self._epochs = epochs
        self._series = series
        self._lines = lines
        self._floor = floor

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title = Text(self._title)
        for line in self._series:
            title.append(f"  — {line.name}", style=line.color)
        drawn = draw_lines(
            tuple((tuple(series.values), series.color) for series in self._series),
            self._epochs,
            floor=self._floor,
            width=max(20, options.max_width - 4),
            height=self._lines,
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


def _finite(values: Sequence[float]) -> list[float]:
    """Values to draw: what is not finite stays at the last finite one."""
    drawn: list[float] = []
    for value in values:
        last = drawn[-1] if drawn else 0.0
        drawn.append(value if math.isfinite(value) else last)
    return drawn


def _graph(
    watched: Watched,
    lines: int,
    title: str,
    *series: tuple[str, str, str],
    floor: float | None = None,
) -> _Graph:
    return _Graph(
        title,
        watched.config.epochs,
        [
            _Series(name, _finite([getattr(row, attribute) for row in watched.history]), color)
            for name, attribute, color in series
        ],
        lines,
        floor,
    )


def _accuracy_graph(watched: Watched, lines: int) -> _Graph:
    return _graph(
        watched,
        lines,
        "accuracy",
        ("training", "train_accuracy", "cyan"),
        ("validation", "val_accuracy", "yellow"),
    )


def _loss_graph(watched: Watched, lines: int) -> _Graph:
    return _graph(
        watched,
        lines,
        "loss",
        ("training", "train_loss", "cyan"),
        ("validation", "val_loss", "yellow"),
    )


def _lr_graph(watched: Watched, lines: int) -> _Graph:
    return _graph(watched, lines, "learning rate", ("last step", "lr", "green"), floor=0.0)


def _magnitude_graph(watched: Watched, lines: int) -> _Graph:
    return _graph(watched, lines, "noise magnitude", ("σ", "noise_magnitude", "red"), floor=0.0)
