"""Which thresholds make a signal fire on the baseline's history, neither always nor never."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from search_spaces.sampling import Floats, Ints, sample
from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics
from trainables.noise.readings import readings
from trainables.noise.signals import SIGNALS

MAX_NEVER = 0.08
"""Largest share of a signal's settings that may never inject; the aim is a tenth of the space."""
MAX_AT_FIRST = 0.2
"""Largest share that may inject at once; the aim is a quarter of the space, where signals that are
listened to together fire earlier than each alone."""
LEARNED = 0.01
"""A baseline has learned nothing since an epoch if its training loss never fell by more than this
share of what it was before that epoch. To inject at once is then what a signal is for."""
TRAINED = 0.3
"""Share of all epochs that a signal's settings may train, on average, before it counts against a
range: what is trained before the fork is shared with the baseline, and costs nothing."""
_TIMINGS = 256
_LEVELS = 30
_QUANTILES = (0.02, 0.98)

_NEEDED = "it injects as soon as it may, and the baseline learns nothing from there on"

_TIMING_PATHS = ("noise/warmup_epochs", "noise/window", "noise/trigger_epochs")


@dataclass(frozen=True)
class _Timing:
    warmup: int
    window: int
    trigger: int


@dataclass(frozen=True)
class _Found:
    notes: Sequence[str]
    dropped: Mapping[str, str]
    ranges: Mapping[str, BaseDistribution] = field(default_factory=dict)


@dataclass(frozen=True)
class _Table:
    """When noise would begin by one signal alone: rows are timings, columns candidate values.

    Attributes:
        never, at_first: by candidate, the share of timings by which it never begins, or begins at
            the first epoch at which it could although the baseline learns something after it.
        needed: the share by which it begins at that epoch, and the baseline learns nothing after.
    """

    forks: Ints
    never: Floats
    at_first: Floats
    needed: Floats

    def allows(self, chosen: slice) -> bool:
        return bool(
            self.never[chosen].mean() <= MAX_NEVER and self.at_first[chosen].mean() <= MAX_AT_FIRST
        )

    def why_not(self) -> str:
        if self.never.min() == 1:
            return "the baseline never raises it for long enough"
        if self.at_first.min() > MAX_AT_FIRST:
            return (
                f"whatever the threshold, {_at_least(self.at_first)} of its settings inject as "
                "soon as they may"
            )
        if self.never.min() > MAX_NEVER:
            return f"whatever the threshold, {_at_least(self.never)} of its settings never inject"
        return "its settings mostly inject as soon as they may, or never"


