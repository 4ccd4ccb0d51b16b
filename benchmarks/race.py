"""How often a plan of seeds picks a good configuration: ``python -m benchmarks.race``.

Made-up true effects and paired differences go through the project's own race, as shipped. The
paired spread is 1, the true effects are normal, and a pick is good if it is in the true top tenth.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from study.config import RACE_SEEDS
from study.statistics.race import Gain, Results, Rung, race, rungs, trainings


@dataclass(frozen=True)
class Plan:
    """A field, and the stages of its race (none: the search's one seed decides)."""

    name: str
    field: int
    stages: tuple[Rung, ...]

    @property
    def runs(self) -> int:
        return self.field + trainings(self.stages)


def picked(plan: Plan, effects: Sequence[float], random: np.random.Generator) -> tuple[int, float]:
    """The configuration that a plan picks, and the mean that it shows after its last selection."""
    names = [str(index) for index in range(plan.field)]
    gains: dict[str, dict[int, Gain | None]] = {
        name: {0: (effect + random.standard_normal(),)}
        for name, effect in zip(names, effects, strict=True)
    }
    field = sorted(names, key=lambda name: gains[name][0] or (), reverse=True)
    found = race(field, plan.stages, Results(gains))
    while found.missing:
        for name, seed in found.missing:
            gains[name][seed] = (effects[int(name)] + random.standard_normal(),)
        found = race(field, plan.stages, Results(gains))
    best = found.order[0]
    return int(best), found.results.mean(best, found.fresh(best))[0]


def top_tenth(plan: Plan, spread: float, repetitions: int) -> tuple[float, float]:
    """The share of good picks, and the mean of (shown − true) of the pick."""
    random = np.random.default_rng(0)
    good, excess = 0, 0.0
    for _ in range(repetitions):
        effects = random.normal(0.0, spread, plan.field)
        best, shown = picked(plan, effects.tolist(), random)
        good += best in np.argsort(-effects)[: max(1, plan.field // 10)]
        excess += shown - effects[best]
    return good / repetitions, excess / repetitions


def plans() -> list[Plan]:
    return [
        Plan("one seed each", 100, ()),
        Plan("one seed each", 40, ()),
        *(
            Plan(f"race, --race-seeds {most}", field, rungs(field, most))
            for field, most in ((40, RACE_SEEDS), (24, RACE_SEEDS), (16, RACE_SEEDS), (40, 6))
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effects", type=float, default=0.3, help="spread of the true effects")
    parser.add_argument("--repetitions", type=int, default=4000)
    given = parser.parse_args()
    print("| plan | trials | runs | in the true top tenth | 95 % | shown − true |")
    print("|---|--:|--:|--:|--:|--:|")
    for plan in plans():
        share, excess = top_tenth(plan, given.effects, given.repetitions)
        hits = stats.binomtest(round(share * given.repetitions), given.repetitions)
        ends = hits.proportion_ci()
        print(
            f"| {plan.name} | {plan.field} | {plan.runs} | {share:.1%} | "
            f"{ends.low:.1%} to {ends.high:.1%} | {excess:+.3f} |"
        )


if __name__ == "__main__":
    main()
