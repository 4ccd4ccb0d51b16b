"""What a study promises and what holds: ``python -m benchmarks.promises``, on the recorded tables.

Studies are replayed at equal numbers of trainings: *before*, all 24 settings have one seed and the
best is promised what it showed there; *after*, 12 of the settings are searched and raced with six
seeds, and the winner is promised what it shows on those after its last selection. Either promise
is held against the mean paired difference over the six seeds that no study has seen.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.objectives import Array, figures, gains
from benchmarks.tables import print_reports, read_table
from study.formats import markdown_table
from study.statistics.race import Gain, Results, race, rungs, trainings

SEARCHED = 12
MOST_SEEDS = 6
REPETITIONS = 2000


def replayed(table: Array, random: np.random.Generator) -> tuple[float, float]:
    """|promised − confirmed| of one study before and one after; ``table``: (seeds, settings)."""
    order = random.permutation(len(table))
    unseen = table[order[MOST_SEEDS:]].mean(axis=0)
    first = table[order[0]]
    luckiest = int(np.argmax(first))
    before = abs(first[luckiest] - unseen[luckiest])
    searched = random.permutation(table.shape[1])[:SEARCHED]
    field = sorted(searched.tolist(), key=lambda setting: -first[setting])
    known: dict[str, dict[int, Gain | None]] = {
        str(s): {number: (float(table[seed, s]),) for number, seed in enumerate(order[:MOST_SEEDS])}
        for s in field
    }
    found = race([str(s) for s in field], rungs(SEARCHED, MOST_SEEDS), Results(known))
    best = found.order[0]
    [promised] = found.results.mean(best, found.fresh(best))
    return float(before), abs(promised - float(unseen[int(best)]))


def compared(table: Array, repetitions: int = REPETITIONS) -> tuple[float, float, float]:
    random = np.random.default_rng(0)
    draws = np.array([replayed(table, random) for _ in range(repetitions)])
    before, after = draws.mean(axis=0)
    return before, after, after / before


def jackknife(table: Array, repetitions: int) -> float:
    """The standard error of the ratio, leaving out one seed at a time."""
    ratios = [
        compared(np.delete(table, seed, axis=0), repetitions)[2] for seed in range(len(table))
    ]
    n = len(ratios)
    return float(np.sqrt((n - 1) / n * ((np.array(ratios) - np.mean(ratios)) ** 2).sum()))


def rows(table: Mapping[str, Any], repetitions: int = REPETITIONS) -> list[Sequence[str]]:
    """A line an objective; settings that diverged on any seed are left out of both."""
    lines = []
    for name, (figure, mode) in figures(table["train"]["epochs"]).items():
        found = gains(table, figure, mode)
        found = found[:, np.isfinite(found).all(axis=0)]
        if len(found) < MOST_SEEDS + 2 or found.shape[1] < SEARCHED:
            continue
        before, after, ratio = compared(found, repetitions)
        error = jackknife(found, repetitions // 4)
        low, high = ratio - 1.96 * error, ratio + 1.96 * error
        lines.append(
            [name, f"{before:.4f}", f"{after:.4f}", f"{ratio:.2f}", f"{low:.2f} to {high:.2f}"]
        )
    return lines


def report(path: Path, repetitions: int = REPETITIONS) -> str:
    table = read_table(path)
    header = ["objective", "before", "after", "after / before", "95 % (jackknife over seeds)"]
    runs = SEARCHED + trainings(rungs(SEARCHED, MOST_SEEDS))
    return (
        f"{path.name.split('.')[0]}: mean |promised − confirmed| of the winner; before: 24 runs, "
        f"after: {runs}\n\n{markdown_table(header, rows(table, repetitions))}\n"
    )


if __name__ == "__main__":
    print_reports(report, "python -m benchmarks.promises", __doc__)
