"""The report's pictures as charts: what is drawn, computed from a study."""

import math
from collections.abc import Sequence

from analysis.charts.chart import Band, Bars, Chart, Line, Mark, Panel, Points, Rule
from analysis.charts.looks import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, Symbol
from analysis.reading import StudyView
from analysis.report.epoch_pictures import curve, is_steep, shading, signals_chart
from analysis.report.evaluation import PairedFigures, largest_changes
from analysis.report.figures import adaptivity, baseline_band, is_adaptive, outcome
from study.formats import settings_text
from study.records.ledger_view import TrialRecord
from study.records.summary import TrialSummary, pareto_front
from study.units import Unit, statistic_unit
from trainables.epochs import epoch_number
from trainables.metrics import objective_value, words_of

_SHOWN = 15

CURVES = (
    ("val_accuracy", "validation accuracy"),
    ("val_loss", "validation loss"),
    ("train_loss", "training loss"),
)
"""Statistics that are drawn over the epochs, and their names for people."""

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
                x=f"{each.key}: share of {each.listening} listening epochs",
                x_range=(0, 1),
                height=0.25 + 0.13 * len(labels),
            )
        )
    return Chart("adaptivity", "How adaptive the noise of the best trials was", tuple(panels))


def ranking_chart(view: StudyView) -> Chart | None:
    """The best trials beside the baseline of their seed and its band over seeds."""
    best = list(view.complete)[:_SHOWN]
    if not best:
        return None
    panels = []
    for index, name in enumerate(view.config.objective):
        unit = view.unit(name)
        marks: list[Mark] = []
        band = baseline_band(view, index)
        if band is not None:
            low, high = (unit.scale * value for value in (band.low, band.high))
            marks.append(Band(low, high, "baseline over its seeds", GREY, 0.25))
            if band.own is not None:
                own = unit.scale * band.own
                marks.append(Rule(own, "baseline of the trials' seed", GREY, "x"))
        keys = [trial.trial_id for trial in best]
        for never, label in ((False, "trial"), (True, "never injected")):
            chosen = [t for t in best if t.never_injected == never]
            if not chosen:
                continue
            colour, symbol = OUTCOMES["never injected" if never else "complete"]
            values = [unit.scale * (t.metrics[name] or 0.0) for t in chosen]
            places = [-float(keys.index(t.trial_id)) for t in chosen]
            labels = [settings_text(t.overrides) for t in chosen]
            marks.append(Points(values, places, label, colour, symbol, labels=labels))
        ticks = tuple((-float(rank), key) for rank, key in enumerate(keys))
        panels.append(
            Panel(
                tuple(marks),
                x=unit.axis(words_of(name)),
                x_limits=unit.limits(),
                y_ticks=ticks,
                height=0.4 + 0.12 * len(best),
            )
        )
    return Chart(
        "ranking",
        f"The best {len(best)} of {len(view.summary.trials)} trials, best first",
        tuple(panels),
        caption="Dashed: the baseline that shares the trials' seed, which they are compared with. "
        "Grey: the baseline over its seeds. How much of a difference is luck the race tells, and a "
        "confirmation.",
    )


def curves_chart(view: StudyView) -> Chart | None:
    """Learning curves of baseline and best trial, its noisy epochs, cooldowns and fork marked."""
    best, pinned = view.best_noisy, view.baselines.get(view.config.seeds[0])
    baseline = pinned.history if pinned else ()
    if best is None and not baseline:
        return None
    shade = _shading(best) if best else ()
    images = view.summary.validation_images
    panels = []
    rows = (*baseline, *(best.history if best else ()))
    measured = rows[0].statistics()
    own = ((name, name.replace("_", " ")) for name in rows[0].own if name.startswith("val_"))
    for name, words in (*CURVES, *own):
        if name not in measured:
            continue
        unit = statistic_unit(name, images)
        marks: list[Mark] = [*shade, Line(*curve(baseline, name, unit), "baseline", GREY, "dash")]
        if best:
            marks.append(Line(*curve(best.history, name, unit), best.key, BLUE))
        both = [row.statistics().get(name, math.nan) for row in rows]
        panels.append(
            Panel(
                tuple(marks),
                y=unit.axis(words),
                y_log=is_steep(both) and not unit.share,
                y_limits=unit.limits(),
                height=0.8,
            )
        )
    who = f"baseline and {best.key}" if best else "the baseline"
    return Chart(
        "curves",
        f"Learning curves of {who}",
        tuple(panels),
        caption=_curves_caption(best),
    )


def _curves_caption(best: TrialRecord | None) -> str:
    if best is None:
        return ""
    text = "Shaded: epochs with noise, and cooldowns."
    if not best.first_injection_epoch:
        return text
    return f"{text} Left of the line both are the same training: the trial was forked there."


def _shading(record: TrialRecord) -> tuple[Mark, ...]:
    marks = shading(record.history)
    if record.first_injection_epoch:
        fork = epoch_number(record.first_injection_epoch)
        marks.append(Rule(fork - 0.5, f"fork before epoch {fork}", RED, "x", "dot"))
    return tuple(marks)


