"""The report's figures, computed from a study before anything is drawn."""

import math
import statistics as stats
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.reading import StudyView
from analysis.report.section import Figure
from study.formats import duration
from study.records.indistinct import first_word
from study.records.ledger_view import TrialRecord
from study.records.summary import TrialSummary
from study.records.verdict import verdict as search_verdict
from study.units import Unit
from trainables.metrics import words_of

STATIC_SHARE = 0.9
"""Share of epochs with a signal from which on adaptive noise is static in all but name."""


@dataclass(frozen=True)
class Adaptivity:
    """How adaptive a trial's noise really was.

    Attributes:
        listening: epochs past the warm-up and outside cooldowns.
        raised: those of them with any signal raised.
        by_signal: signal → those with it raised.
    """

    key: str
    listening: int
    raised: int
    by_signal: tuple[tuple[str, int], ...]
    noisy: int

    @property
    def share(self) -> float | None:
        return self.raised / self.listening if self.listening else None

    @property
    def is_static(self) -> bool:
        return self.share is not None and self.share >= STATIC_SHARE

    def row(self) -> tuple[object, ...]:
        share = "–" if self.share is None else f"{self.share:.0%}"
        return (
            self.key,
            self.listening,
            self.raised,
            Figure(share, self.share),
            self.noisy,
            self._what(),
        )

    def _what(self) -> str:
        if self.share is None:
            return "never listening"
        if self.is_static:
            return "static noise after a warm-up"
        return "adaptive" if self.raised else "never raised: the baseline"


def adaptivity(record: TrialRecord) -> Adaptivity:
    listening = [row for row in record.history if row.noise_phase in ("watching", "injecting")]
    noise = record.config.get("noise", {})
    names: Sequence[str] = noise.get("signals", ())
    return Adaptivity(
        key=record.key,
        listening=len(listening),
        raised=sum(bool(row.signals) for row in listening),
        by_signal=tuple((name, sum(name in row.signals for row in listening)) for name in names),
        noisy=sum(row.injected for row in record.history),
    )


def is_adaptive(record: TrialRecord) -> bool:
    return bool(record.config.get("noise", {}).get("policy") == "on_stagnation")


@dataclass(frozen=True)
class BaselineBand:
    """The baseline's objective over its seeds.

    Attributes:
        values: (seed, value).
        own: the value on the trials' seed; None while there is none.
    """

    objective: str
    values: tuple[tuple[int, float], ...]
    own: float | None

    @property
    def low(self) -> float:
        return min(value for _, value in self.values)

    @property
    def high(self) -> float:
        return max(value for _, value in self.values)

    def row(self, unit: Unit) -> tuple[object, ...]:
        numbers = [value for _, value in self.values]
        spread = stats.stdev(numbers) if len(numbers) > 1 else None
        figures = (stats.fmean(numbers), spread, self.low, self.high)
        return (
            words_of(self.objective),
            *(Figure(unit.value(value), value) for value in figures),
            len(numbers),
        )


def baseline_band(view: StudyView, index: int = 0) -> BaselineBand | None:
    """The baseline's values of an objective; None while no baseline is complete."""
    name = view.config.objective[index]
    found = ((baseline.seed, baseline.metrics.get(name)) for baseline in view.summary.baseline)
    values = tuple((seed, value) for seed, value in found if value is not None)
    return BaselineBand(name, values, dict(values).get(view.config.seeds[0])) if values else None


def verdict(view: StudyView) -> list[str]:
    """What the search says, in sentences, with what it can't say."""
    best, band = view.best, baseline_band(view)
    if best is None or band is None:
        return ["There is no verdict yet."]
    if view.config.multi_objective:
        front = view.summary.best_ids
        return [f"{len(front)} trials lie on the Pareto front: {', '.join(front)}.", _LUCK]
    if better_by(view, best) is None:
        first = first_word(view.config, view.summary.trials)
        return [f"The {first} trial can't be compared with the baseline of its seed."]
    unit = view.unit(view.config.objective[0])
    lines = search_verdict(view.config, view.summary, best, unit)
    name = view.config.objective[0]
    said = (line.replace(name, words_of(name)) for line in lines)
    # A trial's name keeps its small letter.
    keys = tuple(trial.trial_id for trial in view.summary.trials)
    sentences = (text if text.startswith(keys) else f"{text[0].upper()}{text[1:]}" for text in said)
    return [*(f"{text}." for text in sentences), _LUCK]


_LUCK = (
    "The best of many trials is partly luck, and this is validation data: only a confirmation, on "
    "fresh seeds and the test set, decides."
)


def better_by(view: StudyView, trial: TrialSummary, index: int = 0) -> float | None:
    """The paired difference in the objective's better direction: positive is better.

    Of a trial that raced it is the mean over the seeds after its last selection.
    """
    shown = trial.shown_difference
    value = shown[index] if isinstance(shown, list) else shown
    if value is None:
        return None
    return value if view.config.modes[index] == "max" else -value


@dataclass(frozen=True)
class Cost:
    """What the study cost, in epochs; the trials' but for the first two.

    Attributes:
        shared: reported without training: the baselines' own (saved by forking).
        stopped: epochs of the budget that trials stopped early did not need.
        failed: epochs trained for trials that failed.
        seconds: wall time of training, summed over the runs.
    """

    tuning_epochs: int
    baseline_epochs: int
    trained: int
    reported: int
    shared: int
    stopped: int
    failed: int
    seconds: float

    def rows(self) -> list[tuple[object, ...]]:
        """What cost or saved epochs, how many, and what is to be said of it."""
        share = f"{self.trained / self.reported:.0%} of what they reported" if self.reported else ""
        tuned = "" if self.tuning_epochs else "not tuned (--tune-baseline)"
        return [
            ("tuning the baseline", self.tuning_epochs, tuned),
            ("the baselines", self.baseline_epochs, ""),
            ("trained for the noise", self.trained, share),
            ("reported by trials", self.reported, ""),
            ("saved by forking from the baseline", self.shared, ""),
            ("saved by early stopping", self.stopped, ""),
            ("lost to failed trials", self.failed, ""),
            ("training, summed over all runs", None, duration(self.seconds)),
        ]


def cost(view: StudyView) -> Cost:
    trials = (*view.state.by_role("trial"), *view.state.by_role("race"))
    tuning, pinned = view.state.by_role("tuning"), view.state.by_role("baseline")
    budget = view.config.train.epochs
    return Cost(
        tuning_epochs=sum(len(r.history) for r in tuning),
        baseline_epochs=sum(len(r.history) for r in pinned),
        trained=sum(len(r.history) - r.shared_epochs for r in trials),
        reported=sum(len(r.history) for r in trials),
        shared=sum(r.shared_epochs for r in trials),
        # A trial without an epoch was never begun: nothing of it was saved.
        stopped=sum(budget - len(r.history) for r in trials if r.state == "pruned" and r.history),
        failed=sum(len(r.history) - r.shared_epochs for r in trials if r.state == "failed"),
        seconds=math.fsum(r.seconds or 0.0 for r in (*tuning, *trials, *pinned)),
    )


def outcome(record: TrialRecord) -> str:
    """How a trial ended, never-injected told apart."""
    if record.state == "complete" and record.first_injection_epoch is None:
        return "never injected"
    known = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
    return known.get(str(record.state), "unfinished")
