"""What a trial's end means to the sampler: a value, a failure, or nothing to learn."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from study.records.ledger_view import TrialRecord
from trainables.metrics import DIVERGED

_OUT_OF_MEMORY = re.compile(r"torch(\.cuda)?\.OutOfMemoryError|(CUDA|HIP|MPS)\b.*out of memory")


@dataclass(frozen=True)
class Outcome:
    """What Optuna is told of an ended trial; only a complete one has ``values``.

    ``curve``: whether Optuna is told its values epoch by epoch, too. Those of a diverged trial are
    kept back: Optuna would take the last of them for the trial's own value.
    """

    state: TrialState
    values: tuple[float, ...] | None = None
    curve: bool = True


WITHOUT_VALUE = Outcome(TrialState.PRUNED, curve=False)
"""A configuration to stay away from."""
TEACHES_NOTHING = Outcome(TrialState.FAIL, curve=False)


def judge_result(
    result: Mapping[str, Any], objectives: Sequence[str], epochs: int
) -> Outcome | None:
    """The outcome by a trial's last result; None if it reported nothing.

    A trial that ended before ``epochs``, the budget, was stopped early.
    """
    if not {"training_iteration", *objectives} <= result.keys():
        return None
    values = tuple(float(result[name]) for name in objectives)
    if result.get("diverged") or not all(map(math.isfinite, values)):
        return WITHOUT_VALUE
    if result["training_iteration"] >= epochs:
        return Outcome(TrialState.COMPLETE, values)
    return Outcome(TrialState.PRUNED)


def judge_failure(reason: str) -> Outcome:
    """The outcome of a trial that failed: only a bug in the code teaches nothing."""
    if reason.startswith(DIVERGED) or _OUT_OF_MEMORY.search(reason):
        return WITHOUT_VALUE
    return TEACHES_NOTHING


def judge_record(record: TrialRecord, objectives: Sequence[str]) -> Outcome:
    """The outcome of a trial that has ended by the ledger."""
    if record.state == "complete":
        return Outcome(TrialState.COMPLETE, tuple(record.values[name] for name in objectives))
    if record.state == "pruned":
        return Outcome(TrialState.PRUNED)
    return judge_failure(record.reason)
