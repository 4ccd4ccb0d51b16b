"""What a grid compares: each noise of each group beside the group's baseline, seed by seed."""

from dataclasses import dataclass

from analysis.reading import GridView
from study.campaigns.experiment_result import DIFFERENCES, TableRow
from study.formats import exact
from study.records.planned_run import BASELINE
from study.statistics.estimate import estimate

COMPARED = "difference"
"""The difference that a grid is read by."""

GRID_WORDS = "final validation accuracy"


@dataclass(frozen=True)
class GridComparison:
    """One noise of one group beside its baseline.

    Attributes:
        label: what tells it apart from the others, shorter than the ``name``.
        interval: Student's, over the seeds; None with fewer than two, or where all are equal.
        by_seed: seed and difference, of those that both have.
        without_noise: seeds on which it never began.
    """

    row: TableRow
    name: str
    label: str
    mean: float | None
    interval: tuple[float, float] | None
    by_seed: tuple[tuple[int, float], ...]
    without_noise: tuple[int, ...]


def grid_comparisons(view: GridView) -> list[GridComparison]:
    """All of them: the farthest ahead first, what has no difference yet last."""
    assert DIFFERENCES[COMPARED] == "val_accuracy"
    found = [_compared(view, row) for row in view.result.table if row.noise != BASELINE]
    return sorted(found, key=lambda each: (each.mean is None, -(each.mean or 0.0)))


def _compared(view: GridView, row: TableRow) -> GridComparison:
    pairs = [(run.seed, run.differences[COMPARED]) for run in view.result.runs_of(row)]
    known = tuple((seed, value) for seed, value in pairs if value is not None)
    found = estimate([value for _, value in known], resamples=0)
    interval = found.t_interval
    return GridComparison(
        row=row,
        name=f"{group_name(view, row)}, {row.noise}",
        label=", ".join(filter(None, (row.noise, _what_varies(view, row)))),
        mean=found.mean,
        interval=(interval.low, interval.high) if interval else None,
        by_seed=known,
        without_noise=tuple(view.result.without_noise(row)),
    )


def _what_varies(view: GridView, row: TableRow) -> str:
    """The parts of a group's name that the grid has more than one of."""
    config = view.config
    parts = (
        (config.classifiers, row.classifier),
        (config.optimizers, row.optimizer),
        (config.momenta, "" if row.momentum is None else f"momentum {exact(row.momentum)}"),
        (config.lrs, f"lr {exact(row.lr)}"),
        (config.subsets, f"{exact(row.subset)} of the data"),
    )
    return " ".join(text for axis, text in parts if len(axis) > 1 and text)


def group_name(view: GridView, row: TableRow) -> str:
    """``BabyCNN SGD 0.9 lr 0.01``: with the subset where the grid varies it."""
    momentum = "" if row.momentum is None else f" {exact(row.momentum)}"
    subset = f" on {exact(row.subset)} of the data" if len(view.config.subsets) > 1 else ""
    return f"{row.classifier} {row.optimizer}{momentum} lr {exact(row.lr)}{subset}"
