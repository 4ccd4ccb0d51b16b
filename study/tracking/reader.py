"""Reads what the ledger gained since last time, as calls to MLflow."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from study.records import events
from study.records.ledger_view import TrialRecord
from study.tracking.runs_view import difference_tags, race_tags
from study.tracking.steps import EpochSteps
from study.tracking.types import STUDY_RUN, MetricPoint, RunStatus
from trainables.metric_config import recorded_metrics
from trainables.metrics import OBJECTIVES, EpochMetrics, Mode
from trainables.uris import redact_uri

ENDED: dict[str, RunStatus] = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
STUDY_ENDED: dict[str, RunStatus] = {
    "complete": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
INTERRUPTED = {"status": "interrupted"}


class File(NamedTuple):
    """An artifact to store; ``path`` None: the run's own configuration."""

    key: str
    path: str | None = None
    folder: str = ""


@dataclass(slots=True)
class Delta:
    """What one run gets from one chunk of the ledger; ``models``: the runs' models, too."""

    key: str
    config: Mapping[str, Any] | None = None
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricPoint] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    status: RunStatus | None = None
    time: int = 0
    logged: bool = False
    describe: bool = False
    models: bool = False


@dataclass(slots=True)
class KnownRun:
    """What must be remembered of a run to send its next events.

    ``told``: metric and step of what an earlier end of it said; a step of a metric is sent once.
    """

    start: events.StartEvent
    signals: tuple[str, ...]
    epochs: set[int] = field(default_factory=set)
    end: events.EndEvent | None = None
    refused: bool = False
    told: set[tuple[str, int]] = field(default_factory=set)


class Reader:
    """Events in, deltas out; remembers what later events refer to. No MLflow here."""

    def __init__(self, study: events.StudyEvent | None = None) -> None:
        """``study``: its first event, if that is known to come later."""
        self.study = study
        self.study_end: events.StudyEndEvent | None = None
        self.study_files: dict[str, None] = {}
        self.runs: dict[str, KnownRun] = {}
        self._deltas: dict[str, Delta] = {}
        self._latest = 0
        self._steps: EpochSteps | None = None

    def absorb(self, event: events.Event) -> None:
        # A clock may be set back while a study runs; in MLflow no run ends before it began.
        self._latest = max(self._latest, event.time)
        if event.time < self._latest:
            event = replace(event, time=self._latest)
        if isinstance(event, events.StudyEvent):
            self._study_began(event)
        elif isinstance(event, events.StudyEndEvent):
            self._study_ended(event)
        elif isinstance(event, events.StartEvent):
            self._began(event)
        elif event.key is None:
            if self.study is not None:
                self._study_got(event)
        elif event.key in self.runs:
            self._got(event, self.runs[event.key])

    def take(self) -> deque[Delta]:
        """The deltas so far, the study's own first; they are forgotten here."""
        deltas, self._deltas = self._deltas, {}
        first = deltas.pop(STUDY_RUN, None)
        found = deque(([first] if first else []) + list(deltas.values()))
        if first is not None and first.status == "FINISHED":
            # Of the runs that the study's end speaks of, some may be in the same chunk.
            found.append(Delta(STUDY_RUN, describe=True, models=True))
        return found

    @property
    def steps(self) -> EpochSteps:
        """Those that the study began with: what goes on keeps them."""
        return self._steps or EpochSteps(self.study.first_step if self.study else 0)

    @property
    def objective(self) -> str | None:
        """The first objective, which tables are sorted by."""
        return self.study.objectives[0] if self.study and self.study.objectives else None

    def _delta(self, key: str) -> Delta:
        return self._deltas.setdefault(key, Delta(key))

    @property
    def mode(self) -> Mode:
        """Whether more or less of the first objective is better."""
        config = self.study.config if self.study else {}
        metrics = recorded_metrics(config.get("train", {}))
        return metrics[self.objective or next(iter(OBJECTIVES))].mode

    def _study_began(self, event: events.StudyEvent) -> None:
        if self.study is not None and event.uid != self.study.uid:
            raise ValueError("the ledger holds two studies")
        self._steps = self.steps if self.study is not None else EpochSteps(event.first_step)
        self.study = event
        delta = self._delta(STUDY_RUN)
        self.study_end = None
        delta.config, delta.status, delta.describe = event.config, "RUNNING", True
        if not event.resumed:
            # A study that goes on may have other settings; MLflow's parameters never change.
            delta.params = parameters(event.config)
        delta.files.append(File(STUDY_RUN))

    def _study_ended(self, event: events.StudyEndEvent) -> None:
        self.study_end = event
        delta = self._delta(STUDY_RUN)
        delta.status, delta.time, delta.describe = STUDY_ENDED[event.state], event.time, True
        delta.tags.update({**event.tags, "status": event.state, "best": event.best or ""})
        for key, run in self.runs.items():
            if run.end is None:
                open_run = self._delta(key)
                open_run.status, open_run.time = "KILLED", event.time
                open_run.tags.update(INTERRUPTED)

    def _study_got(self, event: events.NoteEvent | events.ArtifactEvent | Any) -> None:
        delta = self._delta(STUDY_RUN)
        if isinstance(event, events.NoteEvent):
            delta.tags.update(event.tags)
        elif isinstance(event, events.ArtifactEvent):
            delta.files.append(File(STUDY_RUN, event.path, event.folder))
            name = Path(event.path).name
            self.study_files[f"{event.folder}/{name}" if event.folder else name] = None
            delta.describe = True

    def _began(self, event: events.StartEvent) -> None:
        known = self.runs.get(event.key)
        delta = self._delta(event.key)
        if known is None:
            known = self.runs[event.key] = KnownRun(event, listened(event.config))
        elif known.end is not None:
            delta.tags["reason"] = ""
        known.end = None
        delta.config, delta.status = known.start.config, "RUNNING"
        delta.params = parameters(known.start.config)
        delta.files.append(File(event.key))

    def _got(
        self,
        event: events.EpochsEvent | events.NoteEvent | events.ArtifactEvent | events.EndEvent,
        known: KnownRun,
    ) -> None:
        delta = self._delta(known.start.key)
        if isinstance(event, events.EpochsEvent):
            self._epochs(event, known, delta)
        elif isinstance(event, events.NoteEvent):
            delta.tags.update(event.tags)
            delta.tags.update(race_tags(event.tags, self.mode))
        elif isinstance(event, events.ArtifactEvent):
            delta.files.append(File(known.start.key, event.path, event.folder))
        else:
            known.end = event
            delta.status, delta.time = ENDED[event.state], event.time
            delta.tags.update(self._end_tags(event))
            step = self.steps.whole(max(known.epochs, default=0))
            points = end_points(event, self.objective, step, event.time)
            delta.metrics.extend(p for p in points if (p.key, p.step) not in known.told)
            known.told.update((point.key, point.step) for point in points)
            if known.start.role == "baseline":
                self._delta(STUDY_RUN).describe = True

    def _epochs(self, event: events.EpochsEvent, known: KnownRun, delta: Delta) -> None:
        if known.end is None and delta.status is None:
            # It was ended as interrupted, perhaps: now it runs.
            delta.status = "RUNNING"
        for row in event.rows:
            if row.epoch not in known.epochs:
                known.epochs.add(row.epoch)
                delta.metrics.extend(metric_points(row, known.signals, event.time, self.steps))

    def _end_tags(self, event: events.EndEvent) -> dict[str, str]:
        objectives = self.study.objectives if self.study else ()
        tags = {
            "status": event.state,
            "reason": event.reason,
            "value": _figures(event.values, objectives),
            "paired_difference": _figures(event.paired_difference, objectives),
            "epochs_trained": event.epochs_trained,
            "fork_epoch": event.fork_epoch,
            "first_injection_epoch": event.first_injection_epoch,
        }
        found = {key: str(value) for key, value in tags.items() if value not in {None, ""}}
        known = [event.paired_difference[n] for n in objectives if n in event.paired_difference]
        return found | difference_tags(known, 1, self.mode)


