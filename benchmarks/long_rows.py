"""What grows with a study: going on with a large one, and the race after its search."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.child import NOISE_STUDY, call, environment
from benchmarks.rows import Benchmark, Goal, Measured, Options, Pair


def make_study(
    *, storage: str, trials: int, epochs: int, race_seeds: int, sampler: str
) -> dict[str, float]:
    """A study of short trainings; how long it took, and what an epoch took in search and race.

    The seconds of an epoch are those between a phase's first start and its last end, by the number
    of epochs that were trained in it, on all workers together.
    """
    from study.api import run_study
    from study.config import StudyConfig
    from study.records.folder import StudyFolder
    from study.records.ledger_view import TrialRecord, read_ledger

    began = time.monotonic()
    run_study(
        StudyConfig.model_validate(
            {
                "name": "long",
                "storage": storage,
                "trials": trials,
                "race_seeds": race_seeds,
                "sampler": sampler,
                "train": {
                    "epochs": epochs,
                    "data": {"dataset": "digits", "batch_size": 128},
                    "model": {"classifier": "DeepMLP"},
                    "optimizer": {"lr": 0.1, "weight_decay": 0.0, "lr_restart_period": epochs},
                },
            }
        )
    )
    took = time.monotonic() - began

    def an_epoch(records: list[TrialRecord]) -> float:
        if not records:
            return 0.0
        end = max(record.ended or record.started for record in records)
        passed = (end - min(record.started for record in records)) / 1000
        return passed / max(1, sum(record.epochs_trained for record in records))

    state = read_ledger(StudyFolder.of(Path(storage), "long").ledger)
    searched = [record for record in state.trials.values() if record.role == "trial"]
    race = [record for record in state.trials.values() if record.role == "race"]
    # Its baselines are part of a race, which waits for them.
    seeds = {record.seed for record in race}
    race += [r for r in state.trials.values() if r.role == "baseline" and r.seed in seeds]
    return {"seconds": took, "search": an_epoch(searched), "race": an_epoch(race)}


def _resumed(storage: str) -> float:
    began = time.monotonic()
    words: list[Any] = [sys.executable, "-c", NOISE_STUDY, "resume", "long", "--storage", storage]
    subprocess.run(
        words, env=environment(ours=False, threads=1), check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - began


def _resume(options: Options) -> Measured:
    large, small = (6, 3) if options.quick else (options.scale_trials, 16)
    rounds = 1 if options.quick else options.rounds
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as other:
        took = []
        for storage, trials in ((there, large), (other, small)):
            made = call(
                "benchmarks.long_rows:make_study",
                storage=storage,
                trials=trials,
                epochs=4,
                race_seeds=1,
                sampler="random",
            )
            took.append(made["seconds"])
        pairs += [(_resumed(there), _resumed(other)) for _ in range(rounds)]
    return Measured(
        pairs,
        f"from Enter to the end of noise-study resume for a study of {large} finished trials; the "
        f"other: of {small}. The large study itself, trainings of 4 epochs, took {took[0]:.0f} s "
        f"({took[0] / large:.3f} s a trial), the small one {took[1]:.0f} s",
    )


def _race(options: Options) -> Measured:
    trials, epochs = (4, 4) if options.quick else (24, 13)
    pairs = []
    for _ in range(1 if options.quick else options.rounds):
        with tempfile.TemporaryDirectory() as storage:
            found = call(
                "benchmarks.long_rows:make_study",
                storage=storage,
                trials=trials,
                epochs=epochs,
                race_seeds=5,
                sampler="tpe",
            )
        pairs.append((found["race"], found["search"]))
    return Measured(
        pairs,
        "wall time of a trained epoch in the race, its baselines included; the other: in the "
        f"search of {trials} trials of {epochs} epochs before it",
    )


BENCHMARKS = (
    Benchmark("resume", "s", Goal(5.0, "<=", "ours"), "ours/other", _resume),
    Benchmark("race", "s/epoch", Goal(1.5, "<="), "ours/other", _race),
)
