"""The live view of a study: a table that redraws itself, in a terminal and below a notebook's cell.

Elsewhere it is plain lines.

It follows the ledger while it grows, from a thread of its own: the driver's loop knows nothing of
it, and any process may watch a study the same way.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.campaigns.notebook import CellOutput, in_notebook
from study.campaigns.pace import Remaining, seconds_left
from study.config import StudyConfig
from study.formats import duration
from study.records.events import now_ms
from study.records.indistinct import sharing_best
from study.records.ledger_view import LedgerState, LedgerView, TrialRecord
from study.records.planned_run import NOISELESS
from study.records.summary import ranked, summarise
from study.records.values import by_objective, differences_to_baseline, value_of

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 0.5
_PLAIN_SECONDS = 30.0

# Each drawing is a message to the browser.
_NOTEBOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Counted:
    """What the view counts, and what it says of the result so far (``standing``, in a line).

    ``epochs`` is every run's budget, ``trials`` are the runs besides the baselines and the
    ``tunings``, of which ``spared`` says how many are known by now not to be trained; ``of`` leaves
    out what is not counted;
    ``time_budget`` is in seconds.
    """

    name: str
    objective: str
    epochs: int
    trials: int
    baselines: int
    standing: Callable[[LedgerState], str]
    time_budget: float | None = None
    spared: Callable[[LedgerState], int] = lambda state: 0
    tunings: int = 0
    of: Callable[[LedgerState], LedgerState] = lambda state: state


@dataclass(frozen=True)
class Progress:
    waiting: int
    noiseless_waiting: int
    running: tuple[TrialRecord, ...]
    counts: dict[str, int]
    epochs_done: int
    epochs_wanted: int
    baseline_done: int
    tunings_done: int = 0


def progress(counted: Counted, state: LedgerState) -> Progress:
    """Count runs and epochs; an ended trial counts with its whole budget."""
    records = list(state.trials.values())
    trials = [r for r in records if r.role not in NOISELESS]
    tunings = [r for r in records if r.role == "tuning"]
    baselines = [r for r in records if r.role == "baseline"]
    running = tuple(r for r in records if r.state is None)
    counts = {"complete": 0, "pruned": 0, "failed": 0}
    for record in trials:
        if record.state is not None:
            counts[record.state] += 1
    budget, trials_wanted = counted.epochs, counted.trials - counted.spared(state)
    # Where settings failed in the tuning, others may have been trained for them.
    wanted = trials_wanted + counted.baselines + max(counted.tunings, len(tunings))
    done = sum(budget if r.state is not None else len(r.history) for r in records)
    return Progress(
        waiting=max(0, trials_wanted - len(trials)),
        noiseless_waiting=max(0, counted.baselines - len(baselines))
        + max(0, counted.tunings - len(tunings)),
        running=running,
        counts=counts,
        epochs_done=done,
        epochs_wanted=budget * wanted,
        baseline_done=sum(r.state == "complete" for r in baselines),
        tunings_done=sum(r.finished for r in tunings),
    )


@dataclass
class Clock:
    """What is said of the time left; it remembers how many runs were trained at once.

    ``since`` (ms since 1970): when this process began.
    """

    since: int = field(default_factory=now_ms)
    most: int = 0

    def left(self, counted: Counted, state: LedgerState, elapsed: float) -> str:
        """An estimate within the time budget; empty before there is one."""
        now = progress(counted, state)
        if not now.running and now.waiting + now.noiseless_waiting:
            return " · starting workers"
        seconds = self.seconds(counted, state, elapsed)
        over = not now.running
        return "" if over or seconds is None else f" · about {duration(seconds)} left"

    def seconds(self, counted: Counted, state: LedgerState, elapsed: float) -> float | None:
        """The estimate; None before there is one."""
        now = progress(counted, state)
        self.most = max(self.most, len(now.running))
        remaining = Remaining(counted.epochs, now.noiseless_waiting, now.waiting)
        seconds = seconds_left(state, remaining, self.most, self.since)
        if seconds is None or counted.time_budget is None:
            return seconds
        return min(seconds, max(0.0, counted.time_budget - elapsed))


def render(counted: Counted, state: LedgerState, elapsed: float, clock: Clock) -> RenderableType:
    """The view as rich draws it, ``elapsed`` seconds after this process began."""
    now = progress(counted, state)
    head = Text(f"{counted.name}  ", style="bold")
    head.append(headline(counted, now), style="not bold")
    bar = ProgressBar(total=max(1, now.epochs_wanted), completed=now.epochs_done, width=60)
    foot = Text(counted.standing(state))
    when = Text(f"{duration(elapsed)} so far{clock.left(counted, state, elapsed)}")
    # A bar ends no line; what follows would stand beside it, and be cut off.
    line = Table.grid()
    line.add_row(bar)
    return Group(head, line, when, foot, _running(counted, state))


def headline(counted: Counted, now: Progress) -> str:
    tuning = f"tuning {now.tunings_done}/{counted.tunings} · " if counted.tunings else ""
    # What did not happen would push the rest over the edge of 80 columns.
    ended = {"pruned": "stopped early", "failed": "failed"}
    rare = "".join(f"{now.counts[s]} {name} · " for s, name in ended.items() if now.counts[s])
    return (
        f"{tuning}baseline {now.baseline_done}/{counted.baselines} · {len(now.running)} running · "
        f"{now.counts['complete']} done · {rare}{now.waiting} waiting"
    )


def best_so_far(config: StudyConfig, state: LedgerState) -> str:
    summary = summarise(config, state)
    complete = [t for t in summary.trials if t.state == "complete"]
    if not summary.baseline:
        tuning = config.tune_baseline and not state.by_role("baseline")
        return f"the {'baseline is being tuned' if tuning else 'pinned baseline is being trained'}"
    name = config.objective[0]
    [mine, *_] = by_objective(summary.baseline[0].value)
    text = f"baseline {name} {mine:.4f}" if mine is not None else "baseline without a value"
    if not complete:
        return text
    best = ranked(config, complete)[0]
    value, paired = (by_objective(v)[0] for v in (best.value, best.paired_difference))
    if value is None or paired is None:
        return text
    others = len(sharing_best(config, complete)) - 1
    who = f"{best.trial_id} and {others} more" if others > 0 else best.trial_id
    return f"{text} · best so far {value:.4f} ({paired:+.4f}, {who})"


def _running(counted: Counted, state: LedgerState) -> Table:
    table = Table(box=None, pad_edge=False)
    shown = (counted.objective,)
    for name in ("running", "epoch", counted.objective, "− baseline", "noise", "signals"):
        table.add_column(name)
    baselines = {r.baseline: r for r in state.by_role("baseline") if r.state == "complete"}
    for record in state.trials.values():
        if record.state is not None:
            continue
        last = record.history[-1] if record.history else None
        value = by_objective(value_of(shown, record.history))[0]
        beside = differences_to_baseline(shown, record, baselines.get(record.baseline))[0]
        paired = by_objective(beside)[0]
        table.add_row(
            record.key,
            f"{len(record.history)}/{counted.epochs}",
            "" if value is None else f"{value:.4f}",
            "" if paired is None or record.role in NOISELESS else f"{paired:+.4f}",
            "" if last is None else _noise(last.noise_phase, last.noise_kind, last.noise_magnitude),
            "" if last is None else ", ".join(last.signals),
        )
    return table


def _noise(phase: str, kind: str, magnitude: float) -> str:
    return f"{kind} {magnitude:.3g}" if kind != "none" else phase.replace("_", "-")


class _Follower(threading.Thread):
    """Redraws until told to stop; an error in drawing must never reach the study."""

    def __init__(self, console: Console, counted: Callable[[], Counted], ledger: Path) -> None:
        super().__init__(name="live-view", daemon=True)
        self._console = console
        self._counted = counted
        self._view = LedgerView(ledger)
        self._over = threading.Event()
        self._began = time.monotonic()
        self._told: set[str] = set()
        self._clock = Clock()

    def run(self) -> None:
        try:
            if self._console.is_terminal:
                self._terminal()
            elif in_notebook(self._console):
                self._notebook(CellOutput())
            else:
                self._plain()
        except Exception:
            log.exception("the live view stopped; the study goes on")

    def stop(self) -> None:
        self._over.set()
        self.join(timeout=10)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _terminal(self) -> None:
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while not self._over.wait(_REFRESH_SECONDS):
                live.update(self._drawn(), refresh=True)

    def _notebook(self, output: CellOutput) -> None:
        over = False
        while not over:
            over = self._over.wait(_NOTEBOOK_SECONDS)
            # What stands there in the end stays.
            output.draw(self._drawn())

    def _drawn(self) -> RenderableType:
        counted = self._counted()
        state = counted.of(self._view.refresh())
        return render(counted, state, self._elapsed(), self._clock)

    def _plain(self) -> None:
        said = 0.0
        over = False
        while not over:
            over = self._over.wait(_REFRESH_SECONDS)
            state = self._counted().of(self._view.refresh())
            ended = [r for r in state.trials.values() if r.state and r.key not in self._told]
            for record in ended:
                self._told.add(record.key)
                self._say(ended_line(self._counted().objective, record))
            if ended or self._elapsed() - said > _PLAIN_SECONDS:
                said = self._elapsed()
                counted = self._counted()
                now = progress(counted, state)
                left = self._clock.left(counted, state, said)
                self._say(f"{headline(counted, now)}{left}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def ended_line(objective: str, record: TrialRecord) -> str:
    """One plain line for a run that has ended."""
    value = by_objective(value_of((objective,), record.history))[0]
    paired = record.paired_difference.get(objective)
    shown = "" if value is None else f" {objective} {value:.4f}"
    beside = "" if paired is None else f" ({paired:+.4f} to its baseline)"
    reason = f": {record.reason}" if record.reason else ""
    return f"{record.key} {record.state}{reason}, {len(record.history)} epochs{shown}{beside}"


@contextmanager
def live_view(
    console: Console | None, counted: Callable[[], Counted], ledger: Path
) -> Iterator[None]:
    """Show the campaign while the body runs; nothing without a console. ``render`` says what.

    ``counted`` may say something else later: limits can be changed while a campaign runs.
    """
    if console is None:
        yield
        return
    follower = _Follower(console, counted, ledger)
    follower.start()
    try:
        yield
    finally:
        follower.stop()