class View:
    """A baseline as the signals of a space would see it."""

    def __init__(
        self,
        box: Mapping[str, BaseDistribution],
        base: TrainConfig,
        history: Sequence[EpochMetrics],
    ) -> None:
        self._box = box
        self._base = base
        self._history = history
        self._epochs = min(base.epochs, len(history) + 1)
        drawn = sample({path: box[path] for path in _TIMING_PATHS if path in box}, _TIMINGS, seed=0)
        columns = [
            drawn.get(path, [getattr(base.noise, path.removeprefix("noise/"))] * _TIMINGS)
            for path in _TIMING_PATHS
        ]
        self._idle = learned_nothing([row.train_loss for row in history], self._epochs)
        self._timings = [_Timing(*row) for row in zip(*columns, strict=True)]
        self._scores: dict[int, dict[str, Floats]] = {
            window: self._score(window) for window in {timing.window for timing in self._timings}
        }

    def _score(self, window: int) -> dict[str, Floats]:
        """Each signal's score before each epoch; infinite where it can't be raised."""
        noise = self._base.noise.model_copy(
            update={"signals": tuple(SIGNALS), "window": window, "warmup_epochs": 0}
        )
        found = readings(noise, self._history, self._epochs)
        return {
            name: np.array([np.inf if v is None else SIGNALS[name].sign * v for v in values])
            for name, values in found.items()
        }

    def find(self, path: str, names: Sequence[str]) -> _Found:
        """The setting's range for all its signals, or for one of them; the others are dropped."""
        candidates = self._candidates(path, names)
        if len(candidates) == 0:
            always = [name for name in names if self._is_raised_whatever(name)]
            if always and self._learns_nothing():
                others = {
                    name: self._without_candidates(name) for name in names if name not in always
                }
                notes, dropped = _left_out(others)
                kept = [f"signal {name}: {path} stays as it is; {_NEEDED}" for name in always]
                return _Found([*kept, *notes], dropped)
            return _Found(*_left_out({name: self._without_candidates(name) for name in names}))
        tables = {name: self._table(name, candidates) for name in names}
        alone = [(name,) for name in names]
        for served in dict.fromkeys([tuple(names), *alone]):
            chosen = _widest([tables[name] for name in served], self._epochs)
            if chosen is not None:
                return self._chosen(path, served, candidates, chosen, tables)
        return _Found(*_left_out({name: table.why_not() for name, table in tables.items()}))

    def _is_raised_whatever(self, name: str) -> bool:
        """Whether it is raised always, of a setting without candidates."""
        return len(self._pooled(name)) > 0 and SIGNALS[name].factor > 0

    def _learns_nothing(self) -> bool:
        """Whether the baseline learns nothing after the earliest noise of any timing."""
        return bool(self._idle[min(max(t.warmup, t.window) for t in self._timings)])

    def _without_candidates(self, name: str) -> str:
        if self._is_raised_whatever(name):
            return "the baseline raises it always, whatever the threshold"
        return "the baseline never raises it"

    def _chosen(
        self,
        path: str,
        served: Sequence[str],
        candidates: Floats,
        chosen: slice,
        tables: Mapping[str, _Table],
    ) -> _Found:
        low, high = float(candidates[chosen][0]), float(candidates[chosen][-1])
        distribution: BaseDistribution = (
            IntDistribution(round(low), round(high))
            if isinstance(self._box[path], IntDistribution)
            else FloatDistribution(low, high, log=True)
        )
        kept = [
            f"signal {name}: {path} from {low:.3g} to {high:.3g}, by which the baseline raises it "
            f"in {self._raised(name, low, high)} of the windows past the warm-up"
            + (f"; {_NEEDED}" if tables[name].needed[chosen].mean() > MAX_AT_FIRST else "")
            for name in served
        ]
        others = {
            name: table.why_not()
            if _widest([table], self._epochs) is None
            else f"no range of {path} serves both it and {served[0]}"
            for name, table in tables.items()
            if name not in served
        }
        notes, dropped = _left_out(others)
        return _Found([*kept, *notes], dropped, {path: distribution})

    def _raised(self, name: str, low: float, high: float) -> str:
        pooled, factor = self._pooled(name), SIGNALS[name].factor
        ends = sorted(float((pooled < factor * value).mean()) for value in (low, high))
        return f"{ends[0]:.0%} to {ends[1]:.0%}"

    def _pooled(self, name: str) -> Floats:
        """All finite scores over windows past the shortest warm-up."""
        start = min(timing.warmup for timing in self._timings)
        scores = [scores[name][max(start, window) :] for window, scores in self._scores.items()]
        pooled: Floats = np.concatenate(scores)
        return pooled[np.isfinite(pooled)]

    def _candidates(self, path: str, names: Sequence[str]) -> Floats:
        """Values of a setting to try, rising: between quantiles of what it is compared with."""
        searched = self._box[path]
        if isinstance(searched, IntDistribution):
            return np.arange(searched.low, searched.high + 1, dtype=float)
        ends: list[float] = []
        for name in names:
            values = self._pooled(name) / SIGNALS[name].factor
            # Thresholds are positive: what lies below 0 is on the same side of all of them.
            positive = values[values > 0]
            if len(positive):
                ends += np.quantile(positive, _QUANTILES).tolist()
        return np.geomspace(min(ends), max(ends), _LEVELS) if ends else np.empty(0)

    def _table(self, name: str, candidates: Floats) -> _Table:
        levels = SIGNALS[name].factor * candidates
        forks = np.empty((len(self._timings), len(candidates)), dtype=np.int64)
        first = np.empty_like(forks)
        for index, timing in enumerate(self._timings):
            forks[index] = self._forks(name, timing, levels)
            first[index] = self._first(name, timing, candidates)
        at_first, idle = forks == first, self._idle[forks]
        return _Table(
            forks,
            never=(forks == self._epochs).mean(0),
            at_first=(at_first & ~idle).mean(0),
            needed=(at_first & idle).mean(0),
        )

    def _forks(self, name: str, timing: _Timing, levels: Floats) -> Ints:
        raised = self._scores[timing.window][name] < levels[:, None]
        raised[:, : timing.warmup] = False
        streak = raised.copy()
        for back in range(1, timing.trigger):
            streak[:, back:] &= raised[:, :-back]
            streak[:, :back] = False
        return np.where(streak.any(1), streak.argmax(1), self._epochs)

    def _first(self, name: str, timing: _Timing, candidates: Floats) -> list[int]:
        """The first epoch at which noise could begin, by candidate."""
        noise = self._base.noise.model_copy(
            update={
                "policy": "on_stagnation",
                "signals": (name,),
                "warmup_epochs": timing.warmup,
                "window": timing.window,
                "trigger_epochs": timing.trigger,
            }
        )
        setting = SIGNALS[name].setting
        if not isinstance(self._box.get(SIGNALS[name].path), IntDistribution):
            # Only a setting in epochs moves that epoch.
            return [noise.earliest_injection() or 0] * len(candidates)
        return [
            noise.model_copy(update={setting: int(value)}).earliest_injection() or 0
            for value in candidates
        ]


