"""The statistics of one epoch, and the one place that spells metric and objective names."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from trainables.errors import InputError, nearest

Phase = Literal["off", "warm_up", "watching", "injecting", "cooldown"]
Mode = Literal["max", "min"]
Unit = str
"""``share of images`` and ``nats`` where images are classified; a task says its own."""

WhichWeights = Literal["best", "final"]
"""A run's weights: those with the best validation accuracy, or those of its last epoch."""

GAP_EPOCHS = 10
"""Epochs that the objective ``generalization_gap`` is averaged over."""

ACCURACY_MARGIN = 0.003
LOSS_MARGIN = 0.01
"""The smallest difference worth having, unless told otherwise: three images of a thousand; a
hundredth of a nat, by which the right class becomes 1 % more probable on (geometric) average."""

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
    A task of one's own may have no accuracy, and say no ``lr``: they are NaN. Its losses are in a
    unit of its own, and ``own`` holds its further metrics, as ``train_NAME`` and ``val_NAME``.
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
    own: Mapping[str, float] = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order; without what was not measured."""
        row = dataclasses.asdict(self)
        if self.clean_train_accuracy is None:
            del row["clean_train_accuracy"]
        if not self.own:
            del row["own"]
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

    def statistics(self) -> dict[str, float]:
        """``STATISTICS`` by name, then ``own``; without what a task does not have."""
        found = {name: float(getattr(self, name)) for name in STATISTICS}
        lacks = [name for name in _NOT_EVERYWHERE if math.isnan(found[name])]
        return {name: value for name, value in found.items() if name not in lacks} | dict(self.own)


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

_NOT_EVERYWHERE = ("train_accuracy", "val_accuracy", "lr")
"""Statistics that a task of one's own need not have; classifiers have them in every epoch."""


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
    values = [_value(row, statistic) for row in tail]
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        # An exact sum refuses what a plain one can do: values near the largest double, ∞ − ∞.
        return sum(value / len(values) for value in values)


def _value(row: EpochMetrics, statistic: str) -> float:
    return float(row.own[statistic] if statistic in row.own else getattr(row, statistic))


@dataclass(frozen=True, slots=True)
class TaskMetric:
    """What a task of one's own says of a metric that it measures.

    Attributes:
        mode: ``max`` or ``min``, whether more or less of it is better.
        unit: of the metric and of its differences, in a word or two.
        worst: what a run that diverged is charged with in a race, as the value of a model that
            knows nothing; None: such a run loses.
        margin: the smallest difference worth having; None: a study must be given one (--margin) to
            decide by this metric.
    """

    mode: Mode
    unit: str
    worst: float | None = None
    margin: float | None = None


