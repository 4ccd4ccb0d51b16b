"""What early stopping saves and what it costs: ``python -m benchmarks.stopping``, on the tables.

The settings of each seed of a recorded table come in random orders, one at a time, through the
project's own rungs. It costs a search its best setting where that is stopped.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.objectives import history
from benchmarks.tables import print_reports, read_table
from study.config import StudyConfig
from study.formats import markdown_table
from study.tune.early_stopping import Rungs, milestones
from trainables.metrics import OBJECTIVES, EpochMetrics, objective_value

ORDERS = 20


def stopped_at(
    rungs: Rungs, key: str, rows: list[EpochMetrics], *, begins: int, grace: int, objective: str
) -> int | None:
    """The epochs after which a setting is stopped; its noise begins in epoch ``begins``."""
    sign = 1 if OBJECTIVES[objective] == "max" else -1
    for done in rungs.milestones:
        if begins < done <= len(rows):
            value = sign * objective_value(objective, rows[:done])
            if not rungs.judge(key, done, begins + 1 + grace, value):
                return done
    return None


def replayed(table: Mapping[str, Any], objective: str, orders: int) -> tuple[float, float, float]:
    """Shares: searches whose best is stopped, settings stopped, epochs saved."""
    random, epochs = np.random.default_rng(0), int(table["train"]["epochs"])
    sign = 1 if OBJECTIVES[objective] == "max" else -1
    defaults = StudyConfig()
    grace = max(2, epochs // 10)
    best_lost: list[bool] = []
    saved: list[float] = []
    for seed in sorted({run["seed"] for run in table["runs"]}):
        runs = [r for r in table["runs"] if r["seed"] == seed and r["setting"] is not None]
        noisy = {r["setting"]: (history(r), r["noisy"][0]) for r in runs if r["noisy"]}
        whole = {s: rows for s, (rows, _) in noisy.items() if len(rows) == epochs}
        best = max(whole, key=lambda s: sign * objective_value(objective, whole[s]))
        for _ in range(orders):
            rungs = Rungs(milestones(1 + grace, epochs, defaults.reduction_factor), epochs)
            for setting in random.permutation(list(noisy)).tolist():
                rows, begins = noisy[setting]
                end = stopped_at(
                    rungs, str(setting), rows, begins=begins, grace=grace, objective=objective
                )
                saved.append(0.0 if end is None else (epochs - end) / epochs)
                if setting == best:
                    best_lost.append(end is not None)
    return float(np.mean(best_lost)), float(np.mean(np.array(saved) > 0)), float(np.mean(saved))


def report(path: Path, orders: int = ORDERS) -> str:
    table = read_table(path)
    rows = [
        [name, *(f"{share:.0%}" for share in replayed(table, name, orders))]
        for name in OBJECTIVES
        if name != "generalization_gap"
    ]
    header = ["objective", "searches whose best is stopped", "settings stopped", "epochs saved"]
    seeds = len({run["seed"] for run in table["runs"]})
    return f"{path.name.split('.')[0]}, {seeds} seeds\n\n{markdown_table(header, rows)}\n"


if __name__ == "__main__":
    print_reports(report, "python -m benchmarks.stopping", __doc__)
