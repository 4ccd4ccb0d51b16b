"""Pictures of settings: which of them matter, and how the objective varies along them."""

from collections.abc import Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.charts.chart import Bars, Chart, Panel, Points, cut_label
from analysis.charts.looks import BLUE, ORANGE
from analysis.reading import StudyView
from analysis.report.importance import Importances, searched
from search_spaces.calibration import CalibratedSpace
from search_spaces.conditions import from_overrides
from study.formats import setting_name
from trainables.metrics import words_of

_FEWEST = 2
_WIDEST = 18
"""Characters of a choice that a tick has room for."""


def importance_chart(found: Importances) -> Chart | None:
    if not found.order:
        return None
    labels = [setting_name(path) for path in found.order]
    panels = [
        Panel(
            (Bars(labels, [values.get(path, 0.0) for path in found.order], name, colour),),
            x=f"{name}: share",
            x_range=(0, 1),
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
        f"Importance of the settings for {words_of(found.objective)}, from n = "
        f"{found.trials} trials" + (" (too few to trust)" if found.warning else ""),
        tuple(panels),
        columns=len(panels),
    )


def slices_chart(view: StudyView, order: Sequence[str]) -> Chart | None:
    space = searched(view)
    box = space.distributions
    if not box or not view.complete:
        return None
    # Those that only some trials have come last: no importance can be told of them.
    others = sorted(name for name in box.keys() - set(order) if name in space.conditions)
    names = [*(name for name in order if name in box), *others] or sorted(box)
    found = [_slice(view, space, name) for name in names if not box[name].single()]
    panels = [panel for panel in found if panel is not None]
    if not panels:
        return None
    words = words_of(view.config.objective[0])
    return Chart(
        "slices",
        f"{words[0].upper()}{words[1:]} by each setting",
        tuple(panels),
        columns=min(3, len(panels)),
    )


def _slice(view: StudyView, space: CalibratedSpace, path: str) -> Panel | None:
    """None where a single trial has the setting, beside which there is nothing."""
    name, distribution = view.config.objective[0], space.distributions[path]
    unit = view.unit(name)
    points_of = [
        (trial, from_overrides(space.distributions, space.conditions, trial.overrides))
        for trial in view.complete[::-1]
    ]
    trials = [trial for trial, point in points_of if path in point]
    values = [point[path] for _, point in points_of if path in point]
    if len(trials) < _FEWEST:
        return None
    shown = [unit.scale * (trial.metrics[name] or 0.0) for trial in trials]
    labels = [f"{t.trial_id}: {value}" for t, value in zip(trials, values, strict=True)]
    look: dict[str, Any] = {
        "colour": BLUE,
        "size": 6,
        "labels": labels,
        "legend": False,
    }
    axis = unit.axis(words_of(name))
    if isinstance(distribution, CategoricalDistribution):
        # Choices have long names: they are rows.
        choices = list(distribution.choices)
        known = [-float(choices.index(v)) if v in choices else 1.0 for v in values]
        return Panel(
            (Points(shown, known, "complete trial", **look),),
            x=axis,
            x_range=_reach(view),
            y=setting_name(path),
            y_range=(0.5 - len(choices), 0.5),
            y_ticks=tuple((-float(i), _cut(str(choice))) for i, choice in enumerate(choices)),
            height=max(0.8, 0.2 + 0.17 * len(choices)),
        )
    return Panel(
        (Points([float(value) for value in values], shown, "complete trial", **look),),
        x=setting_name(path),
        x_log=isinstance(distribution, FloatDistribution) and distribution.log,
        x_whole=isinstance(distribution, IntDistribution),
        y=axis,
        y_range=_reach(view),
        height=0.8,
    )


def _reach(view: StudyView) -> tuple[float, float] | None:
    """The objective's axis, the same for all settings: so they can be compared."""
    name = view.config.objective[0]
    unit = view.unit(name)
    values = unit.scaled(trial.metrics[name] for trial in view.complete)
    every = Points([0.0] * len(values), values, name, BLUE)
    return Panel((every,), y_limits=unit.limits()).reach("y")


def _cut(text: str) -> str:
    """A list of names in two lines, its second and how many more; what is too long, cut."""
    first, *others = text.split("+")
    if not others:
        return cut_label(text, _WIDEST)
    second = others[0] if len(others) == 1 else f"{len(others)} more"
    return f"{cut_label(first, _WIDEST)}\n+{cut_label(second, _WIDEST)}"
