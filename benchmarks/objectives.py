"""Which objective foretells the test set best: ``python -m benchmarks.objectives [--table NAME]``.

A search sees one seed. On a recorded table, the paired differences of each objective on one seed
are compared with what the settings are worth: their mean paired differences of the final weights
on the test set, over the other seeds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.tables import print_reports, read_table
from study.formats import markdown_table
from trainables.metrics import OBJECTIVES, EpochMetrics, Mode, objective_value

Array = NDArray[np.float64]
Run = Mapping[str, Any]
Figure = Callable[[Run], float]

RESAMPLES = 200
_DIGITS = 6
"""Decimals of a difference: recorded numbers have seven digits, and ties must stay ties."""


def history(run: Run) -> list[EpochMetrics]:
    """The recorded epochs; what was not recorded is 0, what was not finite is NaN."""
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    columns = [[math.nan if v is None else v for v in run[name]] for name in names]
    rows = enumerate(zip(*columns, strict=True))
    return [EpochMetrics(epoch, *figures, 0.0, 0.0, 0.0) for epoch, figures in rows]


def figures(epochs: int) -> dict[str, tuple[Figure, Mode]]:
    """What a search could rank its trials by; a run that was cut short has no value."""

    def objective(name: str) -> Figure:
        def value(run: Run) -> float:
            rows = history(run)
            return objective_value(name, rows) if len(rows) == epochs else math.nan

        return value

    found = {name: (objective(name), mode) for name, mode in OBJECTIVES.items()}
    # What the best of all objectives could reach from one seed.
    return found | {"the test accuracy itself": (final_test(0), "max")}


def final_test(index: int) -> Figure:
    """The final weights on the test set: 0 the accuracy, 1 the loss."""
    return _on_test("final_test", index)


def best_test(index: int) -> Figure:
    """The same of the weights with the best validation accuracy."""
    return _on_test("best_test", index)


def _on_test(weights: str, index: int) -> Figure:
    def value(run: Run) -> float:
        found = (run[weights] or [None, None])[index]
        return math.nan if found is None else found

    return value


def gains(table: Mapping[str, Any], figure: Figure, mode: Mode) -> Array:
    """Paired differences, (seeds, settings), positive where better; −∞ where a run has no value.

    Only seeds of which everything is recorded and the baseline did not diverge.
    """
    runs = {(run["setting"], run["seed"]): run for run in table["runs"]}
    epochs, settings = table["train"]["epochs"], range(len(table["settings"]))
    found = []
    for seed in sorted({seed for _, seed in runs}):
        whole = all((setting, seed) in runs for setting in (None, *settings))
        if not whole or len(runs[None, seed]["val_loss"]) < epochs:
            continue
        values = np.array([figure(runs[setting, seed]) for setting in settings])
        better = (values - figure(runs[None, seed])) * (1 if mode == "max" else -1)
        found.append(np.where(np.isfinite(better), np.round(better, _DIGITS), -np.inf))
    return np.array(found)


def agreement(one: Array, final: Array, seeds: NDArray[np.int64]) -> float:
    """Spearman's rank correlation of a seed's gains with the mean final gains on the others.

    Averaged over ``seeds``, which may repeat; a repeated seed is never among its own others.
    """
    others = np.array([final[seeds[seeds != seed]].mean(axis=0) for seed in seeds])
    return float(correlations(one[seeds], np.round(others, _DIGITS)).mean())


def correlations(a: Array, b: Array) -> Array:
    """Spearman's, row by row; 0 where either row is all alike, which tells nothing."""
    middle = (a.shape[1] + 1) / 2
    a, b = (rankdata(side, axis=1) - middle for side in (a, b))
    sizes = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), sizes, out=np.zeros(len(a)), where=sizes > 0)


def resampled(ones: Sequence[Array], final: Array, resamples: int) -> Array:
    """The agreement of each of ``ones`` on the same resamples of seeds and settings."""
    random = np.random.default_rng(0)
    seeds, settings = final.shape
    found: list[list[float]] = []
    while len(found) < resamples:
        rows = random.integers(0, seeds, seeds)
        columns = random.integers(0, settings, settings)
        if np.unique(rows).size > 1:
            found.append([agreement(one[:, columns], final[:, columns], rows) for one in ones])
    return np.array(found)


def compared(table: Mapping[str, Any], resamples: int = RESAMPLES) -> list[dict[str, str]]:
    """A row an objective: its agreement with the final test accuracy, and with the test loss."""
    known = figures(table["train"]["epochs"])
    ones = [gains(table, figure, mode) for figure, mode in known.values()]
    rows = [{"objective": name} for name in known]
    judged: list[tuple[str, int, Mode]] = [("test accuracy", 0, "max"), ("test loss", 1, "min")]
    for title, index, mode in judged:
        final = gains(table, final_test(index), mode)
        draws = resampled(ones, final, resamples)
        first = draws[:, [0]]
        for row, one, mine, lead in zip(rows, ones, draws.T, (draws - first).T, strict=True):
            found = agreement(one, final, np.arange(len(final)))
            row[title] = f"{found:+.2f} ({_interval(mine)})"
            row[f"{title}: beside the first"] = _interval(lead)
    return rows


def _interval(draws: Array) -> str:
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{low:+.2f} to {high:+.2f}"


def jumpiness(table: Mapping[str, Any]) -> str:
    """How much more the test accuracy of the best-validation weights varies than the final's."""
    best, final = (gains(table, figure(0), "max") for figure in (best_test, final_test))
    whole = np.isfinite(best).all(axis=0) & np.isfinite(final).all(axis=0)
    mine, other = (side[:, whole].var(axis=0, ddof=1) for side in (best, final))
    ratios = mine[other > 0] / other[other > 0]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return (
        f"The variance of paired differences of the best weights' test accuracy, in units of the "
        f"final weights': median {middle:.2f}, quartiles {low:.2f} and {high:.2f}, from "
        f"{ratios.min():.2f} to {ratios.max():.2f} ({len(ratios)} settings)"
    )


def report(path: Path) -> str:
    table = read_table(path)
    rows = compared(table)
    seeds, settings = gains(table, final_test(0), "max").shape
    header = list(rows[0])
    lines = markdown_table(header, [list(row.values()) for row in rows])
    return (
        f"{path.name.split('.')[0]}: {settings} settings, {seeds} seeds. Mean rank correlation of "
        "one seed's paired differences with the mean ones of the final weights over the other "
        f"seeds (95 % by bootstrap over seeds and settings)\n\n{lines}\n{jumpiness(table)}\n"
    )


if __name__ == "__main__":
    print_reports(report, "python -m benchmarks.objectives", __doc__)
