"""The report of a study: one self-contained HTML file, and its pictures as PNG and SVG.

Every figure is computed from the ledger first, then shown. A study that is not finished gets the
same report of what there is, and is told what is missing.
"""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from analysis.charts.chart import Chart
from analysis.charts.draw_static import save_chart
from analysis.confirm.report import confirm_report
from analysis.reading import StudyView
from analysis.report import setting_pictures
from analysis.report import trial_pictures as pictures
from analysis.report.evaluation import CACHE_FILE, PairedFigures, Say, paired_figures
from analysis.report.figures import (
    adaptivity,
    baseline_band,
    cost,
    is_adaptive,
    verdict,
)
from analysis.report.importance import Importances, importances
from analysis.report.page import Page
from analysis.trials_table import trials_table
from study.campaigns.confirmation import confirmation_of
from study.campaigns.tuning import tuning_note
from study.config_changes import as_asked
from study.records.indistinct import indistinct
from study.records.verdict import race_sentence

_PACKAGES = ("noise-study", "torch", "ray", "optuna", "mlflow", "numpy", "scipy")

NOT_EVALUATED = "Accuracy by class and sharpness were not asked for."

_NAMED = 5
"""Trials whose adaptivity is told in words."""


@dataclass(frozen=True)
class Section:
    """A section of the report, before it is laid out.

    Attributes:
        key: its name in links.
        notes: sentences that nobody should miss.
        missing: what to say if there is no picture; empty if none is expected.
    """

    key: str
    title: str
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    missing: str = ""


def sections(view: StudyView, figures: PairedFigures | str = NOT_EVALUATED) -> list[Section]:
    """All sections; ``figures``: accuracy by class and sharpness, or why there are none."""
    found = [importances(view, index) for index in range(len(view.config.objective))]
    none = "No trial is complete yet."
    return [
        _verdict(view),
        *_race(view),
        _adaptivity(view),
        _section("ranking", "Ranking", pictures.ranking_chart(view), none, _bands(view)),
        _section(
            "curves", "Learning curves", pictures.curves_chart(view), "No epoch is recorded yet."
        ),
        _section(
            "noise",
            "Noise and signals",
            pictures.noise_chart(view),
            "No complete trial has injected noise yet.",
        ),
        _section(
            "history",
            "Optimisation history",
            pictures.history_chart(view),
            "No trial has an epoch yet.",
        ),
        _importances(found),
        _section(
            "settings",
            "Settings",
            setting_pictures.slices_chart(view, found[0].order),
            "There is nothing to compare: no searched setting with complete trials.",
        ),
        *_of_classifiers(view, figures, none),
        Section("cost", "Cost", tuple(cost(view).sentences())),
    ]


def _of_classifiers(view: StudyView, figures: PairedFigures | str, none: str) -> list[Section]:
    """What only a training has that has an accuracy, or classes."""
    gap = _section("gap", "Accuracy and generalisation", pictures.gap_chart(view), none)
    train = view.config.train
    found = [gap] if "best_val_accuracy" in train.metrics else []
    return [*found, _classes(figures)] if train.task.name is None else found


def _section(
    key: str, title: str, chart: Chart | None, missing: str, lines: tuple[str, ...] = ()
) -> Section:
    return Section(key, title, lines, charts=_only(chart), missing=missing)


def _only(*charts: Chart | None) -> tuple[Chart, ...]:
    return tuple(chart for chart in charts if chart is not None)


def _verdict(view: StudyView) -> Section:
    confirmation = confirmation_of(view.folder, view.config, view.state)
    tuned = tuning_note(as_asked(view.config), view.state)
    about_tuning = [f"{tuned[0].upper()}{tuned[1:]}."] if tuned else []
    if confirmation is None:
        lines = [*verdict(view), *about_tuning]
        return Section("verdict", "Verdict", tuple(lines), tuple(view.missing()))
    found = confirm_report(confirmation)
    # The search's own verdict is about luck; a confirmation's is about fresh seeds.
    lines = [sentence for trial in found.trials for sentence in trial.sentences]
    lines += [f"The search: {verdict(view)[0]}", *about_tuning, *found.notes]
    return Section("verdict", "Verdict", tuple(lines), (*view.missing(), *found.missing))


def _race(view: StudyView) -> list[Section]:
    """What the race shows of each trial that it selected; no section without a race."""
    objective = view.config.objective[0]
    raced = [(t, race_sentence(t, objective)) for t in view.ranking if t.place is not None]
    lines = [f"{trial.trial_id}: {sentence}." for trial, sentence in raced if sentence]
    return [Section("race", "Race over seeds", tuple(lines))] if lines else []