def noise_chart(view: StudyView) -> Chart | None:
    """The best trial's magnitude and raised signals over its epochs."""
    best = view.best_noisy
    if best is None or not any(row.injected for row in best.history):
        return None
    return signals_chart(best.history, f"Magnitude and signals of {best.key}")


def _in_order(view: StudyView, name: str) -> list[tuple[int, str, float, str]]:
    """Trials in their order: number, key, value of an objective, and how it ended."""
    found = []
    for record in sorted(view.state.by_role("trial"), key=lambda r: r.key):
        if not record.history:
            continue
        value = objective_value(name, record.history)
        if math.isfinite(value):
            number = int(record.key.rpartition("-")[2])
            found.append((number, record.key, value, outcome(record)))
    return found


def history_chart(view: StudyView) -> Chart | None:
    """The objective of every trial in its order, and the best complete one so far."""
    panels = []
    for index, name in enumerate(view.config.objective):
        unit = view.unit(name)
        found = _in_order(view, name)
        if not found:
            return None
        marks: list[Mark] = []
        band = baseline_band(view, index)
        if band is not None:
            low, high = (unit.scale * value for value in (band.low, band.high))
            marks.append(Band(low, high, "baseline over its seeds", GREY, 0.22, axis="y"))
        for how, (colour, symbol) in OUTCOMES.items():
            points = [(n, key, unit.scale * v) for n, key, v, ended in found if ended == how]
            if points:
                numbers, keys, values = zip(*points, strict=True)
                marks.append(Points(numbers, values, how, colour, symbol, labels=keys))
        marks.append(_best_line(found, view.config.modes[index], unit))
        words = unit.axis(words_of(name))
        panels.append(Panel(tuple(marks), x="trial", y=words, y_limits=unit.limits()))
    return Chart(
        "history",
        "Optimisation history",
        tuple(panels),
        caption="Trials that were stopped early or failed stand at the value they had reached, "
        "after fewer epochs; the line goes by complete trials only.",
    )


def _best_line(found: Sequence[tuple[int, str, float, str]], mode: str, unit: Unit) -> Line:
    better = max if mode == "max" else min
    best: float | None = None
    xs, ys = [], []
    for number, _, value, how in found:
        if how in ("complete", "never injected"):
            best = value if best is None else better(best, value)
        xs.append(float(number))
        ys.append(best)
    return Line(xs, unit.scaled(ys), "best so far", SKY)


def gap_chart(view: StudyView) -> Chart | None:
    """Best validation accuracy against the generalisation gap, with the Pareto front."""
    trials = [t for t in view.complete if t.metrics.get("best_val_accuracy") is not None]
    if not trials:
        return None
    accuracy, gap = "best_val_accuracy", "generalization_gap"
    both = view.config.model_copy(update={"objective": (accuracy, gap)})
    # The search's seed alone, whoever raced: the picture is of these two figures.
    pairs = [
        t.model_copy(update={"value": [t.metrics[accuracy], t.metrics[gap]], "place": None})
        for t in trials
    ]
    front = sorted(pareto_front(both, pairs), key=lambda t: t.metrics[gap] or 0.0)

    unit = view.unit(accuracy)

    def places(of: Sequence[TrialSummary]) -> tuple[list[float], list[float]]:
        xs, ys = ([unit.scale * (t.metrics[name] or 0.0) for t in of] for name in (gap, accuracy))
        return xs, ys

    marks: list[Mark] = [Line(*places(front), "Pareto front", ORANGE)]
    for how, (colour, symbol) in OUTCOMES.items():
        chosen = [t for t in trials if outcome(view.state.trials[t.trial_id]) == how]
        if chosen:
            keys = [t.trial_id for t in chosen]
            marks.append(Points(*places(chosen), how, colour, symbol, labels=keys))
    pinned = [r.history for r in view.baselines.values() if r.state == "complete"]
    if pinned:
        gaps, accuracies = (
            [unit.scale * objective_value(n, rows) for rows in pinned] for n in (gap, accuracy)
        )
        marks.append(Points(gaps, accuracies, "baseline, each seed", GREY, "diamond", 10))
    return Chart(
        "accuracy_gap",
        "Accuracy against generalisation gap",
        (
            Panel(
                tuple(marks),
                x="training − validation accuracy, last ten epochs (points)",
                y=unit.axis(words_of(accuracy)),
                y_limits=unit.limits(),
            ),
        ),
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
        Bars(names, [100 * value for value in values], "difference", BLUE),
        Rule(0.0, "no difference", GREY, "x", "solid"),
    )
    title = f"{found.key} − baseline: accuracy by class, {part}{left_out}"
    panel = Panel(marks, x="difference of accuracy (points)", height=0.3 + 0.13 * len(changes))
    return Chart("classes", title, (panel,))
