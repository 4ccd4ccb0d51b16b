"""The report's pictures as charts: what is drawn, computed from a study."""

import math
from collections.abc import Sequence

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from scipy.interpolate import griddata
from scipy.spatial import QhullError

from analysis.charts import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    SIGNAL_COLOURS,
    SKY,
    Band,
    Bars,
    Blocks,
    Chart,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    Surface,
    Symbol,
    spans,
)
from analysis.evaluation import PairedFigures, largest_changes
from analysis.importance import Importances, searched
from analysis.reading import StudyView
from analysis.tables import (
    Report,
    adaptivity,
    baseline_band,
    better_so_far,
    is_adaptive,
    outcome,
)
from study.ledger import TrialRecord
from study.summary import TrialSummary, pareto_front
from trainables.metrics import objective_value

_SHOWN = 15

_SURFACE_FROM = 6
"""Different places from which on a surface says more than the points do."""

OUTCOMES: dict[str, tuple[str, Symbol]] = {
    "complete": (BLUE, "circle"),
    "never injected": (GREEN, "square"),
    "stopped early": (ORANGE, "triangle-up"),
    "failed": (RED, "x"),
    "unfinished": (PINK, "diamond"),
}
"""How a trial ended → colour and symbol: told apart by both."""


def adaptivity_chart(view: StudyView, shown: int = 3) -> Chart | None:
    """By signal, the share of listening epochs in which it was raised, for the best trials."""
    records = [view.state.trials[t.trial_id] for t in view.complete]
    found = [adaptivity(record) for record in records if is_adaptive(record)][:shown]
    found = [each for each in found if each.share is not None]
    if not found:
        return None
    panels = []
    for each in found:
        labels = ["any signal", *(name for name, _ in each.by_signal)]
        shares = [each.raised, *(count for _, count in each.by_signal)]
        panels.append(
            Panel(
                (Bars(labels, [s / each.listening for s in shares], "share of epochs", BLUE),),
                x=f"{each.trial}: share of {each.listening} listening epochs",
                x_range=(0, 1),
                height=0.25 + 0.13 * len(labels),
            )
        )
    return Chart(
        "adaptivity",
        "How adaptive the noise of the best trials was",
        tuple(panels),
    )


def ranking_chart(view: StudyView) -> Chart | None:
    """The best trials beside the baseline of their seed and its band over seeds."""
    best = list(view.complete)[:_SHOWN]
    if not best:
        return None
    panels = []
    for index, name in enumerate(view.config.objective):
        marks: list[Mark] = []
        band = baseline_band(view, index)
        if band is not None:
            marks.append(Band(band.low, band.high, "baseline over its seeds", GREY, 0.25))
            if band.own is not None:
                marks.append(Rule(band.own, "baseline of the trials' seed", GREY, "x"))
        keys = [trial.trial_id for trial in best]
        for never, label in ((False, "trial"), (True, "never injected")):
            chosen = [t for t in best if t.never_injected == never]
            if not chosen:
                continue
            colour, symbol = OUTCOMES["never injected" if never else "complete"]
            marks.append(
                Points(
                    [t.metrics[name] or 0.0 for t in chosen],
                    [-float(keys.index(t.trial_id)) for t in chosen],
                    label,
                    colour,
                    symbol,
                    labels=[_settings(t) for t in chosen],
                )
            )
        ticks = tuple((-float(rank), key) for rank, key in enumerate(keys))
        panels.append(Panel(tuple(marks), x=name, y_ticks=ticks, height=0.4 + 0.12 * len(best)))
    return Chart(
        "ranking",
        f"The best {len(best)} of {len(view.summary.trials)} trials, best first",
        tuple(panels),
        caption="Grey: the baseline over its seeds; a trial within it may owe its place to luck. "
        "The dashed line is the baseline that shares the trials' seed.",
    )