def words_of(metric: str) -> str:
    """A metric's name as it stands in a sentence."""
    return metric.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that a run ends with.

    Attributes:
        mode: whether more or less of it is better.
        unit: of the figure and of its differences; a share lies in [0, 1].
        of: computes it from a history; None for figures on the test set.
        weights: whose figure on the test set it is; None for what a history tells.
        worst: what a run that diverged is charged with in a race, as the task or the metric of
            one's own declares it; None: such a run loses. Figures of images that are built in
            need none: ``guessing`` says it by the number of classes.
        margin: the smallest difference worth having, unless told otherwise; None: there is none.
    """

    name: str
    mode: Mode
    unit: Unit
    of: Callable[[Sequence[EpochMetrics]], float] | None = None
    weights: WhichWeights | None = None
    worst: float | None = None
    margin: float | None = None

    @property
    def words(self) -> str:
        return words_of(self.name)


SHARE: Unit = "share of images"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("final_test_accuracy", "max", SHARE, weights="final"),
        Metric("test_accuracy", "max", SHARE, weights="best"),
        Metric("final_test_loss", "min", "nats", weights="final"),
        Metric("test_loss", "min", "nats", weights="best"),
        Metric(
            "best_val_accuracy",
            "max",
            SHARE,
            lambda history: max(row.val_accuracy for row in history),
        ),
        Metric("final_val_accuracy", "max", SHARE, lambda history: history[-1].val_accuracy),
        Metric(
            "best_val_loss",
            "min",
            "nats",
            lambda history: min(row.val_loss for row in history),
        ),
        # Of a task of one's own with an accuracy; of images such a run loses.
        Metric("generalization_gap", "min", SHARE, _generalization_gap, worst=1.0),
        Metric(
            "tail_val_accuracy",
            "max",
            SHARE,
            lambda history: _tail_mean(history, "val_accuracy"),
        ),
        Metric("tail_val_loss", "min", "nats", lambda history: _tail_mean(history, "val_loss")),
    )
}
"""All figures that runs are compared by: those on the test set, then the objectives."""

_OBJECTIVES = {name: metric.of for name, metric in METRICS.items() if metric.of is not None}

OBJECTIVES: Mapping[str, Mode] = {name: METRICS[name].mode for name in _OBJECTIVES}
"""Objective name → whether it is maximised or minimised, where images are classified."""

_OF_OWN = {"tail_": _tail_mean, "final_": lambda history, name: _value(history[-1], name)}
"""The objectives that each further metric of a task has: what is put before ``val_NAME``."""


def metrics_of(declared: Mapping[str, TaskMetric]) -> Mapping[str, Metric]:
    """All figures that runs of a task are compared by; of images, which declare none, ``METRICS``.

    Of a metric called ``loss`` or ``accuracy`` they are those of ``METRICS``, of any other NAME
    ``final_test_NAME``, ``test_NAME``, ``tail_val_NAME`` and ``final_val_NAME``.
    """
    if not declared:
        return METRICS
    found: dict[str, Metric] = {}
    for name, said in declared.items():
        known = [m for m in METRICS.values() if m.name.endswith(f"_{name}")]
        if name not in {"loss", "accuracy"}:
            weights: tuple[WhichWeights, ...] = ("final", "best")
            before = ("final_test_", "test_")
            known = [
                Metric(prefix + name, said.mode, said.unit, weights=which, worst=said.worst)
                for prefix, which in zip(before, weights, strict=True)
            ]
            known += [
                Metric(own, said.mode, said.unit, partial(objective_value, own), worst=said.worst)
                for own in (f"{prefix}val_{name}" for prefix in _OF_OWN)
            ]
        elif name == "accuracy":
            known.append(METRICS["generalization_gap"])
        for metric in known:
            changed = {"unit": said.unit, "margin": said.margin}
            if metric.name != "generalization_gap":
                changed["worst"] = said.worst
            found[metric.name] = dataclasses.replace(metric, **changed)  # type: ignore[arg-type]
    return found


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


def test_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some figures that are of the test set, those of a task of one's own included."""
    known = {name: figures[name] for name in TEST_FIGURES if name in figures}
    own = [name for name in figures if name.startswith(("test_", "final_test_"))]
    return known | {name: figures[name] for name in own if name not in known}


def check_objectives(names: Sequence[str], metrics: Mapping[str, Metric] = METRICS) -> None:
    """Refuse unknown, doubled or meaningless objectives."""
    objectives = [name for name, metric in metrics.items() if metric.of is not None]
    for name in names:
        if name not in objectives:
            raise InputError(f"objective = {name!r}: {nearest(name, objectives)}")
    if not 1 <= len(names) <= 2 or len(set(names)) != len(names):
        raise InputError(f"objective = {list(names)}: give one objective, or two different ones")
    if tuple(names) == ("generalization_gap",):
        raise InputError(
            "objective = 'generalization_gap': refused as the only objective, since a model that "
            "has learnt nothing has no gap; combine it, e.g. best_val_accuracy,generalization_gap"
        )


def check_deciding(name: str, metrics: Mapping[str, Metric] = METRICS) -> None:
    """Refuse what no confirmation can decide by."""
    known = [metric.name for metric in metrics.values() if metric.weights is not None]
    if name not in known:
        raise InputError(f"decide_by (--decide-by) = {name!r}: {nearest(name, known)}")


def modes_of(objectives: Sequence[str] | Mapping[str, Mode]) -> list[Mode]:
    """The modes of objectives: as given with them, or as ``OBJECTIVES`` has them."""
    given = objectives if isinstance(objectives, Mapping) else OBJECTIVES
    return [given[name] for name in objectives]


def objective_value(name: str, history: Sequence[EpochMetrics]) -> float:
    """The value of an objective after the epochs in ``history`` (at least one)."""
    if name in _OBJECTIVES:
        return _OBJECTIVES[name](history)
    prefix = next(prefix for prefix in _OF_OWN if name.startswith(prefix))
    return _OF_OWN[prefix](history, name.removeprefix(prefix))


def objective_values(history: Sequence[EpochMetrics]) -> dict[str, float]:
    """All objectives after the epochs in ``history``; without those that a task does not have."""
    last = history[-1]
    found = {name: objective_value(name, history) for name in OBJECTIVES}
    if math.isnan(last.val_accuracy):
        found = {name: value for name, value in found.items() if name.endswith("loss")}
    own = [name for name in last.own if name.startswith("val_")]
    return found | {p + name: objective_value(p + name, history) for name in own for p in _OF_OWN}


def is_better(row: EpochMetrics, best: EpochMetrics | None) -> bool:
    """Whether ``row`` is the better checkpoint: by validation accuracy, then loss, then age.

    By the loss alone where there is no accuracy.
    """
    if best is None:
        return True
    if math.isnan(row.val_accuracy):
        return row.val_loss < best.val_loss
    return (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss)
