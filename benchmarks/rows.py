"""A row of the result: what was measured, against what, and whether the goal is met."""

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from study.formats import markdown_table

Pair = tuple[float, float]
"""One round: (ours, the other)."""


@dataclass(frozen=True)
class Options:
    """How much is measured; ``quick`` shows that everything runs, and nothing else."""

    rounds: int = 5  # interleaved, of each comparison
    quick: bool = False
    scale_trials: int = 3000  # of the large study in the row of that name


@dataclass(frozen=True)
class Measured:
    """What one measurement gives: its rounds, and a sentence that belongs to the figure."""

    pairs: Sequence[Pair]
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """A bound on the median ratio (``of="ours"``: on our figure itself)."""

    bound: float
    sense: Literal[">=", "<="]
    of: Literal["ratio", "ours"] = "ratio"

    def met(self, ratio: float, ours: float) -> bool:
        figure = ratio if self.of == "ratio" else ours
        return figure >= self.bound if self.sense == ">=" else figure <= self.bound

    def __str__(self) -> str:
        what = "ours " if self.of == "ours" else ""
        return f"{what}{'≥' if self.sense == '>=' else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Benchmark:
    """One row to be measured.

    Attributes:
        unit: of ``ours`` and ``other``.
        goal: None for rows that only inform.
        ratio: ``ours/other`` or ``other/ours``, so that it reads as the goal does.
        lacking: what this machine lacks for it; empty if it can be measured here.
    """

    name: str
    unit: str
    goal: Goal | None
    ratio: Literal["ours/other", "other/ours"]
    measure: Callable[[Options], Measured]
    lacking: Callable[[], str] = str


def to_row(benchmark: Benchmark, measured: Measured, options: Options) -> dict[str, Any]:
    ratios = [
        ours / other if benchmark.ratio == "ours/other" else other / ours
        for ours, other in measured.pairs
    ]
    ours, other = (statistics.median(side) for side in zip(*measured.pairs, strict=True))
    ratio = statistics.median(ratios)
    goal = benchmark.goal
    return {
        "name": benchmark.name,
        "ours": rounded(ours),
        "other": rounded(other),
        "unit": benchmark.unit,
        "ratio": {
            "median": rounded(ratio),
            "min": rounded(min(ratios)),
            "max": rounded(max(ratios)),
        },
        "command": _command(benchmark, len(ratios), options),
        "machine": machine(),
        "ratio_is": benchmark.ratio,
        "goal": str(goal) if goal else None,
        "met": goal.met(ratio, ours) if goal else None,
        "rounds": len(ratios),
        "quick": options.quick,
        "note": measured.note,
    }


def skipped_row(benchmark: Benchmark, reason: str, options: Options) -> dict[str, Any]:
    """What is written of a row that can't be measured here, where nothing else is known of it."""
    return {
        "name": benchmark.name,
        "skipped": reason,
        "command": _command(benchmark, options.rounds, options),
        "machine": machine(),
        "goal": str(benchmark.goal) if benchmark.goal else None,
    }


def _command(benchmark: Benchmark, rounds: int, options: Options) -> str:
    command = f"python -m benchmarks --rows {benchmark.name} --rounds {rounds}"
    if benchmark.name == "scale_trials":
        command += f" --scale-trials {options.scale_trials}"
    return command + (" --quick" if options.quick else "")


def rounded(value: float) -> float:
    """Four significant digits: no measurement here has more."""
    return float(f"{value:.4g}")


def machine() -> str:
    """The processor, its cores, the versions that matter, and how busy it was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "optuna", "mlflow"))
    return (
        f"{_processor()}, {cores()} cores, Python {platform.python_version()}, {versions}; "
        f"load average {load:.1f}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores() -> int:
    """The cores that this process may use: as many trials run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def table(rows: Sequence[dict[str, Any]]) -> str:
    return "\n".join(_table_lines(rows)) + "\n"


def _table_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield "Every comparison is interleaved: each round measures both sides, one after the other."
    yield "A ratio is the median over the rounds, with the smallest and the largest beside it."
    yield ""
    measured = [row for row in rows if "skipped" not in row]
    header = ["row", "ours", "other", "unit", "ratio (min – max)", "ratio of"]
    yield markdown_table([*header, "goal", "met", "rounds"], map(_cells, measured), "lrrlllllr")
    yield ""
    for row in rows:
        if "skipped" in row:
            goal = f" (goal {row['goal']})" if row["goal"] else ""
            yield f"- `{row['name']}`{goal}: skipped, {row['skipped']}"
        elif row["note"]:
            yield f"- `{row['name']}`: {row['note']}"
    yield ""
    for text in dict.fromkeys(row["machine"] for row in rows):
        names = ", ".join(f"`{row['name']}`" for row in rows if row["machine"] == text)
        yield f"- {names}: {text}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    ratio = row["ratio"]
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    return [
        f"`{row['name']}`",
        f"{row['ours']:g}",
        f"{row['other']:g}",
        row["unit"],
        f"{ratio['median']:g} ({ratio['min']:g} – {ratio['max']:g})",
        row["ratio_is"],
        str(row["goal"] or ""),
        "(quick)" if row["quick"] else met,
        str(row["rounds"]),
    ]