def learned_nothing(losses: Sequence[float], epochs: int) -> NDArray[np.bool_]:
    """For each epoch from 0 to ``epochs``: whether a training learned nothing from there on.

    That is what noise that begins there meets: the loss of the epoch before it is compared with the
    lowest from it on. Nothing is said of epochs 0 and ``epochs``, with no epoch before or after.

    Args:
        losses: the training loss of each epoch.
    """
    found = np.zeros(epochs + 1, dtype=np.bool_)
    for epoch in range(1, min(epochs, len(losses))):
        lowest = min(losses[epoch:epochs])
        found[epoch] = lowest >= losses[epoch - 1] - LEARNED * abs(losses[epoch - 1])
    return found


_LEFT_OUT = " is left out: "


def about_a_signal(note: str) -> bool:
    """Whether a note of a study is one of those about calibrated thresholds."""
    return note.startswith("signal ")


def about_signals(notes: Sequence[str]) -> str:
    """Those notes in a line; empty if there is none."""
    about = [note for note in notes if about_a_signal(note)]
    dropped = [note.split()[1] for note in about if _LEFT_OUT in note]
    set_by = sorted({note.split()[1].rstrip(":") for note in about if _LEFT_OUT not in note})
    parts = [f"set for {', '.join(set_by)}"] if set_by else []
    parts += [f"left out: {', '.join(dropped)}"] if dropped else []
    return f"signals, by the baseline: {'; '.join(parts)} (the report says how)" if parts else ""


def _left_out(reasons: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    return [f"signal {name}{_LEFT_OUT}{why}" for name, why in reasons.items()], dict(reasons)


def _at_least(found: Floats) -> str:
    return "all" if found.min() == 1 else f"{found.min():.0%} or more"


def _widest(tables: Sequence[_Table], epochs: int) -> slice | None:
    """The range of neighbouring candidates that spreads the forks widest within the limits."""
    best: tuple[float, slice] | None = None
    forks = np.concatenate([table.forks for table in tables])
    count = forks.shape[1]
    for start in range(count):
        for stop in range(start + 1, count + 1):
            chosen = slice(start, stop)
            if not all(table.allows(chosen) for table in tables):
                continue
            begun = forks[:, chosen]
            low, high = np.quantile(begun[begun < epochs], (0.1, 0.9))
            # A wide range of thresholds is worth something too: a trial's later injections depend
            # on a course that the baseline does not tell.
            trained = 1 - float(begun.mean()) / epochs
            cost = 4 * max(0.0, trained - TRAINED)
            score = float(high - low) / epochs + (stop - start) / count - cost
            if best is None or score > best[0]:
                best = score, chosen
    return None if best is None else best[1]
