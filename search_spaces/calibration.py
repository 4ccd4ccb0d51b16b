"""Calibrated spaces: the ranges of the thresholds, read off the baseline's own statistics.

A threshold in absolute units means nothing across models: most of a box that one would write down
is settings that never inject, or that inject as soon as they may. Until its noise begins a trial
equals its baseline, so that the baseline's recorded statistics say of any threshold when noise
would begin. Only what is sampled changes; given configurations are left alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from search_spaces.adaptive import (
    SignalSet,
    listening_only_to,
    signal_choices,
    signal_sets,
    with_effect,
)
from search_spaces.registry import SpaceSpec, first_possible_injection
from trainables.config import TrainConfig, apply_overrides
from trainables.metrics import EpochMetrics
from trainables.noise.controller import fork_epoch
from trainables.noise.signals import OVERFIT_DIVISOR, count_without_best, evaluate_signals
from trainables.noise_config import SignalName

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_NEVER = 0.08
"""Largest share of a signal's settings that may never inject; the aim is a tenth of the space."""
MAX_AT_FIRST = 0.2
"""Largest share that may inject at once; the aim is a quarter of the space, where signals that are
listened to together fire earlier than each alone."""
TRAINED = 0.3
"""Share of all epochs that a signal's settings may train, on average, before it counts against a
range: what is trained before the fork is shared with the baseline, and costs nothing."""
_TIMINGS = 256
_LEVELS = 30
_QUANTILES = (0.02, 0.98)


