"""A phase of a campaign: trainings that must have ended before the next ones can be known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from study.records.ledger_view import LedgerState, TrialRecord
from study.records.planned_run import PlannedRun
from trainables.metrics import DIVERGED

if TYPE_CHECKING:  # Ray is imported once all that can be refused is refused.
    from ray.tune.search import Searcher

    from study.tune.early_stopping import WarmWorkers


@dataclass(frozen=True)
class Phase:
    """Trainings that the workers get together.

    Attributes:
        runs: which trainings, where they are known beforehand.
        searcher: what hands out trainings that are not; ``samples`` of them.
        spec: what the Trainable is told in this phase alone, fields of ``TrialSpec``.
        failed: told the key of each training that failed for good, and the reason.
        time_left: seconds until it is to end; None: it has no limit.
        needed: whether all of ``runs``, or any of them, must be complete to go on.
        remedy: what to do where they are not, because one diverged.
        at_end: done when the trainings are over, however they ended.
    """

    runs: Sequence[PlannedRun] = ()
    searcher: "Searcher | None" = None
    samples: int = 0
    spec: Mapping[str, Any] = field(default_factory=dict)
    failed: Callable[[str, str], None] = lambda key, reason: None
    scheduler: "WarmWorkers | None" = None
    time_left: Callable[[], float | None] = lambda: None
    needed: Literal["all", "any"] | None = None
    remedy: str = ""
    at_end: Callable[[], None] = lambda: None


def fatal_failure(phase: Phase, state: LedgerState) -> TrialRecord | None:
    """A run whose failure ends the campaign, because the phase needs it; all have ended."""
    failed = [r for run in phase.runs if (r := state.trials[run.key]).state == "failed"]
    enough = {"all": 1, "any": len(phase.runs)}.get(phase.needed or "")
    return failed[0] if failed and enough is not None and len(failed) >= enough else None


def fatal_message(phase: Phase, failed: TrialRecord) -> str:
    """Why the campaign ends with a run that it needs, and what to do where it diverged."""
    said = f"{failed.key}: {failed.reason}. Without the baseline nothing can be compared"
    diverged = failed.reason.startswith(DIVERGED)
    return f"{said}: {phase.remedy}" if diverged and phase.remedy else said
