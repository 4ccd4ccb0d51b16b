"""Pictures of settings: which of them matter, and how the objective varies along them."""

from collections.abc import Sequence

from optuna.distributions import CategoricalDistribution, FloatDistribution

from analysis.charts.chart import Bars, Chart, Panel, Points, Ticks
from analysis.charts.looks import BLUE, ORANGE
from analysis.reading import StudyView
from analysis.report.importance import Importances, searched
from search_spaces.calibration import CalibratedSpace
from search_spaces.conditions import from_overrides
from study.formats import setting_name

_WIDEST = 24
"""Characters of a choice that a tick has room for."""


def importance_chart(found: Importances) -> Chart | None:
    if not found.order:
        return None
    labels = [setting_name(path) for path in found.order]
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
    space = searched(view)
    box = space.distributions
    if not box or not view.complete:
        return None
    # Those that only some trials have come last: no importance can be told of them.
    others = sorted(name for name in box.keys() - set(order) if name in space.conditions)
    names = [*(name for name in order if name in box), *others] or sorted(box)
    panels = [_slice(view, space, name) for name in names if not box[name].single()]
    if not panels:
        return None
    name = view.config.objective[0]
    return Chart("slices", f"{name} by each setting", tuple(panels), columns=min(3, len(panels)))


def _slice(view: StudyView, space: CalibratedSpace, path: str) -> Panel:
    name, distribution = view.config.objective[0], space.distributions[path]
    points_of = [
        (trial, from_overrides(space.distributions, space.conditions, trial.overrides))
        for trial in view.complete[::-1]
    ]
    trials = [trial for trial, point in points_of if path in point]
    values = [point[path] for _, point in points_of if path in point]
    ticks: Ticks = ()
    if isinstance(distribution, CategoricalDistribution):
        choices = list(distribution.choices)
        ticks = tuple((float(i), _cut(str(choice))) for i, choice in enumerate(choices))
        places = [float(choices.index(v)) if v in choices else -1.0 for v in values]
    else:
        places = [float(value) for value in values]
    points = Points(
        places,
        [trial.metrics[name] or 0.0 for trial in trials],
        "complete trial",
        BLUE,
        size=6,
        labels=[f"{t.trial_id}: {value}" for t, value in zip(trials, values, strict=True)],
        legend=False,
    )
    log = isinstance(distribution, FloatDistribution) and distribution.log
    return Panel((points,), x=setting_name(path), y=name, x_log=log, x_ticks=ticks, height=0.8)


def _cut(text: str) -> str:
    """A list of names as its first and how many more; what is too long, cut."""
    first, *others = text.split("+")
    text = f"{first} +{len(others)}" if len(others) > 1 else text
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
