"""What a single run shows while it trains: a dashboard, or without a terminal a line an epoch.

A view is told of steps (``step`` of the epoch's ``steps``, from 1) and epochs by the loop that it
watches, and changes nothing in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from study.formats import duration, number
from study.run.graphs import Graphs, SideBySide
from study.run.watched import Watched
from trainables.epochs import epoch_number
from trainables.metrics import EpochMetrics
from trainables.noise.controller import Injection

_REFRESHES = 4

_PHASES = {
    "off": "no noise in this run",
    "warm_up": "warm-up: no signal is raised yet",
    "watching": "watching the signals",
    "injecting": "injecting noise",
    "cooldown": "cooldown: no noise",
}


class PlainView:
    """One line an epoch, for files, pipes and CI."""

    def __init__(self, console: Console, watched: Watched) -> None:
        self._console = console
        self._watched = watched

    def step(self, step: int, steps: int) -> None:
        """Nothing: steps are too many for lines."""

    def epoch(self, row: EpochMetrics, injection: Injection) -> None:
        watched = self._watched
        watched.add(row)
        self._console.print(epoch_line(watched, row, injection), soft_wrap=True, highlight=False)

    def note(self, text: str) -> None:
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
        watched = self._watched
        watched.done = len(watched.history) + step / steps
        self._bars.update(self._steps, completed=step, total=steps)

    def epoch(self, row: EpochMetrics, injection: Injection) -> None:
        self._watched.add(row)
        self._watched.injection = injection
        self._bars.update(self._epochs, completed=len(self._watched.history))
        if len(self._watched.history) < self._watched.config.epochs:
            self._bars.reset(self._steps)
        self._live.update(self._render())

    def note(self, text: str) -> None:
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
    best = watched.best
    parts = [
        f"epoch {epoch_number(row.epoch)}/{watched.config.epochs}",
        f"train {row.train_loss:.4f} {row.train_accuracy:.2%}",
        f"val {row.val_loss:.4f} {row.val_accuracy:.2%}",
        f"best {best.val_accuracy:.2%} @ {epoch_number(best.epoch)}" if best else "best –",
        f"lr {row.lr:.2e}",
        f"noise {noise_text(injection)}",
    ]
    left = watched.seconds_left
    if left is not None:
        parts.append(f"left {duration(left)}")
    return "  ".join(parts)


def noise_text(injection: Injection) -> str:
    if injection.injecting:
        by = f" by {'+'.join(injection.signals)}" if injection.signals else ""
        return f"{injection.kind} {injection.magnitude:.3g}{by}"
    if injection.phase == "watching" and injection.signals:
        return f"none (watching: {'+'.join(injection.signals)})"
    return f"none ({injection.phase.replace('_', '-')})"


def render(watched: Watched, bars: RenderableType, *, graphs: bool) -> RenderableType:
    parts: list[RenderableType] = [
        Panel(bars, title=watched.title, title_align="left", border_style="cyan"),
        SideBySide(_metrics_panel(watched), _noise_panel(watched)),
    ]
    if graphs and watched.history:
        parts.append(Graphs(watched))
    return Group(*parts)


class _TimeLeft(progress.ProgressColumn):
    """Time left of the whole run and of the epoch under way, from the pace of their steps."""

    max_refresh = 0.5

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched

    def render(self, task: progress.Task) -> Text:
        left = self._watched.seconds_left
        if task.description != "epochs":
            pace = (task.elapsed or 0.0) / task.completed if task.completed else None
            left = None if pace is None or task.remaining is None else pace * task.remaining
        return Text("" if left is None else f"{duration(left)} left", style="cyan")


def _progress(watched: Watched) -> progress.Progress:
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=None),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
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
    if not watched.history:
        table.add_row("epoch", "the first one is under way")
        return Panel(table, title="metrics", title_align="left")
    row, best = watched.history[-1], watched.best
    gap = f"gap {row.train_accuracy - row.val_accuracy:+.2%}"
    found = f"[bold]{best.val_accuracy:.2%}[/] in epoch {epoch_number(best.epoch)}" if best else "–"
    table.add_row("training", f"loss {row.train_loss:.4f}   accuracy {row.train_accuracy:.2%}")
    table.add_row("validation", f"loss {row.val_loss:.4f}   accuracy {row.val_accuracy:.2%}")
    table.add_row("best", f"{found}   {gap}")
    moved = f"weights moved {row.weight_update_norm:.4g}"
    table.add_row("gradient", f"norm {row.grad_norm:.4g}   {moved}")
    table.add_row("lr", f"{row.lr:.3g}")
    return Panel(table, title=f"metrics, epoch {epoch_number(row.epoch)}", title_align="left")


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
        value = number(reading.value, ".3g")
        text.append(
            f"{reading.name} {value} / {reading.threshold:.3g}",
            style="bold red" if reading.raised else "",
        )
        text.append("  raised\n" if reading.raised else "\n", style="red")
    text.rstrip()
    return text