def end_points(
    end: events.EndEvent | TrialRecord, objective: str | None, step: int, time: int
) -> list[MetricPoint]:
    """What a run's end adds to MLflow's metrics; ``step``: ``EpochSteps.whole``."""
    points = [MetricPoint(k, v, time, step) for k, v in end.values.items()]
    difference = end.paired_difference.get(objective or "")
    if difference is not None:
        # As a tag it can be read; as a metric it can be sorted by.
        points.append(MetricPoint("paired_difference", difference, time, step))
    return points


def listened(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The signals that a run listens to, which MLflow has as metrics."""
    noise = config.get("noise", {})
    return tuple(noise.get("signals", ())) if noise.get("policy") == "on_stagnation" else ()


def metric_points(
    row: EpochMetrics, signals: tuple[str, ...], time: int, steps: EpochSteps
) -> list[MetricPoint]:
    """An epoch as MLflow's metrics: METHOD's statistics, and what the controller did.

    ``signals``, which the run listens to, are given as 0 or 1; ``time`` is in ms since 1970.
    """
    values = row.statistics()
    if row.clean_train_accuracy is not None:
        values["clean_train_accuracy"] = row.clean_train_accuracy
    values["noise_magnitude"] = row.noise_magnitude
    values["noise_severity"] = row.noise_severity
    values["injected"] = float(row.injected)
    values["cooldown"] = float(row.noise_phase == "cooldown")
    values.update({f"signal_{name}": float(name in row.signals) for name in signals})
    return [
        MetricPoint(key, float(value), time, steps.of(row.epoch)) for key, value in values.items()
    ]


def _figures(values: Mapping[str, float], names: tuple[str, ...]) -> str:
    return ", ".join(repr(values[name]) for name in names if name in values)


def parameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A configuration as MLflow's parameters: path (``noise/patience``) → text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= parameters(value, f"{prefix}{key}/")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            flat[f"{prefix}{key}"] = redact_uri(text)
    return flat


def redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redact_uri(value) if isinstance(value, str) else value