def _classes(figures: PairedFigures | str) -> Section:
    title = "Classes and sharpness"
    if isinstance(figures, str):
        return Section("classes", title, missing=figures)
    chart = pictures.classes_chart(figures)
    return Section("classes", title, tuple(figures.sentences()), charts=_only(chart))


def _bands(view: StudyView) -> tuple[str, ...]:
    bands = [baseline_band(view, index) for index in range(len(view.config.objective))]
    lines = [band.sentence() + "." for band in bands if band is not None]
    told = indistinct(view.config, view.summary)
    return (*lines, *(f"{text[0].upper()}{text[1:]}." for text in told))


def _adaptivity(view: StudyView) -> Section:
    title = "How adaptive the noise was"
    records = [view.state.trials[t.trial_id] for t in view.complete]
    chart = pictures.adaptivity_chart(view)
    if records and not any(map(is_adaptive, records)):
        return Section("adaptivity", title, ("The noise is static: no signal decides about it.",))
    found = [adaptivity(record) for record in records if is_adaptive(record)][:_NAMED]
    static = ", ".join(each.key for each in found if each.is_static)
    note = (
        f"{static}: a signal was raised nearly all the time. Such noise is static after a warm-up, "
        "whatever its settings are called."
    )
    notes = (note,) if static else ()
    lines = tuple(each.sentence() for each in found)
    return Section(
        "adaptivity", title, lines, notes, _only(chart), "No adaptive trial is complete yet."
    )


def _importances(found: list[Importances]) -> Section:
    charts = _only(*(setting_pictures.importance_chart(each) for each in found))
    lines = (
        "fANOVA: the share of the objective's variance over the whole space that a setting "
        "explains. PED-ANOVA: how much it decides whether a trial is among the best. "
        f"They rest on n = {found[0].trials} complete trials.",
    )
    warnings = dict.fromkeys(each.warning for each in found if each.warning)
    notes = tuple(f"{text[0].upper()}{text[1:]}." for text in warnings)
    title = "Importance of the settings"
    return Section("importances", title, lines if charts else (), notes, charts, "")


def build_page(view: StudyView, parts: list[Section]) -> Page:
    """The page of a study's sections, its table of trials and its configuration."""
    known = view.state.study
    page = Page(f"Study {view.name}", known.asked if known else "The study has not begun.")
    for part in parts:
        page.section(part.key, part.title)
        page.note(*part.notes)
        page.text(*part.lines)
        for chart in part.charts:
            page.chart(chart)
        if not part.charts:
            page.text(part.missing, soft=True)
    table = trials_table(view)
    page.section("trials", "All trials")
    page.text("A click on a column's head sorts by it; again, the other way round.", soft=True)
    page.table(list(table.columns), table.rows, filtered=True)
    page.section("reproduce", "To reproduce it")
    page.text(*_reproduce(view))
    page.code("\n".join(f"{name} {found}" for name, found in versions().items()))
    page.code(json.dumps(_public_config(view), indent=2, ensure_ascii=False))
    return page


def _reproduce(view: StudyView) -> list[str]:
    lines = [
        "Store the configuration below as study.json and run: "
        "noise-study run --config study.json --name ANOTHER-NAME"
    ]
    if view.best:
        lines.append(
            f"The best trial alone: noise-analysis export {view.name} --top 1, then noise-train "
            "--config with the file it names."
        )
    lines.append("Versions on the machine that made this report:")
    return lines


def _public_config(view: StudyView) -> object:
    """The configuration as the ledger has it, from which secrets are removed."""
    known = view.state.study
    if known is not None:
        return dict(known.config)
    return view.config.model_dump(mode="json", exclude={"tracking_uri", "address"})


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_report(
    view: StudyView,
    folder: Path,
    *,
    files: bool = True,
    evaluated: bool = True,
    say: Say = lambda _: None,
) -> list[Path]:
    """Write ``report.html`` into ``folder``, with ``files`` its pictures into ``folder/report``.

    Args:
        evaluated: whether to evaluate the weights of the best trial and its baseline by class.
        say: told what takes time.

    Returns:
        The files, the report first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = paired_figures(view, folder / CACHE_FILE, say) if evaluated else NOT_EVALUATED
    parts = sections(view, figures)
    path = folder / "report.html"
    path.write_text(build_page(view, parts).html(), encoding="utf-8")
    charts = [chart for part in parts for chart in part.charts] if files else []
    return [path, *(saved for chart in charts for saved in save_chart(chart, folder / "report"))]
