"""The forest plot: each configuration and its controls beside the baseline, seed by seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.charts.chart import Band, Chart, Line, Mark, Panel, Points, Rule
from analysis.charts.looks import BLUE, GREY, ORANGE, PINK
from analysis.confirm.model import ConfirmedTrial, ConfirmReport
from analysis.reading import StudyView
from analysis.report.grid_compared import GRID_WORDS, GridComparison
from study.formats import seeds_named
from study.records.values import by_objective
from study.units import Unit
from trainables.metrics import words_of

_ROLES = (
    ("against_baseline", "", BLUE),
    ("placebo_effect", "its placebo", ORANGE),
    ("clock_effect", "its clock", PINK),
)
"""A field of ``ConfirmedTrial`` → the row's name (none: the configuration's own) and colour."""

_RACED = 8
"""Trials of a race that are shown."""

_COMPARED = 30
"""Comparisons of a grid that are shown."""

_BELOW = 0.24
"""How far below its interval a row's seeds lie."""

_DEEPEST = 0.26
"""How far below these the lowest of equal ones lies."""


@dataclass(frozen=True)
class _Row:
    """Differences from the baseline, in the metric's own unit; by seed, as far as known.

    ``without_noise``: seeds on which its noise never began.
    """

    name: str
    colour: str
    mean: float | None
    interval: Sequence[float] | None
    by_seed: Sequence[tuple[str, float]]
    without_noise: Sequence[str] = ()


def confirmed_forest(report: ConfirmReport, unit: Unit) -> Chart | None:
    """The confirmed configurations, their placebos and clocks, with the margin."""
    rows = [row for trial in report.trials for row in _rows_of(trial, report.decide_by)]
    margin = unit.scale * report.margin
    band = Band(-margin, margin, "too small to matter", GREY, 0.2)
    controls = (
        " Placebo: the same noise at random epochs; clock: from the warm-up's end on."
        if len(rows) > len(report.trials)
        else ""
    )
    return _forest(
        rows,
        unit,
        words_of(report.decide_by),
        (band,),
        title="Beside the baseline, on fresh seeds",
        caption="Diamond and bar: mean difference from the baseline and its 95 % interval; below, "
        f"each seed's.{controls}",
    )


def _rows_of(trial: ConfirmedTrial, metric: str) -> Iterator[_Row]:
    for field, name, colour in _ROLES:
        found = getattr(trial, field).get(metric)
        if found is not None and found.n:
            known = [(seed, value) for seed, value in found.differences.items()]
            by_seed = [(seed, value) for seed, value in known if value is not None]
            label = name or trial.trial
            # A control's noise is planned from its trial's: without that it has none, either.
            idle = [str(seed) for seed in trial.seeds_without_noise]
            mean, interval = found.mean_difference, found.t_interval
            yield _Row(label, colour, mean, interval, by_seed, idle)


def race_forest(view: StudyView) -> Chart | None:
    """The best trials of a race, on the seeds that they were trained on."""
    name = view.config.objective[0]
    rows = []
    for trial in [t for t in view.ranking if t.place is not None][:_RACED]:
        pairs = [(str(run.seed), by_objective(run.paired_difference)[0]) for run in trial.runs]
        mean = by_objective(trial.mean_difference)[0]
        by_seed = [(seed, value) for seed, value in pairs if value is not None]
        idle = [str(seed) for seed in trial.seeds_without_noise]
        rows.append(_Row(trial.trial_id, BLUE, mean, trial.first_interval, by_seed, idle))
    return _forest(
        rows,
        view.unit(name),
        words_of(name),
        title="Beside the baseline, in the race over seeds",
        caption="Diamond and bar: mean difference and 95 % interval on the seeds after a trial's "
        "last selection; below, each seed's, those that selected it too. Validation data."
        f"{_without_noise(rows)}",
    )


def _without_noise(rows: Sequence[_Row]) -> str:
    """On which seeds noise never began, trial by trial; empty if on none."""
    named = [
        f"{row.name} on {seeds_named([int(seed) for seed in row.without_noise])}"
        for row in rows
        if row.without_noise
    ]
    return f" Noise never began, and a run equals its baseline: {'; '.join(named)}." * bool(named)


def grid_forest(compared: Sequence[GridComparison], unit: Unit) -> Chart | None:
    """A grid's noises beside their baselines, the farthest ahead first."""
    known = [each for each in compared if each.mean is not None]
    found = known[:_COMPARED]
    rows = [
        _Row(
            each.label,
            BLUE,
            each.mean,
            each.interval,
            [(str(seed), value) for seed, value in each.by_seed],
            [str(seed) for seed in each.without_noise],
        )
        for each in found
    ]
    more, open_yet = len(known) - len(found), len(compared) - len(known)
    left_out = f" {more} comparisons are left out, those farthest behind." if more else ""
    left_out += f" {open_yet} have no figure yet." if open_yet else ""
    return _forest(
        rows,
        unit,
        GRID_WORDS,
        title="Beside the baselines of the grid",
        caption="Diamond and bar: mean difference from the baseline of the same group and its 95 % "
        f"interval over the seeds, one by one, uncorrected for their number; below, each seed's. "
        f"Validation data.{left_out}",
    )


def _forest(
    rows: Sequence[_Row],
    unit: Unit,
    words: str,
    marks: tuple[Mark, ...] = (),
    *,
    title: str,
    caption: str,
) -> Chart | None:
    if not rows:
        return None
    drawn: list[Mark] = [*marks, Rule(0.0, "no difference", GREY, "x", "solid")]
    for place, row in enumerate(rows):
        drawn += _row_marks(row, -float(place), unit)
    panel = Panel(
        tuple(drawn),
        x=f"difference of {words} ({unit.word})" if unit.word else f"difference of {words}",
        y_ticks=tuple((-float(place), row.name) for place, row in enumerate(rows)),
        y_range=(0.45 - len(rows), 0.4),
        height=0.2 + 0.22 * len(rows),
        missing="no seed has a difference yet",
    )
    return Chart("forest", title, (panel,), caption=caption)


def _row_marks(row: _Row, place: float, unit: Unit) -> Iterator[Mark]:
    if row.interval:
        low, high = (unit.scale * bound for bound in row.interval)
        name = f"{row.name}: 95 % interval"
        yield Line((low, high), (place, place), name, row.colour, width=3, legend=False)
    if row.mean is not None:
        label = f"{row.name}: {unit.difference(row.mean)}, 95 % {unit.bounds(row.interval)}"
        x = [unit.scale * row.mean]
        yield Points(x, [place], row.name, row.colour, "diamond", 12, labels=[label], legend=False)
    xs = [unit.scale * value for _, value in row.by_seed]
    ys = [place - _BELOW - below for below in _stacked(xs)]
    labels = [
        f"seed {seed}: {unit.difference(value)}"
        + (", noise never began" if seed in row.without_noise else "")
        for seed, value in row.by_seed
    ]
    yield Points(xs, ys, row.name, row.colour, size=6, labels=labels, legend=False)


def _stacked(xs: Sequence[float]) -> list[float]:
    """How far each of these lies below the first one equal to it: none hides another."""
    places = [round(x, 9) for x in xs]
    most = max(map(places.count, places), default=1)
    step = min(0.09, _DEEPEST / max(1, most - 1))
    return [step * places[:n].count(x) for n, x in enumerate(places)]
