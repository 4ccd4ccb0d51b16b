"""From Enter to the first epoch, and from one phase of a study to the next."""

import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.child import NOISE_STUDY
from benchmarks.rows import Benchmark, Goal, Measured, Options

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
    """

    first: float
    between: float
    within: float


def course_of(ledger: Path, began: float) -> Course:
    """From a study's ledger; ``began``: seconds since 1970."""
    from study.records.events import EpochsEvent, StartEvent
    from study.records.ledger import decode

    roles: dict[str, str] = {}
    seen: list[tuple[float, str]] = []
    for line in ledger.read_bytes().splitlines():
        event = decode(line)
        if isinstance(event, StartEvent):
            # The race's baselines are of the race.
            later = "race" in roles.values() or "trial" in roles.values()
            roles[event.key] = "race" if event.role == "baseline" and later else event.role
        elif isinstance(event, EpochsEvent) and not event.shared:
            seen.append((event.time / 1000, roles[event.key]))
    gaps = [(later[0] - one[0], one[1] != later[1]) for one, later in pairwise(seen)]
    return Course(
        seen[0][0] - began,
        max((gap for gap, between in gaps if between), default=0.0),
        max((gap for gap, between in gaps if not between), default=0.0),
    )


def study_course(*, quick: bool) -> Course:
    """Run a study of short trainings, with a race."""
    with tempfile.TemporaryDirectory() as storage:
        words = ["run", "--name", "course", "--storage", storage, "--dataset", "digits"]
        words += ["--classifier", "DeepMLP", "--batch-size", "128", "--lr", "0.1", "--wd", "0"]
        words += ["--epochs", "4" if quick else "20", "--trials", "2" if quick else "12"]
        words += ["--race-seeds", "2" if quick else "4"]
        began = time.time()
        subprocess.run(
            [sys.executable, "-c", NOISE_STUDY, *words],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return course_of(Path(storage) / "course" / "ledger.jsonl", began)


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


BENCHMARKS = [
    Benchmark("first_epoch", "s", Goal(6.0, "<=", "ours"), "ours/other", _first_epoch),
    Benchmark("phase_gap", "s", Goal(1.0, "<=", "ours"), "ours/other", _phase_gap),
]
