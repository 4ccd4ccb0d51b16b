"""MLflow held against the ledger: each run once, each step of a metric once, values as recorded."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from study.records.findings import Finding, Kind
from study.records.ledger_view import LedgerState, TrialRecord, recorded
from study.tracking.reader import ENDED, STUDY_ENDED, end_points, listened, metric_points
from study.tracking.steps import EpochSteps
from study.tracking.store import MlflowStore
from study.tracking.stored_points import same_value
from study.tracking.types import STUDY_RUN, MetricPoint

_PLACES = 5
"""EpochSteps of a metric that are named; more of them say the same."""


@dataclass(frozen=True)
class StoredRun:
    """What MLflow has of one run: ``points`` by metric."""

    run_id: str
    status: str
    points: Mapping[str, list[MetricPoint]]


def stored_runs(store: MlflowStore, experiment: str, uid: str) -> dict[str, list[StoredRun]]:
    """All runs of a study by key, whole; the study's own under ``STUDY_RUN``."""
    found: dict[str, list[StoredRun]] = {}
    for key, run in store.runs_of(experiment, uid):
        names = run.data.metrics if key != STUDY_RUN else ()
        points = {name: store.metric_history(run.info.run_id, name) for name in names}
        found.setdefault(key, []).append(StoredRun(run.info.run_id, run.info.status, points))
    return found


@dataclass(frozen=True)
class Mirror:
    """MLflow's runs of a study, and what they should be.

    Attributes:
        runs: as ``stored_runs`` gives them.
        sent: the ledger as far as it has been sent: MLflow has at least this.
        now: the whole ledger, read after MLflow: MLflow has at most this.
        objective: the first one.
        held: whether the study is being run.
    """

    runs: Mapping[str, list[StoredRun]]
    sent: LedgerState
    now: LedgerState
    objective: str | None
    held: bool

    def findings(self) -> Iterator[Finding]:
        for key, doubles in self.runs.items():
            if len(doubles) > 1:
                yield Finding("doubled", f"{_name(key)}: has {len(doubles)} runs in MLflow")
            if key != STUDY_RUN and key not in self.now.trials:
                yield Finding("different", f"{key}: a run in MLflow that the ledger does not know")
        wanted = ([STUDY_RUN] if self.sent.study else []) + list(self.sent.trials)
        for key in wanted:
            if key not in self.runs:
                yield Finding("missing", f"{_name(key)}: has no run in MLflow")
        yield from self._status_findings()
        told = {name for runs in self.runs.values() for run in runs for name in run.points}
        for key, record in self.now.trials.items():
            for run in self.runs.get(key, ())[:1]:
                yield from self._point_findings(record, run, told)

    @property
    def _steps(self) -> EpochSteps:
        return EpochSteps(self.now.study.first_step if self.now.study else 0)

    def _status_findings(self) -> Iterator[Finding]:
        study, over = self.now.study, self.sent.study is not None and self.sent.study.state
        if over and study is not None and study.state == over and STUDY_RUN in self.runs:
            status = self.runs[STUDY_RUN][0].status
            if status != STUDY_ENDED[over]:
                yield Finding("different", f"the study's run in MLflow is {status}, but {over}")
        for key, record in self.sent.trials.items():
            for run in self.runs.get(key, ())[:1]:
                now = self.now.trials[key]
                if record.state is not None and now.state == record.state:
                    if run.status != ENDED[record.state]:
                        wrong = f"{key}: its run in MLflow is {run.status}, but {record.state}"
                        yield Finding("different", wrong)
                elif over and not self.held and run.status == "RUNNING":
                    yield Finding("different", f"{key}: its run in MLflow is RUNNING after the end")

    def _point_findings(
        self, record: TrialRecord, run: StoredRun, told: set[str]
    ) -> Iterator[Finding]:
        """``told``: the metrics that any run has; others were not there in an earlier version."""
        most = self._points(record)
        sent = self.sent.trials.get(record.key)
        least = self._points(sent) if sent is not None else {}
        known = {row.epoch for row in record.history}
        whole = record.state != "complete" or recorded(record)
        budget = int(record.config["epochs"])
        lacking = set(range(budget)) - known if not whole else set(record.lost_epochs)
        lost = {self._steps.of(epoch) for epoch in lacking}
        wrong: dict[tuple[Kind, str], list[int]] = {}
        for name, points in run.points.items():
            if not any(name == metric for metric, _ in most):
                continue
            times = Counter(point.step for point in points)
            for point in points:
                wanted = most.get((name, point.step))
                if times[point.step] > 1:
                    wrong.setdefault(("doubled", name), []).append(point.step)
                elif wanted is None and point.step in lost:
                    continue  # It is the ledger that lacks it.
                elif wanted is None or not same_value(point.value, wanted):
                    wrong.setdefault(("different", name), []).append(point.step)
        have = {(name, point.step) for name, points in run.points.items() for point in points}
        for name, step in least.keys() - have:
            if name in told:
                wrong.setdefault(("missing", name), []).append(step)
        same: dict[tuple[Kind, tuple[int, ...]], list[str]] = {}
        for (kind, name), steps in sorted(wrong.items()):
            same.setdefault((kind, tuple(sorted(set(steps)))), []).append(name)
        for (kind, numbers), names in same.items():
            more = f" and {len(names) - 1} more metrics" if len(names) > 1 else ""
            shown = ", ".join(map(str, numbers[:_PLACES])) + (", …" if numbers[_PLACES:] else "")
            text = f"{record.key}: {names[0]}{more} in MLflow, step {shown}"
            yield Finding(kind, text)

    def _points(self, record: TrialRecord) -> dict[tuple[str, int], float]:
        signals, steps = listened(record.config), self._steps
        points = [p for row in record.history for p in metric_points(row, signals, 0, steps)]
        if record.finished:
            last = record.history[-1].epoch if record.history else 0
            points += end_points(record, self.objective, steps.whole(last), 0)
        return {(point.key, point.step): float(point.value) for point in points}


def _name(key: str) -> str:
    return key or "the study itself"
