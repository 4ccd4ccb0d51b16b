"""``python -m benchmarks``: run the comparisons and write ``results.json`` and ``results.md``."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import Benchmark, Options, skipped_row, table, to_row
from trainables.errors import nearest
from trainables.files import write_atomically

FOLDER = Path(__file__).parent
MODULES = (
    "loop_rows",
    "tracking_rows",
    "study_rows",
    "start_rows",
    "time_left_rows",
    "report_rows",
    "long_rows",
    "memory_rows",
    "gpu_rows",
)


def benchmarks() -> dict[str, Benchmark]:
    found = [
        benchmark
        for module in MODULES
        for benchmark in importlib.import_module(f"benchmarks.{module}").BENCHMARKS
    ]
    return {benchmark.name: benchmark for benchmark in found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows asked for; returns the exit code: 1 if one failed, 2 for a mistake."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these rows")
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="rounds of each row")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument(
        "--scale-trials",
        type=int,
        default=Options.scale_trials,
        help="trials of the large study in scale_trials",
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    given = parser.parse_args(arguments)
    known = benchmarks()
    for name in given.rows or ():
        if name not in known:
            print(f"--rows {name}: no such row; {nearest(name, known)}", file=sys.stderr)
            return 2
    if given.rounds < 1 or given.scale_trials < 1:
        print("--rounds and --scale-trials: at least 1", file=sys.stderr)
        return 2
    options = Options(given.rounds, given.quick, given.scale_trials)
    return run([known[name] for name in given.rows or known], options, given.output, list(known))


def run(chosen: Sequence[Benchmark], options: Options, folder: Path, order: Sequence[str]) -> int:
    failed = 0
    for benchmark in chosen:
        lacking = benchmark.lacking()
        if lacking:
            print(f"{benchmark.name}: skipped, {lacking}", flush=True)
            write(skipped_row(benchmark, lacking, options), folder, order)
            continue
        print(f"{benchmark.name} …", end=" ", flush=True)
        began = time.monotonic()
        try:
            row = to_row(benchmark, benchmark.measure(options), options)
        except Exception as error:  # one row that fails doesn't take the others with it
            print(f"failed: {type(error).__name__}: {error}", flush=True)
            failed += 1
            continue
        write(row, folder, order)
        met = {True: "met", False: "NOT met", None: "no goal"}[row["met"]]
        ratio = row["ratio"]
        print(
            f"{row['ours']:g} against {row['other']:g} {row['unit']}, ratio {ratio['median']:g} "
            f"({ratio['min']:g} – {ratio['max']:g}); goal {row['goal']}: {met}; "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
    return 1 if failed else 0


def write(row: dict[str, Any], folder: Path, order: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    rows = {r["name"]: r for r in json.loads(path.read_text())} if path.exists() else {}
    if "skipped" not in row or "skipped" in rows.get(row["name"], row):
        # What another machine has measured stays.
        rows[row["name"]] = row
    ordered = [rows[name] for name in order if name in rows]
    text = json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())
    write_atomically(folder / "results.md", table(ordered).encode())


if __name__ == "__main__":
    sys.exit(main())