def curves_chart(report: Report) -> Chart | None:
    """Learning curves of baseline and best trial, its noisy epochs, cooldowns and fork marked."""
    best, baseline = report.best, report.baseline
    if best is None and not baseline:
        return None
    shade = _shading(best) if best else ()
    panels = []
    for name, axis in (
        ("val_accuracy", "validation accuracy"),
        ("val_loss", "validation loss"),
        ("train_loss", "training loss"),
    ):
        marks: list[Mark] = [*shade]
        marks.append(
            Line(
                [row.epoch for row in baseline],
                [_finite(getattr(row, name)) for row in baseline],
                "baseline",
                GREY,
                "dash",
            )
        )
        if best:
            marks.append(
                Line(
                    [row.epoch for row in best.history],
                    [_finite(getattr(row, name)) for row in best.history],
                    best.key,
                    BLUE,
                )
            )
        both = [getattr(row, name) for row in (*baseline, *(best.history if best else ()))]
        panels.append(
            Panel(tuple(marks), y=axis, y_log=_is_steep(both) and "loss" in name, height=0.8)
        )
    who = f"baseline and {best.key}" if best else "the baseline"
    return Chart(
        "curves",
        f"Learning curves of {who}",
        tuple(panels),
        caption="Shaded: epochs with noise, and cooldowns. Left of the line both are the same "
        "training, bit for bit: the trial was forked there.",
    )


def _is_steep(values: Sequence[float]) -> bool:
    """Whether a linear axis would hide the differences near the lowest values."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 5 * min(finite)


def _shading(record: TrialRecord) -> tuple[Mark, ...]:
    noisy = spans([row.epoch for row in record.history if row.injected])
    cooling = spans([row.epoch for row in record.history if row.noise_phase == "cooldown"])
    marks: list[Mark] = [Band(a - 0.5, b + 0.5, "noise", ORANGE, 0.25) for a, b in noisy]
    marks += [Band(a - 0.5, b + 0.5, "cooldown", SKY, 0.22) for a, b in cooling]
    if record.first_injection_epoch:
        fork = record.first_injection_epoch
        marks.append(Rule(fork - 0.5, f"fork before epoch {fork}", RED, "x", "dot"))
    return tuple(marks)


def noise_chart(report: Report) -> Chart | None:
    """The best trial's magnitude and raised signals over its epochs."""
    best = report.best
    if best is None or not any(row.injected for row in best.history):
        return None
    epochs = [row.epoch for row in best.history]
    magnitude = Line(epochs, [row.noise_magnitude for row in best.history], "magnitude", RED)
    kinds = sorted({row.noise_kind for row in best.history if row.injected})
    names = [name for name in SIGNAL_COLOURS if any(name in r.signals for r in best.history)]
    rows = [*names, *(f"{kind} noise" for kind in kinds), "cooldown"]
    marks: list[Mark] = []
    for row in rows:
        if row in names:
            at = [r.epoch for r in best.history if row in r.signals]
        elif row == "cooldown":
            at = [r.epoch for r in best.history if r.noise_phase == "cooldown"]
        else:
            at = [r.epoch for r in best.history if f"{r.noise_kind} noise" == row]
        colour = SIGNAL_COLOURS.get(row, GREY if row == "cooldown" else RED)
        blocks = [(row, a - 0.5, b + 0.5) for a, b in spans(at)]
        marks.append(Blocks(rows, blocks, row, colour))
    reach = (-0.5, epochs[-1] + 0.5)
    return Chart(
        "noise",
        f"Magnitude and signals of {best.key}",
        (
            Panel((magnitude,), y="magnitude", x_range=reach, height=0.7),
            Panel(tuple(marks), y="raised before", x_range=reach, height=0.3 + 0.11 * len(rows)),
        ),
        caption="Above: the noise's standard deviation. Below: the signals raised before each "
        "epoch, the noise that followed, and the cooldowns.",
    )


def history_chart(view: StudyView) -> Chart | None:
    """The objective of every trial in its order, and the best complete one so far."""
    panels = []
    for index, name in enumerate(view.config.objective):
        found = better_so_far(view, name)
        if not found:
            return None
        marks: list[Mark] = []
        band = baseline_band(view, index)
        if band is not None:
            marks.append(Band(band.low, band.high, "baseline over its seeds", GREY, 0.22, axis="y"))
        for how, (colour, symbol) in OUTCOMES.items():
            points = [(number, key, value) for number, key, value, ended in found if ended == how]
            if points:
                numbers, keys, values = zip(*points, strict=True)
                marks.append(Points(numbers, values, how, colour, symbol, labels=keys))
        marks.append(_best_line(found, view.config.modes[index]))
        panels.append(Panel(tuple(marks), x="trial", y=name))
    return Chart(
        "history",
        "Optimisation history",
        tuple(panels),
        caption="Trials that were stopped early or failed stand at the value they had reached, "
        "after fewer epochs; the line goes by complete trials only.",
    )


