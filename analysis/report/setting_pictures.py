"""Pictures of settings: which of them matter, and how the objective varies along them."""

from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.charts.chart import Bars, Chart, Panel, Points, Ticks
from analysis.charts.looks import BLUE, ORANGE
from analysis.reading import StudyView
from analysis.report.importance import Importances, searched
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
    paths = [path for path in order if path in space] or sorted(space)
    if not paths or not view.complete:
        return None
    name = view.config.objective[0]
    panels = [_slice(view, path, space[path]) for path in paths]
    return Chart("slices", f"{name} by each setting", tuple(panels), columns=min(3, len(panels)))


def _slice(view: StudyView, path: str, distribution: BaseDistribution) -> Panel:
    name = view.config.objective[0]
    trials = [trial for trial in view.complete[::-1] if path in trial.overrides]
    values = [trial.overrides[path] for trial in trials]
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
