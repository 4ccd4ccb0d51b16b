"""Records of a made-up study, for the tests of ledger, store and projector."""

from pathlib import Path

from study.records.events import (
    EndEvent,
    EpochsEvent,
    Event,
    NoteEvent,
    StartEvent,
    StudyEndEvent,
    StudyEvent,
)
from study.records.ledger import Ledger
from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics, objective_values
from trainables.noise.fork import baseline_digest

CONFIG = TrainConfig.model_validate({"epochs": 30, "noise": {"policy": "on_stagnation"}})
DIGEST = baseline_digest(CONFIG)
UID = "0123456789abcdef0123456789abcdef"
TIME = 1_800_000_000_000


def epoch(number: int, trial: int = 0, **changes: object) -> EpochMetrics:
    """Statistics that differ between epochs and trials."""
    values: dict[str, object] = {
        "epoch": number,
        "train_loss": 2.0 / (number + 1) + trial / 97,
        "train_accuracy": 0.5 + number / 100,
        "val_loss": 2.1 / (number + 1) + trial / 97,
        "val_accuracy": 0.4 + number / 100 + trial / 1000,
        "grad_norm": 1.0 + number / 7,
        "weight_update_norm": 0.1 + number / 13,
        "lr": 0.01,
        "noise_phase": "watching",
    }
    return EpochMetrics(**{**values, **changes})  # type: ignore[arg-type]


def study_event(**changes: object) -> StudyEvent:
    """The beginning of the study."""
    values: dict[str, object] = {
        "name": "made-up",
        "uid": UID,
        "config": {"train": CONFIG.model_dump(mode="json"), "trials": 4},
        "objectives": ("best_val_accuracy",),
        "asked": "Does noise help?",
        "time": TIME,
    }
    return StudyEvent(**{**values, **changes})  # type: ignore[arg-type]


def start_event(trial: int | None, time: int = TIME) -> StartEvent:
    """The start of a trial, or of the baseline (None)."""
    config = CONFIG.model_copy(update={"epochs": 30})
    return StartEvent(
        key="baseline-seed0" if trial is None else f"trial-{trial:04d}",
        role="baseline" if trial is None else "trial",
        seed=0,
        overrides={} if trial is None else {"noise/patience": trial},
        config=config.model_dump(mode="json"),
        baseline=DIGEST,
        time=time,
    )


def run_events(trial: int | None, epochs: int, time: int = TIME) -> list[Event]:
    """A whole run: start, epochs, end."""
    start = start_event(trial, time)
    rows = [epoch(number, trial or 0) for number in range(epochs)]
    values = objective_values(rows)
    return [
        start,
        *(EpochsEvent(start.key, (row,), time=time + 1 + row.epoch) for row in rows),
        EndEvent(
            start.key,
            "complete",
            values=values,
            paired_difference={} if trial is None else {"best_val_accuracy": trial / 1000},
            epochs_trained=epochs,
            seconds=1.5,
            time=time + 1000,
        ),
    ]


def study_events(trials: int, epochs: int, *, ended: bool = True) -> list[Event]:
    """A whole study: a baseline, trials one after another, the end."""
    events: list[Event] = [study_event(), *run_events(None, epochs)]
    for trial in range(trials):
        events += run_events(trial, epochs, TIME + 10_000 * (trial + 1))
    events.append(NoteEvent("baseline-seed0", {"pinned": "true"}, time=TIME + 5))
    if ended:
        events.append(StudyEndEvent("complete", best="trial-0000", time=TIME + 9_000_000))
    return events


def write(path: Path, events: list[Event]) -> None:
    """Append events to a ledger."""
    with Ledger(path) as ledger:
        for event in events:
            ledger.append(event)
