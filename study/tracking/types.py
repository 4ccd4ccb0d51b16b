"""What the tracking store takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

STUDY_RUN = ""
"""The key under which the parent run of a study is found among its runs."""

NOTE_TAG = "mlflow.note.content"
REPORT_FILE = "report.html"
"""The report of a study, among the artifacts of its parent run."""


class StoreUnavailableError(RuntimeError):
    """The store can't be reached, or can't answer now."""


class StoreRefusedError(RuntimeError):
    """The store answered, and will not accept this."""


class MetricPoint(NamedTuple):
    """One value of one metric; ``time`` in ms since 1970."""

    key: str
    value: float
    time: int
    step: int


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run that is in the store."""

    run_id: str
    status: str
    started: int
    has_metrics: bool


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study as the store knows it; times in ms since 1970."""

    name: str
    uid: str
    experiment_id: str
    run_id: str
    status: str
    tags: Mapping[str, str]
    started: int
    ended: int | None


def fuller(a: FoundRun, b: FoundRun) -> FoundRun:
    return max(a, b, key=lambda run: (run.has_metrics, -run.started))


def stored_study(run: Any) -> StoredStudy:
    tags = dict(run.data.tags)
    return StoredStudy(
        name=tags.get("study", ""),
        uid=tags.get("study_id", ""),
        experiment_id=run.info.experiment_id,
        run_id=run.info.run_id,
        status=run.info.status,
        tags=tags,
        started=run.info.start_time,
        ended=run.info.end_time,
    )
