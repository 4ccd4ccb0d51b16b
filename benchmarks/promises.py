"""What a study promises and what holds: ``python -m benchmarks.promises``, on the recorded tables.

Studies are replayed at equal numbers of trainings, 25 with the baselines: *before*, all 24 settings
have one seed and the best is promised what it showed there; *after*, fewer settings are searched
and raced, and the winner is promised what it shows on the seeds after its last selection. Either
promise is held against the mean paired difference over the seeds that no study has seen. Each way
to spend the trainings of a race is a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.objectives import Array, figures, gains
from benchmarks.tables import print_reports, read_table
from study.formats import markdown_table
from study.statistics.race import Gain, Race, Results, Rung, paired_spread, race, rungs, trainings

LEAST_UNSEEN = 2
REPETITIONS = 2000


@dataclass(frozen=True)
class Way:
    """How a race's trainings are spent, and whether its promise is shrunk towards the trials'."""

    name: str
    searched: int
    stages: tuple[Rung, ...]
    shrunk: bool = False

    @property
    def seeds(self) -> int:
        return 1 + self.stages[-1].seeds

    @property
    def runs(self) -> int:
        return self.seeds + self.searched + trainings(self.stages)


WAYS = (
    Way("five seeds", 10, rungs(10, 5)),
    Way("six seeds", 8, rungs(8, 6)),
    Way("six seeds, shrunk", 8, rungs(8, 6), shrunk=True),
    Way("four of seven seeds for the winner alone", 8, (Rung(4, 1), Rung(2, 2), Rung(1, 6))),
    Way("eight seeds", 5, rungs(5, 8)),
)
"""As many configurations as 25 trainings allow, the baseline of each seed included."""


def replayed(table: Array, way: Way, random: np.random.Generator) -> tuple[float, float]:
    """promised − confirmed of one study before and one after; ``table``: (seeds, settings)."""
    order = random.permutation(len(table))
    unseen = table[order[way.seeds :]].mean(axis=0)
    first = table[order[0]]
    luckiest = int(np.argmax(first))
    searched = random.permutation(table.shape[1])[: way.searched]
    field = sorted(searched.tolist(), key=lambda setting: -first[setting])
    known: dict[str, dict[int, Gain | None]] = {
        str(s): {number: (float(table[seed, s]),) for number, seed in enumerate(order[: way.seeds])}
        for s in field
    }
    found = race([str(s) for s in field], way.stages, Results(known))
    best = found.order[0]
    [promised] = found.results.mean(best, found.fresh(best))
    if way.shrunk:
        promised = shrunk(promised, found)
    return first[luckiest] - unseen[luckiest], promised - float(unseen[int(best)])


def shrunk(promised: float, found: Race) -> float:
    """The posterior mean of a winner's difference: prior and spread from the race (Efron 1973)."""
    seen = {name: range(max(1, found.fresh(name).stop)) for name in found.field}
    samples = [[gain[0] for gain in found.results.over(n, s) if gain] for n, s in seen.items()]
    spread = paired_spread(samples) or 0.0
    firsts = np.array([sample[0] for sample in samples])
    between = max(0.0, float(firsts.var(ddof=1)) - spread**2)
    within = spread**2 / len(found.fresh(found.order[0]))
    if between + within == 0:
        return promised
    return (between * promised + within * float(firsts.mean())) / (between + within)


def compared(table: Array, way: Way, repetitions: int) -> tuple[float, float, float, float, float]:
    """Mean |promised − confirmed| before and after, their ratio, and the mean differences."""
    random = np.random.default_rng(0)
    draws = np.array([replayed(table, way, random) for _ in range(repetitions)])
    before, after = np.abs(draws).mean(axis=0)
    return before, after, after / before, *draws.mean(axis=0)


def jackknife(table: Array, way: Way, repetitions: int) -> float:
    """The standard error of the ratio, leaving out one seed at a time."""
    ratios = [
        compared(np.delete(table, seed, axis=0), way, repetitions)[2] for seed in range(len(table))
    ]
    n = len(ratios)
    return float(np.sqrt((n - 1) / n * ((np.array(ratios) - np.mean(ratios)) ** 2).sum()))


def rows(table: Mapping[str, Any], repetitions: int = REPETITIONS) -> list[Sequence[str]]:
    """A line an objective and way; settings that diverged on any seed are left out."""
    lines = []
    for name, (figure, mode) in figures(table["train"]["epochs"]).items():
        found = gains(table, figure, mode)
        found = found[:, np.isfinite(found).all(axis=0)]
        for way in WAYS:
            # The jackknife leaves out one seed more.
            if len(found) <= way.seeds + LEAST_UNSEEN or found.shape[1] < way.searched:
                continue
            before, after, ratio, too_much, still = compared(found, way, repetitions)
            error = jackknife(found, way, repetitions // 4)
            low, high = ratio - 1.96 * error, ratio + 1.96 * error
            sizes = (f"{before:.4f}", f"{after:.4f}", f"{ratio:.2f}", f"{low:.2f} to {high:.2f}")
            biases = (f"{too_much:+.4f}", f"{still:+.4f}")
            lines.append([name, way.name, str(way.runs), *sizes, *biases])
    return lines


def report(path: Path, repetitions: int = REPETITIONS) -> str:
    table = read_table(path)
    sizes = ["before", "after", "after / before", "95 % (jackknife over seeds)"]
    header = ["objective", "race", "trainings", *sizes, "bias before", "bias after"]
    return (
        f"{path.name.split('.')[0]}: mean |promised − confirmed| of the winner, before with 25 "
        f"trainings, and the means of promised − confirmed\n\n"
        f"{markdown_table(header, rows(table, repetitions))}\n"
    )


if __name__ == "__main__":
    print_reports(report, "python -m benchmarks.promises", __doc__)
