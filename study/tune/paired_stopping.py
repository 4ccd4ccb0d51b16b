"""Early stopping of trials that are beyond hope, by what paired differences have done so far.

A trial differs from the baseline of its seed by its noise alone. Their difference after equally
many epochs is known from the first noisy epoch on, and completed trials say how much differences
still grow from there. ``python -m benchmarks.early_decision`` replays this rule on recorded tables,
beside halving.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial

from study.records.ledger_view import TrialRecord
from study.tune.early_stopping import EarlyStopping
from trainables.metrics import EpochMetrics

LEVEL = 0.001
"""The share of trials of which the prediction would hope too little.

On the recorded tables 0.05 trains 6 to 11 % of the epochs less, and loses the best setting of 1 to
13 % of the searches more (docs/lab-notes.md). The winner is what a search is for.
"""

LEAST = 5
"""Completed trials before anything is predicted from them."""

Hope = Callable[[Sequence[float]], float]
"""What a trial may still gain, from what completed ones have gained from the same epoch on."""


def predicted(level: float) -> Hope:
    """The upper end of a prediction interval for one more of n: mean + t · sd · √(1 + 1/n).

    Summed in a fixed order: which trial completed first does not matter.
    """
    from scipy.special import stdtrit

    def upper(gained: Sequence[float]) -> float:
        n = len(gained)
        mean = sum(sorted(gained)) / n
        sd = math.sqrt(sum(sorted((one - mean) * (one - mean) for one in gained)) / (n - 1))
        return mean + float(stdtrit(n - 1, 1 - level)) * sd * math.sqrt(1 + 1 / n)

    return upper


Gains = dict[int, float]
"""By epochs completed, while there was noise: the difference to the baseline, higher is better."""


@dataclass
class PairedRule:
    """Ends a trial whose difference, with what it may still gain, does not reach what is asked.

    Asked is the best completed trial's difference, and never less than none: the baseline.

    Attributes:
        baseline: its objective after 1, 2, … epochs, higher is better; its length is the budget.
        beats_best: whether the best completed trial is asked for, or the baseline alone.
        guess: the objective of a model that guesses. What is worse counts as that, as in a race:
            a loss has no bounds, and after one that exploded everything would seem possible.
        reasons: trial key → why it ended.
    """

    baseline: Sequence[float]
    hope: Hope = field(default_factory=lambda: predicted(LEVEL))
    beats_best: bool = True
    guess: float = -math.inf
    reasons: dict[str, str] = field(default_factory=dict)
    _gains: dict[str, Gains] = field(default_factory=dict)

    def record(self, key: str, epochs_done: int, value: float) -> float:
        """Learn a trial's objective after an epoch since its noise began; returns its gain.

        A metric of one's own may be NaN now and then: that epoch is left out.
        """
        gain = max(value, self.guess) - max(self.baseline[epochs_done - 1], self.guess)
        if math.isfinite(gain):
            self._gains.setdefault(key, {})[epochs_done] = gain
        return gain

    def judge(self, key: str, epochs_done: int, judged_from: int, value: float) -> bool:
        gain = self.record(key, epochs_done, value)
        if epochs_done < judged_from or epochs_done == len(self.baseline):
            return True
        reason = self._hopeless(epochs_done, gain)
        if reason:
            self.reasons[key] = reason
            del self._gains[key]
        return not reason

    def _hopeless(self, done: int, gain: float) -> str:
        """Why a trial can be given up; empty if it can't."""
        end = len(self.baseline)
        completed = [gains for gains in self._gains.values() if end in gains]
        gained = [gains[end] - gains[done] for gains in completed if done in gains]
        if len(gained) < LEAST:
            return ""
        hope = self.hope(gained)
        asked = max([0.0, *(gains[end] for gains in completed)] if self.beats_best else [0.0])
        if not gain + hope < asked:  # nothing follows from a NaN
            return ""
        return (
            f"{gain:+.4g} beside the baseline (more is better), and at most {hope:+.4g} still to "
            f"gain by {len(gained)} completed trials, do not reach {asked:+.4g}, "
            f"{'the best of them' if asked else 'the baseline'}"
        )


class PairedStopping(EarlyStopping):
    """Stops trials that are beyond hope of beating the best completed one, and their baseline."""

    rule: PairedRule

    def __init__(
        self,
        objective: str,
        baseline: Sequence[EpochMetrics],
        *,
        guess: float | None,
        mode: str | None = None,
    ) -> None:
        """``baseline``: its whole history, on the seed of the trials.

        ``guess``: the objective of a model that guesses; None where it is not known.
        """
        super().__init__(objective, mode)
        self.rule = PairedRule([self.value(baseline[: n + 1]) for n in range(len(baseline))])
        if guess is not None:
            self.rule.guess = self._sign * guess
        self.reasons = self.rule.reasons

    def replay(self, records: Mapping[str, TrialRecord]) -> None:
        """Know what the ledger has of trials that are complete, or go on."""
        for key, record in records.items():
            begins = record.first_injection_epoch
            # With epochs lost, the objective of those so far is not known.
            if begins is None or record.state not in {None, "complete"} or record.lost_epochs:
                continue
            for index, row in enumerate(record.history):
                if row.epoch >= begins and row.finite:
                    self.rule.record(key, row.epoch + 1, self.value(record.history[: index + 1]))

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]
    ) -> None:
        """Learn from the last epoch: Tune hands that over here and nowhere else."""
        if result.get("training_iteration") == len(self.rule.baseline):
            self._goes_on(trial.config["key"], result)
