"""The events of a ledger: what is recorded when a run starts, reports and ends."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainables.metrics import EpochMetrics

TrialState = Literal["complete", "pruned", "failed"]
StudyState = Literal["complete", "interrupted", "failed"]


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts them."""
    return time.time_ns() // 1_000_000


def new_uid() -> str:
    """A study's identity, which its name is not: another user may have chosen the same one."""
    return uuid.uuid4().hex


FIRST_STEP = 1
"""The step in MLflow of the first epoch, in studies that begin now. Earlier ones began at 0."""

TIE = "tie"
"""The tag at a study's end that says which trials share the best value."""


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """A study begins, or goes on after an interruption (``resumed``).

    Attributes:
        uid: its identity (``new_uid``), chosen once and repeated when it is resumed.
        config: its whole configuration as JSON types, without secrets.
        asked: what it asks, in a sentence for people.
        first_step: the step in MLflow of each run's first epoch; chosen once, and repeated.
        time: ms since 1970, here and in every event.
    """

    name: str
    uid: str
    config: Mapping[str, Any]
    objectives: tuple[str, ...] = ()
    asked: str = ""
    resumed: bool = False
    first_step: int = 0
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class StartEvent:
    """A run begins.

    Attributes:
        key: its stable key (``trial-0007``, ``baseline-seed0``).
        role: ``baseline``, ``tuning``, ``trial`` or ``race``; in a confirmation ``confirm``,
            ``placebo`` or ``clock``.
        overrides: what it changes in the base configuration, by path.
        config: its whole ``TrainConfig`` as JSON types.
        baseline: the digest of its baseline (a baseline's own).
    """

    key: str
    role: str
    seed: int
    overrides: Mapping[str, Any]
    config: Mapping[str, Any]
    baseline: str
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class EpochsEvent:
    """Epochs of a run: one that was trained, or many that it shares with its baseline."""

    key: str
    rows: tuple[EpochMetrics, ...]
    shared: bool = False
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class NoteEvent:
    """Tags of a run, or of the study itself (``key`` None)."""

    key: str | None
    tags: Mapping[str, str]
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class ArtifactEvent:
    """A file that belongs to a run, or to the study itself (``key`` None).

    ``path`` may be relative to the ledger's folder. ``folder`` is where the file goes among the
    run's artifacts; empty: the top.
    """

    key: str | None
    path: str
    folder: str = ""
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class EndEvent:
    """A run is over.

    Attributes:
        reason: why it ended, if it is not complete.
        values: every objective's value, and the figures on the test set if it was evaluated there;
            empty for a failed run.
        paired_difference: value − the baseline's after as many epochs, by objective.
        epochs_trained: epochs that were really trained, not shared with the baseline.
        fork_epoch: the epoch at which the run left its baseline's course, if it was forked.
        first_injection_epoch: the first noisy epoch.
        seconds: wall time of its training.
    """

    key: str
    state: TrialState
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    paired_difference: Mapping[str, float] = field(default_factory=dict)
    epochs_trained: int = 0
    fork_epoch: int | None = None
    first_injection_epoch: int | None = None
    seconds: float | None = None
    time: int = field(default_factory=now_ms)


@dataclass(frozen=True, slots=True)
class StudyEndEvent:
    """The study is over, or interrupted; what is not ended then does not run any more.

    Attributes:
        best: the best run's key, if there is one. Confirmations of earlier versions wrote their
            verdict here; it is a tag now.
        tags: what else it says of the study; ``verdict``: a confirmation's, in a sentence.
    """

    state: StudyState
    best: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    time: int = field(default_factory=now_ms)


Event = StudyEvent | StartEvent | EpochsEvent | NoteEvent | ArtifactEvent | EndEvent | StudyEndEvent
