"""How long the report of a study takes."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.child import call, environment
from benchmarks.rows import Benchmark, Goal, Measured, Options, Pair

_REPORT = "from analysis.commands.entry import noise_analysis; raise SystemExit(noise_analysis())"


def _reported(storage: str) -> Pair:
    """Seconds until the page is there, and until pictures and MLflow are done, too."""
    began = time.monotonic()
    # In a folder of its own nothing is known of an earlier report's weights.
    with tempfile.TemporaryDirectory() as out:
        words = ["report", "long", "--storage", storage, "--out", out]
        with subprocess.Popen(
            [sys.executable, "-c", _REPORT, *words],
            env=environment(ours=False, threads=1),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            page = process.stdout.readline().strip()
            there = time.monotonic() - began
            if not Path(page).is_file():
                raise RuntimeError(f"there is no report, but {page!r}")
            process.communicate()
        if process.returncode:
            raise RuntimeError(f"the report ended with exit code {process.returncode}")
        return there, time.monotonic() - began


def _report(options: Options) -> Measured:
    size = {"trials": 3, "epochs": 4} if options.quick else {"trials": 24, "epochs": 13}
    with tempfile.TemporaryDirectory() as storage:
        call(
            "benchmarks.long_rows:make_study",
            storage=storage,
            race_seeds=3,
            sampler="tpe",
            **size,
        )
        rounds = 1 if options.quick else options.rounds
        return Measured(
            [_reported(storage) for _ in range(rounds)],
            f"from Enter to the page of a study of {size['trials']} short trials, with evaluation; "
            "the other: until its pictures are files, too, and MLflow has it",
        )


BENCHMARKS = [Benchmark("report", "s", Goal(5.0, "<=", "ours"), "ours/other", _report)]
