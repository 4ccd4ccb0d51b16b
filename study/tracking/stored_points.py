"""What MLflow has of a run already: asked before anything is sent there again.

MLflow drops a value whose metric, step and time it has. After lines of the ledger were lost, what
they said is recorded again, later: the same values at other times, or others.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from study.tracking.batches import MAX_PARAMETER, cut
from study.tracking.store import MlflowStore
from study.tracking.types import MetricPoint

_LARGEST = 1.7976931348623157e308
"""What MLflow's databases keep of an infinity."""


class ContradictionError(Exception):
    """MLflow has something else of a run than the ledger says now; it forgets nothing by itself."""


class StoredPoints:
    """The values of runs that an earlier process made: each metric is asked for once."""

    def __init__(self, store: MlflowStore) -> None:
        self._store = store
        self._names: dict[str, frozenset[str]] = {}
        self._points: dict[tuple[str, str], dict[int, float]] = {}

    def missing(self, run_id: str, points: Sequence[MetricPoint]) -> list[MetricPoint]:
        """Those of the points that the run lacks: a step of a metric is there once.

        ``ContradictionError``: it has another value there.
        """
        found = []
        for point in points:
            stored = self._of(run_id, point.key)
            if point.step not in stored:
                found.append(point)
            elif not same_value(stored[point.step], point.value):
                raise ContradictionError(f"{point.key} of step {point.step}")
        return found

    def sent(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Remember what the run has got now."""
        for point in points:
            self._of(run_id, point.key)[point.step] = point.value

    def check_parameters(self, run_id: str, params: Mapping[str, str]) -> None:
        """``ContradictionError`` if the run has another value of one of them."""
        stored = self._store.run(run_id).data.params
        for name, value in params.items():
            if stored.get(name, cut(value, MAX_PARAMETER)) != cut(value, MAX_PARAMETER):
                raise ContradictionError(name)

    def check_ended(self, run_id: str, metrics: Collection[str], last: int) -> None:
        """``ContradictionError`` if a metric goes on after the run's ``last`` epoch."""
        for name in metrics:
            step = max(self._of(run_id, name), default=last)
            if step > last:
                raise ContradictionError(f"{name} of step {step}")

    def forget(self, run_id: str) -> None:
        """Forget what a run has, which has ended or is gone."""
        self._names.pop(run_id, None)
        for key in [key for key in self._points if key[0] == run_id]:
            del self._points[key]

    def _of(self, run_id: str, name: str) -> dict[int, float]:
        if run_id not in self._names:
            self._names[run_id] = frozenset(self._store.run(run_id).data.metrics)
        if (run_id, name) not in self._points:
            asked = name in self._names[run_id]
            history = self._store.metric_history(run_id, name) if asked else []
            self._points[run_id, name] = {point.step: point.value for point in history}
        return self._points[run_id, name]


def same_value(a: float, b: float) -> bool:
    """Whether MLflow's value is the ledger's; NaN equals NaN here, and the largest an infinity."""
    a, b = (max(-_LARGEST, min(_LARGEST, value)) for value in (a, b))
    return a == b or (math.isnan(a) and math.isnan(b))
