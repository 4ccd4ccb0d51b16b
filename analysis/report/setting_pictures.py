"""Pictures of settings: which of them matter, and how the objective varies along them."""

import math
from collections.abc import Sequence

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from scipy.interpolate import griddata
from scipy.spatial import QhullError

from analysis.charts.chart import (
    BLUE,
    GREY,
    ORANGE,
    Bars,
    Chart,
    Line,
    Mark,
    Panel,
    Points,
    Surface,
)
from analysis.reading import StudyView
from analysis.report.importance import Importances, searched
from analysis.report.labels import cut, short

_SURFACE_FROM = 6
"""Different places from which on a surface says more than the points do."""


def importance_chart(found: Importances) -> Chart | None:
    """Both importances of each setting."""
    if not found.order:
        return None
    labels = [short(path) for path in found.order]
    panels = [
        Panel(
            (Bars(labels, [values.get(path, 0.0) for path in found.order], name, colour),),
            x=f"{name}: share",
            height=0.3 + 0.13 * len(labels),
        )
        for name, values, colour in (
            ("fANOVA", found.fanova, BLUE),
            ("PED-ANOVA", found.ped_anova, ORANGE),
        )
        if values
    ]
    return Chart(
        "importances",
        f"Importance of the settings for {found.objective}, from n = {found.trials} trials"
        + (" (too few to trust)" if found.warning else ""),
        tuple(panels),
        columns=len(panels),
    )


def slices_chart(view: StudyView, order: Sequence[str]) -> Chart | None:
    """The objective against each searched setting."""
    space = searched(view)
    paths = [path for path in order if path in space] or sorted(space)
    if not paths or not view.complete:
        return None
    name = view.config.objective[0]
    panels = []
    for path in paths:
        trials = [t for t in view.complete[::-1] if path in t.overrides]
        axis = _Axis(path, space[path])
        points = Points(
            [axis.place(t.overrides[path]) for t in trials],
            [t.metrics[name] or 0.0 for t in trials],
            "complete trial",
            BLUE,
            size=6,
            labels=[f"{t.trial_id}: {t.overrides[path]}" for t in trials],
            legend=False,
        )
        panels.append(
            Panel((points,), x=short(path), y=name, x_log=axis.log, x_ticks=axis.ticks, height=0.8)
        )
    return Chart("slices", f"{name} by each setting", tuple(panels), columns=min(3, len(panels)))


def parallel_chart(view: StudyView, order: Sequence[str]) -> Chart | None:
    """Parallel coordinates: a line for each complete trial, its colour by the objective."""
    space = searched(view)
    paths = [path for path in order if path in space] or sorted(space)
    trials = [t for t in view.complete if all(path in t.overrides for path in paths)]
    if len(paths) < 2 or len(trials) < 2:
        return None
    name = view.config.objective[0]
    axes = [_Axis(path, space[path]) for path in paths]
    best = len(trials) // 4 or 1
    marks: list[Mark] = []
    for rank, trial in reversed(list(enumerate(trials))):
        first = rank < best
        heights = [axis.share(trial.overrides[axis.path]) for axis in axes]
        label = "best quarter" if first else "other complete trials"
        marks.append(
            Line(
                range(len(paths)),
                heights,
                label,
                BLUE if first else GREY,
                width=2.0 if first else 1.0,
                opacity=0.9 if first else 0.45,
                legend=rank in (0, best),
            )
        )
    ticks = tuple((float(i), short(path)) for i, path in enumerate(paths))
    return Chart(
        "parallel",
        f"Settings of the best quarter by {name}",
        (Panel(tuple(marks), x="", y="low – high of the range", x_ticks=ticks, height=1.2),),
        caption="Each line is a trial; each setting runs from the low end of its range (or its "
        "first choice) to the high end.",
    )


def contour_chart(view: StudyView, order: Sequence[str]) -> Chart | None:
    """The two most important settings together, coloured by the objective."""
    space = searched(view)
    if len(order) < 2 or len(view.complete) < 2:
        return None
    x, y = (_Axis(path, space[path]) for path in order[:2])
    name = view.config.objective[0]
    trials = view.complete[::-1]  # the best one on top
    xs = [x.place(t.overrides[x.path]) for t in trials]
    ys = [y.place(t.overrides[y.path]) for t in trials]
    zs = [t.metrics[name] or 0.0 for t in trials]
    points = Points(
        xs,
        ys,
        "complete trial",
        BLUE,
        size=11,
        labels=[f"{t.trial_id}: {t.metrics[name]}" for t in trials],
        z=zs,
        z_name=name,
    )
    surface = _surface(x, y, xs, ys, zs)
    panel = Panel(
        (*surface, points),
        x=short(x.path),
        y=short(y.path),
        x_log=x.log,
        y_log=y.log,
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        height=1.4,
    )
    return Chart(
        "two_settings",
        f"The two most important settings together, by {name}",
        (panel,),
        caption=(
            "Points: the complete trials. The surface joins them by planes (linear interpolation); "
            "what lies between few trials, whose other settings differ, too, is a guess."
            if surface
            else "The trials themselves: they do not bear a surface."
        ),
    )


def _surface(
    x: "_Axis", y: "_Axis", xs: Sequence[float], ys: Sequence[float], zs: Sequence[float]
) -> tuple[Surface, ...]:
    """The objective between the trials, interpolated; empty if they don't span a surface."""
    where = [(x.unit(a), y.unit(b)) for a, b in zip(xs, ys, strict=True)]
    if x.ticks or y.ticks or len(set(where)) < _SURFACE_FROM:
        return ()
    steps = np.linspace(0.0, 1.0, 40)
    columns, rows = np.meshgrid(steps, steps)
    try:
        found = griddata(np.array(where), np.array(zs), (columns, rows), method="linear")
    except QhullError:
        # All of them on one line.
        return ()
    grid = [[None if math.isnan(value) else value for value in row] for row in found.tolist()]
    places = [[axis.at(step) for step in steps.tolist()] for axis in (x, y)]
    return (Surface(places[0], places[1], grid, "interpolated"),)


class _Axis:
    """Where a setting's values stand on an axis."""

    def __init__(self, path: str, distribution: BaseDistribution) -> None:
        self.path = path
        self._choices: tuple[object, ...] = ()
        self._low, self._high = 0.0, 1.0
        self.log = False
        if isinstance(distribution, CategoricalDistribution):
            self._choices = tuple(distribution.choices)
            self._high = max(1.0, len(self._choices) - 1.0)
        else:
            self._low, self._high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
            self.log = isinstance(distribution, FloatDistribution) and distribution.log

    def place(self, value: object) -> float:
        """The coordinate: a choice's index, or the value."""
        if self._choices:
            return float(self._choices.index(value)) if value in self._choices else -1.0
        return float(value)  # type: ignore[arg-type]

    def share(self, value: object) -> float:
        """The place within the range, in [0, 1]."""
        return self.unit(self.place(value))

    def unit(self, place: float) -> float:
        """The place of a coordinate within the range, in [0, 1]."""
        low, high = self._ends
        at = math.log(place) if self.log else place
        return (at - low) / (high - low) if high > low else 0.5

    def at(self, unit: float) -> float:
        """The inverse of ``unit``."""
        low, high = self._ends
        place = low + unit * (high - low)
        return math.exp(place) if self.log else place

    @property
    def _ends(self) -> tuple[float, float]:
        if self.log:
            return math.log(self._low), math.log(self._high)
        return self._low, self._high

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Labels of choices, shortened; none for numbers."""
        return tuple((float(i), cut(str(choice))) for i, choice in enumerate(self._choices))
