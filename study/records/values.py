"""A run's figures, and what they are beside its baseline's: the one place that computes them."""

import math
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from study.records.ledger_view import TrialRecord
from study.statistics.paired import paired_differences
from trainables.metrics import EpochMetrics, objective_values

Value = float | list[float] | None


class ResultPart(BaseModel):
    """A part of a result that is written as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def by_objective(value: Value, objectives: int = 1) -> list[float | None]:
    """A value as a list, an entry for each objective."""
    if value is None:
        return [None] * objectives
    return list(value) if isinstance(value, list) else [value]


def differences_to_baseline(
    objectives: Sequence[str], record: TrialRecord, baseline: TrialRecord | None
) -> tuple[Value, float | None]:
    """Trial − baseline of the same seed: of the objectives, and of the final validation accuracy.

    A trial that ended early is compared with the baseline after as many epochs. None where there
    is nothing to compare, or a figure is no finite number.
    """
    if baseline is None or not record.history:
        return None, None
    same = baseline.history[: len(record.history)]
    if len(same) < len(record.history):
        return None, None
    found = paired_differences(objective_values(record.history), objective_values(same))
    return _searched(objectives, found), finite(found.get("final_val_accuracy", math.nan))


def value_of(objectives: Sequence[str], history: Sequence[EpochMetrics]) -> Value:
    """The objective's value, a list of them where there are several; None without epochs."""
    return _searched(objectives, objective_values(history)) if history else None


def _searched(objectives: Sequence[str], figures: Mapping[str, float]) -> Value:
    known = [figures.get(name, math.nan) for name in objectives]
    if not all(map(math.isfinite, known)):
        return None
    return known if len(objectives) > 1 else known[0]


def final_metrics(history: Sequence[EpochMetrics]) -> dict[str, float | None]:
    """The last epoch's statistics and the objectives; None where a figure is not finite."""
    if not history:
        return {}
    last = history[-1]
    row = {name: finite(value) for name, value in last.statistics().items()}
    return row | {name: finite(value) for name, value in objective_values(history).items()}


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
