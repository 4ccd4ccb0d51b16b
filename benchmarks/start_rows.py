"""From Enter to the first epoch, and from one phase of a study to the next."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.child import NOISE_STUDY
from benchmarks.rows import Benchmark, Goal, Measured, Options

if TYPE_CHECKING:
    from study.records.events import EpochsEvent, StartEvent

_LEAST = """
import ray
ray.init(include_dashboard=False, log_to_driver=False)

@ray.remote
class Worker:
    def ready(self):
        import torch
        from ray import tune
        return True

import torch
ray.get(Worker.remote().ready.remote())
"""
"""The least that a study needs: Ray, and a worker that has imported what trains."""


class Course(NamedTuple):
    """Seconds of one study.

    Attributes:
        first: from the start of the process to the first recorded epoch.
        between: the longest time without an epoch that lies between two phases.
        within: the longest one within a phase.
        confirm: from the last epoch of the race to the first of the confirmation.
    """

    first: float
    between: float
    within: float
    confirm: float = 0.0


def course_of(ledger: Path, began: float, confirmed: Path | None = None) -> Course:
    """From a study's ledger and that of its confirmation; ``began``: seconds since 1970."""
    from study.records.events import StartEvent

    roles: dict[str, str] = {}
    seen: list[tuple[float, str]] = []
    for event in _starts_and_epochs(ledger):
        if isinstance(event, StartEvent):
            # The race's baselines are of the race.
            later = "race" in roles.values() or "trial" in roles.values()
            roles[event.key] = "race" if event.role == "baseline" and later else event.role
        else:
            seen.append((event.time / 1000, roles[event.key]))
    gaps = [(later[0] - one[0], one[1] != later[1]) for one, later in pairwise(seen)]
    return Course(
        seen[0][0] - began,
        max((gap for gap, between in gaps if between), default=0.0),
        max((gap for gap, between in gaps if not between), default=0.0),
        0.0 if confirmed is None else _first_epoch_of(confirmed) - seen[-1][0],
    )


def _starts_and_epochs(ledger: Path) -> "Iterator[StartEvent | EpochsEvent]":
    """Of epochs those that were trained."""
    from study.records.events import EpochsEvent, StartEvent
    from study.records.ledger import decode

    for line in ledger.read_bytes().splitlines():
        event = decode(line)
        if isinstance(event, StartEvent) or (isinstance(event, EpochsEvent) and not event.shared):
            yield event


def _first_epoch_of(ledger: Path) -> float:
    from study.records.events import EpochsEvent

    events = _starts_and_epochs(ledger)
    return next(event.time for event in events if isinstance(event, EpochsEvent)) / 1000


def study_course(*, quick: bool, confirm: bool = False) -> Course:
    """Run a study of short trainings, with a race, and a confirmation if wanted."""
    with tempfile.TemporaryDirectory() as storage:
        words = ["run", "--name", "course", "--storage", storage, "--dataset", "digits"]
        words += ["--classifier", "DeepMLP", "--batch-size", "128", "--lr", "0.1", "--wd", "0"]
        words += ["--epochs", "4" if quick else "20", "--trials", "2" if quick else "12"]
        words += ["--race-seeds", "2" if quick else "4"]
        words += ["--confirm", "2" if quick else "6"] if confirm else []
        began = time.time()
        subprocess.run(
            [sys.executable, "-c", NOISE_STUDY, *words],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        study = Path(storage) / "course"
        confirmed = study / "confirm" / "ledger.jsonl" if confirm else None
        return course_of(study / "ledger.jsonl", began, confirmed)


def _least() -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", _LEAST],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def _first_epoch(options: Options) -> Measured:
    pairs = [
        (study_course(quick=options.quick).first, _least())
        for _ in range(1 if options.quick else options.rounds)
    ]
    return Measured(
        pairs,
        "from the start of the process to the first recorded epoch; the other: a process that "
        "imports torch, starts Ray, and waits for one worker that has imported torch and Tune",
    )


def _phase_gap(options: Options) -> Measured:
    courses = [
        study_course(quick=options.quick) for _ in range(1 if options.quick else options.rounds)
    ]
    return Measured(
        [(course.between, max(course.within, 1e-3)) for course in courses],
        "the longest time without an epoch between two phases (baseline, search, race); the other: "
        "within one",
    )


def _confirm_gap(options: Options) -> Measured:
    courses = [
        study_course(quick=options.quick, confirm=True)
        for _ in range(1 if options.quick else options.rounds)
    ]
    return Measured(
        [(course.confirm, max(course.between, 1e-3)) for course in courses],
        "with --confirm: from the last epoch of the race to the first of the confirmation, which "
        "has workers of its own in the same Ray; the other: the longest time between two phases "
        "of the search",
    )


BENCHMARKS = [
    Benchmark("first_epoch", "s", Goal(6.0, "<=", "ours"), "ours/other", _first_epoch),
    Benchmark("phase_gap", "s", Goal(1.0, "<=", "ours"), "ours/other", _phase_gap),
    Benchmark("confirm_gap", "s", Goal(1.0, "<=", "ours"), "ours/other", _confirm_gap),
]
