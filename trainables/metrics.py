"""The statistics of one epoch, and the one place that spells metric and objective names."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainables.errors import InputError, nearest

Phase = Literal["off", "warm_up", "watching", "injecting", "cooldown"]
Mode = Literal["max", "min"]

GAP_EPOCHS = 10
"""Epochs that the objective ``generalization_gap`` is averaged over."""

TAIL_SHARE = 10
TAIL_EPOCHS = 3
"""A tail is the last tenth of a history, rounded up, and never less than three epochs."""

NEVER_INFINITE = ("train_loss", "val_loss", "grad_norm", "weight_update_norm")
"""Statistics that are finite numbers unless training has diverged."""


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """Statistics of one completed epoch.

    Accuracies lie in [0, 1]; losses are means over samples in nats. ``grad_norm`` is the mean over
    the epoch's steps of the global L2 norm before any noise; ``weight_update_norm`` the L2 norm of
    the parameters' change over the epoch; ``lr`` the learning rate of the last step. The fields
    from ``noise_kind`` on say what the controller did in this epoch.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    grad_norm: float
    weight_update_norm: float
    lr: float
    noise_kind: str = "none"
    noise_magnitude: float = 0.0
    noise_severity: float = 0.0
    noise_phase: str = "off"
    signals: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order."""
        row = dataclasses.asdict(self)
        row["signals"] = list(self.signals)
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "EpochMetrics":
        """The inverse of ``to_dict``; unknown keys are an error."""
        return cls(**{**row, "signals": tuple(row.get("signals", ()))})

    @property
    def injected(self) -> bool:
        return self.noise_kind != "none"

    @property
    def finite(self) -> bool:
        return all(math.isfinite(getattr(self, name)) for name in NEVER_INFINITE)


STATISTICS: tuple[str, ...] = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "grad_norm",
    "weight_update_norm",
    "lr",
)
"""The statistics of METHOD, in its order, as they are named in MLflow and in summaries."""


def _generalization_gap(history: Sequence[EpochMetrics]) -> float:
    last = history[-GAP_EPOCHS:]
    return math.fsum(row.train_accuracy - row.val_accuracy for row in last) / len(last)


def _tail_mean(history: Sequence[EpochMetrics], statistic: str) -> float:
    """The mean over the history's tail; not finite where an epoch of the tail is not."""
    tail = history[-max(TAIL_EPOCHS, math.ceil(len(history) / TAIL_SHARE)) :]
    values = [float(getattr(row, statistic)) for row in tail]
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        # An exact sum refuses what a plain one can do: values near the largest double, ∞ − ∞.
        return sum(value / len(values) for value in values)


_OBJECTIVES: dict[str, tuple[Mode, Callable[[Sequence[EpochMetrics]], float]]] = {
    "best_val_accuracy": ("max", lambda history: max(row.val_accuracy for row in history)),
    "final_val_accuracy": ("max", lambda history: history[-1].val_accuracy),
    "best_val_loss": ("min", lambda history: min(row.val_loss for row in history)),
    "generalization_gap": ("min", _generalization_gap),
    "tail_val_accuracy": ("max", lambda history: _tail_mean(history, "val_accuracy")),
    "tail_val_loss": ("min", lambda history: _tail_mean(history, "val_loss")),
}

OBJECTIVES: dict[str, Mode] = {name: mode for name, (mode, _) in _OBJECTIVES.items()}
"""Objective name → whether it is maximised or minimised."""

DIVERGED = "diverged"
"""What the reason of a run begins with whose training gave a number that is not finite."""


def guessing(objective: str, classes: int) -> float | None:
    """An objective's value for a model that knows nothing; None where that says nothing."""
    if objective.endswith("accuracy"):
        return 1 / classes
    return math.log(classes) if objective.endswith("loss") else None


TEST_FIGURES: tuple[str, ...] = ("test_accuracy", "test_loss")
"""Figures on the test set with the best weights by validation; never an objective of a search."""


def check_objectives(names: Sequence[str]) -> None:
    """Refuse unknown, doubled or meaningless objectives."""
    for name in names:
        if name not in OBJECTIVES:
            raise InputError(f"objective = {name!r}: {nearest(name, OBJECTIVES)}")
    if not 1 <= len(names) <= 2 or len(set(names)) != len(names):
        raise InputError(f"objective = {list(names)}: give one objective, or two different ones")
    if tuple(names) == ("generalization_gap",):
        raise InputError(
            "objective = 'generalization_gap': refused as the only objective, since a model that "
            "has learnt nothing has no gap; combine it, e.g. best_val_accuracy,generalization_gap"
        )


def objective_value(name: str, history: Sequence[EpochMetrics]) -> float:
    """The value of an objective after the epochs in ``history`` (at least one)."""
    return _OBJECTIVES[name][1](history)


def objective_values(history: Sequence[EpochMetrics]) -> dict[str, float]:
    """All objectives after the epochs in ``history``."""
    return {name: objective_value(name, history) for name in OBJECTIVES}


def is_better(row: EpochMetrics, best: EpochMetrics | None) -> bool:
    """Whether ``row`` is the better checkpoint: by validation accuracy, then loss, then age."""
    if best is None:
        return True
    return (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss)