@dataclass(frozen=True)
class CalibratedSpace:
    """A space as it stays for the whole study.

    Attributes:
        distributions: the space, keyed by config path.
        notes: what was set and what was left out, in sentences for people.
        dropped: signals that were left out, and why.
    """

    distributions: Mapping[str, BaseDistribution]
    notes: tuple[str, ...] = ()
    dropped: Mapping[SignalName, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON types, for the study's records."""
        return {
            "distributions": {
                path: distribution_to_json(distribution)
                for path, distribution in self.distributions.items()
            },
            "notes": list(self.notes),
            "dropped": dict(self.dropped),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CalibratedSpace":
        """The inverse of ``to_json``."""
        return cls(
            distributions={
                path: json_to_distribution(text) for path, text in values["distributions"].items()
            },
            notes=tuple(values["notes"]),
            dropped=dict(values["dropped"]),
        )


@dataclass(frozen=True)
class ForkShares:
    """When the noise of a space's sampled configurations begins, by the baseline's history.

    Attributes:
        n: configurations sampled.
        never: share whose noise never begins.
        at_first: share whose noise begins at the first epoch at which it could.
        forks: fork epoch at the quantiles 0, 0.1, 0.25, 0.5, 0.75, 0.9 and 1 of those that
            inject; empty if none does.
        trained: share of all epochs that would be trained, the rest being the baseline's.
        first_possible: the earliest epoch at which any point of the space lets noise begin.
        epochs: the epoch budget.
    """

    n: int
    never: float
    at_first: float
    forks: tuple[int, ...]
    trained: float
    first_possible: int
    epochs: int

    def describe(self) -> str:
        """One line."""
        spread = (
            f"the others begin at epochs {self.forks[0]} to {self.forks[-1]}, half of them "
            f"between {self.forks[2]} and {self.forks[4]}"
            if self.forks
            else "none begins"
        )
        return (
            f"of {self.n} settings {self.never:.1%} never inject, {self.at_first:.1%} at the first "
            f"epoch at which they could; {spread} (possible: {self.first_possible} to "
            f"{self.epochs - 1}); {self.trained:.0%} of all epochs are trained"
        )


def shares(
    space: SpaceSpec,
    base: TrainConfig,
    history: Sequence[EpochMetrics],
    *,
    n: int = 1000,
    seed: int = 0,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> ForkShares:
    """Sample ``n`` configurations and see from the baseline's history when their noise begins.

    Args:
        space: the space.
        base: the base configuration.
        history: the baseline's whole history.
        n: how many configurations.
        seed: of the sample.
        distributions: those of a calibrated space; default: the space's own.
    """
    box = space.distributions(base) if distributions is None else distributions
    columns = _sample(box, n, seed)
    begins: list[int] = []
    at_first = 0
    for index in range(n):
        point = {path: column[index] for path, column in columns.items()}
        noise = apply_overrides(base, space.overrides(point)).noise
        fork = fork_epoch(history, noise, base.epochs)
        if fork is not None:
            begins.append(fork)
            at_first += fork == noise.earliest_injection()
    levels = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    return ForkShares(
        n=n,
        never=1 - len(begins) / n,
        at_first=at_first / n,
        forks=tuple(np.quantile(begins, levels, method="inverted_cdf").tolist()) if begins else (),
        trained=sum(base.epochs - fork for fork in begins) / (n * base.epochs),
        first_possible=first_possible_injection(space, base, box),
        epochs=base.epochs,
    )


def calibrate(
    space: SpaceSpec, base: TrainConfig, history: Sequence[EpochMetrics]
) -> CalibratedSpace:
    """Set a space's thresholds from the baseline's statistics, and leave out what says nothing.

    For each signal alone, with the space's own windows, warm-ups and triggers, each candidate
    threshold (between quantiles of the statistic over the windows past the warm-up) gives the
    epochs at which noise would begin. The range kept is the one that spreads them widest while few
    enough settings never inject, or inject at once; early forks, which cost most, count against it.
    A signal without such a range is left out.

    Args:
        space: the space.
        base: the base configuration.
        history: the whole history of its baseline.
    """
    box = space.distributions(base)
    choices = box.get("noise/signals")
    if space.policy != "on_stagnation" or not isinstance(choices, CategoricalDistribution):
        return CalibratedSpace(box, (f"space {space.name} has no thresholds to calibrate",), {})
    sets = signal_sets(choices.choices)
    listened = dict.fromkeys(name for names in sets for name in names)
    view = _View(box, base, history)
    ranges: dict[str, BaseDistribution] = {}
    notes: list[str] = []
    dropped: dict[SignalName, str] = {}
    for path in dict.fromkeys(_SETTINGS[name].path for name in listened):
        if path not in box:
            continue
        found = view.find(path, [name for name in listened if _SETTINGS[name].path == path])
        ranges |= found.ranges
        dropped |= found.dropped
        notes += found.notes
    kept = listening_only_to(sets, listened.keys() - dropped.keys())
    if not kept:
        why = "no signal has a range of thresholds that works; the space stays as it is"
        return CalibratedSpace(box, (*notes, why), {})
    return CalibratedSpace(_narrowed(box, ranges, kept, base), tuple(notes), dropped)


def _narrowed(
    box: Mapping[str, BaseDistribution],
    ranges: Mapping[str, BaseDistribution],
    kept: Sequence[SignalSet],
    base: TrainConfig,
) -> dict[str, BaseDistribution]:
    """The space with its ranges and signals replaced, and without what then has no effect."""
    replaced = {path: ranges.get(path, distribution) for path, distribution in box.items()}
    return with_effect({**replaced, "noise/signals": signal_choices(kept)}, base.noise)


@dataclass(frozen=True)
class _Setting:
    """The setting that decides when a signal is raised.

    Attributes:
        path: where it stands in the configuration.
        sign: of what is compared: a signal is raised if its score, its reading times ``sign``,
            lies below the setting's value times ``factor``.
        factor: see ``sign``.
    """

    path: str
    sign: float = 1.0
    factor: float = 1.0


_SETTINGS: Mapping[SignalName, _Setting] = {
    "grad_norm_plateau": _Setting("noise/grad_plateau_threshold"),
    "low_weight_update": _Setting("noise/weight_update_threshold"),
    "stuck": _Setting("noise/patience", sign=-1.0, factor=-1.0),
    "val_loss_plateau": _Setting("noise/plateau_delta"),
    "overfitting": _Setting("noise/plateau_delta", sign=-1.0, factor=-1.0 / OVERFIT_DIVISOR),
}

_TIMING_PATHS = ("noise/warmup_epochs", "noise/window", "noise/trigger_epochs")


@dataclass(frozen=True)
class _Timing:
    warmup: int
    window: int
    trigger: int


@dataclass(frozen=True)
class _Found:
    """What became of one setting and of the signals it decides."""

    notes: Sequence[str]
    dropped: Mapping[SignalName, str]
    ranges: Mapping[str, BaseDistribution] = field(default_factory=dict)


@dataclass(frozen=True)
class _Table:
    """When noise would begin by one signal alone: rows are timings, columns candidate values.

    Attributes:
        forks: the epoch; the budget if it never begins.
        never, at_first: by candidate, the share of timings by which it never begins, or begins at
            the first epoch at which it could.
    """

    forks: Ints
    never: Floats
    at_first: Floats

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


class _View:
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
        drawn = _sample(
            {path: box[path] for path in _TIMING_PATHS if path in box}, _TIMINGS, seed=0
        )
        columns = [
            drawn.get(path, [getattr(base.noise, path.removeprefix("noise/"))] * _TIMINGS)
            for path in _TIMING_PATHS
        ]
        self._timings = [_Timing(*row) for row in zip(*columns, strict=True)]
        self._scores: dict[int, dict[SignalName, Floats]] = {
            window: self._score(window) for window in {timing.window for timing in self._timings}
        }

    def _score(self, window: int) -> dict[SignalName, Floats]:
        """Each signal's score before each epoch; infinite where it can't be raised."""
        noise = self._base.noise.model_copy(
            update={
                "signals": tuple(_SETTINGS),
                "window": window,
                "warmup_epochs": 0,
                "patience": 0,
            }
        )
        scores = {name: np.full(self._epochs, np.inf) for name in _SETTINGS}
        count, best = 0, math.inf
        for epoch in range(1, self._epochs):
            count, best = count_without_best(count, best, self._history[epoch - 1].train_loss)
            for reading in evaluate_signals(noise, self._history, epoch, count):
                if reading.value is not None:
                    scores[reading.name][epoch] = _SETTINGS[reading.name].sign * reading.value
        return scores

    def find(self, path: str, names: Sequence[SignalName]) -> _Found:
        """The range of a setting for the signals that it decides: for all of them, or for one.

        A signal that the range does not serve is dropped; all are if there is none.
        """
        candidates = self._candidates(path, names)
        if len(candidates) == 0:
            return _Found(*_left_out({name: self._without_candidates(name) for name in names}))
        tables = {name: self._table(name, candidates) for name in names}
        alone = [(name,) for name in names]
        for served in dict.fromkeys([tuple(names), *alone]):
            chosen = _widest([tables[name] for name in served], self._epochs)
            if chosen is not None:
                values = candidates[chosen]
                return self._chosen(path, served, values, tables)
        return _Found(*_left_out({name: table.why_not() for name, table in tables.items()}))

    def _without_candidates(self, name: SignalName) -> str:
        if len(self._pooled(name)) > 0 and _SETTINGS[name].factor > 0:
            return "the baseline raises it always, whatever the threshold"
        return "the baseline never raises it"

    def _chosen(
        self,
        path: str,
        served: Sequence[SignalName],
        values: Floats,
        tables: Mapping[SignalName, _Table],
    ) -> _Found:
        low, high = float(values[0]), float(values[-1])
        distribution: BaseDistribution = (
            IntDistribution(round(low), round(high))
            if isinstance(self._box[path], IntDistribution)
            else FloatDistribution(low, high, log=True)
        )
        kept = [
            f"signal {name}: {path} from {low:.3g} to {high:.3g}, by which the baseline raises it "
            f"in {self._raised(name, low, high)} of the windows past the warm-up"
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

    def _raised(self, name: SignalName, low: float, high: float) -> str:
        pooled, factor = self._pooled(name), _SETTINGS[name].factor
        ends = sorted(float((pooled < factor * value).mean()) for value in (low, high))
        return f"{ends[0]:.0%} to {ends[1]:.0%}"

    def _pooled(self, name: SignalName) -> Floats:
        """All finite scores over windows past the shortest warm-up."""
        start = min(timing.warmup for timing in self._timings)
        scores = [scores[name][max(start, window) :] for window, scores in self._scores.items()]
        pooled: Floats = np.concatenate(scores)
        return pooled[np.isfinite(pooled)]

    def _candidates(self, path: str, names: Sequence[SignalName]) -> Floats:
        """Values of a setting to try, rising: between quantiles of what it is compared with."""
        searched = self._box[path]
        if isinstance(searched, IntDistribution):
            return np.arange(searched.low, searched.high + 1, dtype=float)
        ends: list[float] = []
        for name in names:
            values = self._pooled(name) / _SETTINGS[name].factor
            # Thresholds are positive: what lies below 0 is on the same side of all of them.
            positive = values[values > 0]
            if len(positive):
                ends += np.quantile(positive, _QUANTILES).tolist()
        return np.geomspace(min(ends), max(ends), _LEVELS) if ends else np.empty(0)

    def _table(self, name: SignalName, candidates: Floats) -> _Table:
        levels = _SETTINGS[name].factor * candidates
        forks = np.empty((len(self._timings), len(candidates)), dtype=np.int64)
        first = np.empty_like(forks)
        for index, timing in enumerate(self._timings):
            forks[index] = self._forks(name, timing, levels)
            first[index] = self._first(name, timing, candidates)
        return _Table(forks, (forks == self._epochs).mean(0), (forks == first).mean(0))

    def _forks(self, name: SignalName, timing: _Timing, levels: Floats) -> Ints:
        """The epoch at which noise would begin, by level."""
        raised = self._scores[timing.window][name] < levels[:, None]
        raised[:, : timing.warmup] = False
        streak = raised.copy()
        for back in range(1, timing.trigger):
            streak[:, back:] &= raised[:, :-back]
            streak[:, :back] = False
        return np.where(streak.any(1), streak.argmax(1), self._epochs)

    def _first(self, name: SignalName, timing: _Timing, candidates: Floats) -> list[int]:
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
        # Of the settings in question only the patience moves that epoch.
        patience = [int(value) for value in candidates] if name == "stuck" else [noise.patience]
        found = [
            noise.model_copy(update={"patience": value}).earliest_injection() or 0
            for value in patience
        ]
        return found if name == "stuck" else found * len(candidates)


def _left_out(reasons: Mapping[SignalName, str]) -> tuple[list[str], dict[SignalName, str]]:
    return [f"signal {name} is left out: {why}" for name, why in reasons.items()], dict(reasons)


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


def _sample(box: Mapping[str, BaseDistribution], n: int, seed: int) -> dict[str, list[Any]]:
    """``n`` independent points of a space, by path."""
    random = np.random.default_rng(seed)
    return {path: _draw(distribution, random, n) for path, distribution in box.items()}


def _draw(distribution: BaseDistribution, random: np.random.Generator, n: int) -> list[Any]:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return [choices[index] for index in random.integers(len(choices), size=n)]
        case IntDistribution(low=low, high=high):
            return [int(value) for value in random.integers(low, high + 1, size=n)]
        case FloatDistribution(low=low, high=high, log=log):
            draw: Callable[..., Floats] = random.uniform
            values = np.exp(draw(math.log(low), math.log(high), n)) if log else draw(low, high, n)
            return [float(value) for value in np.clip(values, low, high)]
    raise TypeError(f"no distribution of Optuna: {distribution!r}")