def _best_line(found: Sequence[tuple[int, str, float, str]], mode: str) -> Line:
    better = max if mode == "max" else min
    best: float | None = None
    xs, ys = [], []
    for number, _, value, how in found:
        if how in ("complete", "never injected"):
            best = value if best is None else better(best, value)
        xs.append(float(number))
        ys.append(best)
    return Line(xs, ys, "best so far", SKY)


def importance_chart(found: Importances) -> Chart | None:
    """Both importances of each setting."""
    if not found.order:
        return None
    labels = [_short(path) for path in found.order]
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
            Panel((points,), x=_short(path), y=name, x_log=axis.log, x_ticks=axis.ticks, height=0.8)
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
    ticks = tuple((float(i), _short(path)) for i, path in enumerate(paths))
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
        x=_short(x.path),
        y=_short(y.path),
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


def gap_chart(view: StudyView) -> Chart | None:
    """Best validation accuracy against the generalisation gap, with the Pareto front."""
    trials = [t for t in view.complete if t.metrics.get("best_val_accuracy") is not None]
    if not trials:
        return None
    accuracy, gap = "best_val_accuracy", "generalization_gap"
    both = view.config.model_copy(update={"objective": (accuracy, gap)})
    pairs = [t.model_copy(update={"value": [t.metrics[accuracy], t.metrics[gap]]}) for t in trials]
    front = sorted(pareto_front(both, pairs), key=lambda t: t.metrics[gap] or 0.0)
    marks: list[Mark] = [
        Line(
            [t.metrics[gap] or 0.0 for t in front],
            [t.metrics[accuracy] for t in front],
            "Pareto front",
            ORANGE,
        )
    ]
    for how, (colour, symbol) in OUTCOMES.items():
        chosen = [t for t in trials if outcome(view.state.trials[t.trial_id]) == how]
        if chosen:
            marks.append(
                Points(
                    [t.metrics[gap] or 0.0 for t in chosen],
                    [t.metrics[accuracy] or 0.0 for t in chosen],
                    how,
                    colour,
                    symbol,
                    labels=[t.trial_id for t in chosen],
                )
            )
    pinned = [objective_pair(r) for r in view.baselines.values() if r.state == "complete"]
    if pinned:
        gaps, accuracies = zip(*pinned, strict=True)
        marks.append(Points(gaps, accuracies, "baseline, each seed", GREY, "diamond", 10))
    return Chart(
        "accuracy_gap",
        "Accuracy against generalisation gap",
        (Panel(tuple(marks), x="training − validation accuracy, last ten epochs", y=accuracy),),
        caption="Up is better, left is better; the front is that of the trials. Validation data.",
    )


def classes_chart(found: PairedFigures) -> Chart | None:
    """By class, how much more accurate the best trial is than its baseline."""
    changes = largest_changes(found)
    if not changes:
        return None
    names, values = zip(*changes, strict=True)
    part = "validation data" if found.part == "val" else "test set"
    left_out = "" if len(changes) == len(found.by_class()) else f" (the {len(changes)} largest)"
    marks = (
        Bars(names, values, "difference", BLUE),
        Rule(0.0, "no difference", GREY, "x", "solid"),
    )
    title = f"{found.trial} − baseline: accuracy by class, {part}{left_out}"
    panel = Panel(marks, x="difference of accuracy", height=0.3 + 0.13 * len(changes))
    return Chart("classes", title, (panel,))


def objective_pair(record: TrialRecord) -> tuple[float, float]:
    """A run's generalisation gap and best validation accuracy."""
    rows = record.history
    return objective_value("generalization_gap", rows), objective_value("best_val_accuracy", rows)


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
        return tuple((float(i), _cut(str(choice))) for i, choice in enumerate(self._choices))


def _short(path: str) -> str:
    return path.removeprefix("noise/")


def _cut(text: str, limit: int = 24) -> str:
    parts = text.split("+")
    text = text if len(parts) < 3 else f"{parts[0]} +{len(parts) - 1}"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _settings(trial: TrialSummary) -> str:
    return ", ".join(
        f"{_short(path)}={value:.3g}" if isinstance(value, float) else f"{_short(path)}={value}"
        for path, value in sorted(trial.overrides.items())
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
