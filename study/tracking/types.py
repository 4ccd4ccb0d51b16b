"""What the tracking store takes and gives."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

STUDY_RUN = ""
"""The key under which the parent run of a study is found among its runs."""

PLACE_TAG = "place"
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
    run_id: str
    status: str
    started: int
    has_metrics: bool
