"""The statistics of one epoch, and the one place that spells metric and objective names."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainables.errors import InputError, nearest

Phase = Literal["off", "warm_up", "watching", "injecting", "cooldown"]
Mode = Literal["max", "min"]
Unit = Literal["share of images", "nats"]

WhichWeights = Literal["best", "final"]
"""A run's weights: those with the best validation accuracy, or those of its last epoch."""

DecidingMetric = Literal["final_test_accuracy", "test_accuracy", "final_test_loss", "test_loss"]
"""The figures that a confirmation can decide by."""

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
    from ``noise_kind`` to ``signals`` say what the controller did in this epoch.
    ``clean_train_accuracy`` is that of the epoch's last weights on a fixed part of the training
    set, without noise or augmentation, in epochs that measure it (``TrainConfig.clean_gap``).
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
    clean_train_accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order; without what was not measured."""
        row = dataclasses.asdict(self)
        if self.clean_train_accuracy is None:
            del row["clean_train_accuracy"]
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
    """By the clean training accuracy where all of the last epochs have it.

    ``train_accuracy`` is taken at the perturbed point: noise in the last epochs looks like a gain.
    """
    last = history[-GAP_EPOCHS:]
    clean = [row.clean_train_accuracy for row in last]
    known = [value for value in clean if value is not None]
    trained = known if len(known) == len(last) else [row.train_accuracy for row in last]
    gaps = (a - row.val_accuracy for a, row in zip(trained, last, strict=True))
    return math.fsum(gaps) / len(last)


def _tail_mean(history: Sequence[EpochMetrics], statistic: str) -> float:
    """The mean over the history's tail; not finite where an epoch of the tail is not."""
    tail = history[-max(TAIL_EPOCHS, math.ceil(len(history) / TAIL_SHARE)) :]
    values = [float(getattr(row, statistic)) for row in tail]
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        # An exact sum refuses what a plain one can do: values near the largest double, ∞ − ∞.
        return sum(value / len(values) for value in values)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that a run ends with.

    Attributes:
        mode: whether more or less of it is better.
        unit: of the figure and of its differences; a share lies in [0, 1].
        worst: what a lost run is charged with where it must be charged with something; None: a
            loss has no worst value, and a lost run no charge.
        of: computes it from a history; None for figures on the test set.
        weights: whose figure on the test set it is; None for what a history tells.
    """

    name: str
    mode: Mode
    unit: Unit
    worst: float | None
    of: Callable[[Sequence[EpochMetrics]], float] | None = None
    weights: WhichWeights | None = None

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")


_SHARE: Unit = "share of images"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("final_test_accuracy", "max", _SHARE, 0.0, weights="final"),
        Metric("test_accuracy", "max", _SHARE, 0.0, weights="best"),
        Metric("final_test_loss", "min", "nats", None, weights="final"),
        Metric("test_loss", "min", "nats", None, weights="best"),
        Metric(
            "best_val_accuracy",
            "max",
            _SHARE,
            0.0,
            lambda history: max(row.val_accuracy for row in history),
        ),
        Metric("final_val_accuracy", "max", _SHARE, 0.0, lambda history: history[-1].val_accuracy),
        Metric(
            "best_val_loss",
            "min",
            "nats",
            None,
            lambda history: min(row.val_loss for row in history),
        ),
        Metric("generalization_gap", "min", _SHARE, 1.0, _generalization_gap),
        Metric(
            "tail_val_accuracy",
            "max",
            _SHARE,
            0.0,
            lambda history: _tail_mean(history, "val_accuracy"),
        ),
        Metric(
            "tail_val_loss", "min", "nats", None, lambda history: _tail_mean(history, "val_loss")
        ),
    )
}
"""All figures that runs are compared by: those on the test set, then the objectives."""

_OBJECTIVES = {name: metric.of for name, metric in METRICS.items() if metric.of is not None}

OBJECTIVES: dict[str, Mode] = {name: METRICS[name].mode for name in _OBJECTIVES}
"""Objective name → whether it is maximised or minimised."""

DIVERGED = "diverged"
"""What the reason of a run begins with whose training gave a number that is not finite."""


def guessing(objective: str, classes: int) -> float | None:
    """An objective's value for a model that knows nothing; None where that says nothing."""
    if objective.endswith("accuracy"):
        return 1 / classes
    return math.log(classes) if objective.endswith("loss") else None


TEST_FIGURES: tuple[str, ...] = tuple(
    name for name, metric in METRICS.items() if metric.weights is not None
)
"""Figures on the test set; never an objective of a search."""

ACCURACY_MARGIN = 0.003
LOSS_MARGIN = 0.01
"""The smallest difference worth having, unless told otherwise: three images of a thousand; a
hundredth of a nat, by which the right class becomes 1 % more probable on (geometric) average."""

_FEWEST_IMAGES = 2


@dataclass(frozen=True, slots=True)
class Margin:
    """The smallest difference worth having in a metric; ``words`` say it with its reason."""

    value: float
    words: str


def effective_margin(metric: str, wanted: float | None, test_images: int | None) -> Margin:
    """The margin that holds: as ``wanted`` (None: the default), but no finer than test images tell.

    A difference of accuracies is at least ``_FEWEST_IMAGES`` images of the test set, where their
    number is known.
    """
    unit = METRICS[metric].unit
    share = unit == _SHARE
    value = (ACCURACY_MARGIN if share else LOSS_MARGIN) if wanted is None else wanted
    if share and test_images and value < _FEWEST_IMAGES / test_images:
        value = _FEWEST_IMAGES / test_images
        return Margin(value, f"{value:.4g} ({_FEWEST_IMAGES} of the {test_images:,} test images)")
    return Margin(value, f"{value:.4g}" if share else f"{value:.4g} nats")


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
    return _OBJECTIVES[name](history)


def objective_values(history: Sequence[EpochMetrics]) -> dict[str, float]:
    """All objectives after the epochs in ``history``."""
    return {name: objective_value(name, history) for name in OBJECTIVES}


def is_better(row: EpochMetrics, best: EpochMetrics | None) -> bool:
    """Whether ``row`` is the better checkpoint: by validation accuracy, then loss, then age."""
    if best is None:
        return True
    return (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss)
