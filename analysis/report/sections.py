"""The report of a study: one self-contained HTML file, and its pictures as PNG and SVG.

Every figure is computed from the ledger first, then shown. A study that is not finished gets the
same report of what there is, and is told what is missing.
"""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from analysis.aside import aside, can_be_copied
from analysis.charts.draw_static import Drawing
from analysis.reading import StudyView
from analysis.report import setting_pictures
from analysis.report import trial_pictures as pictures
from analysis.report.answer import answer
from analysis.report.evaluation import CACHE_FILE, PairedFigures, Say, paired_figures
from analysis.report.figures import adaptivity, baseline_band, cost, is_adaptive
from analysis.report.importance import Importances, importances
from analysis.report.page import Page
from analysis.report.section import Section, Table, only, pictured
from analysis.report.trial_rows import FIRST_COLUMNS, trial_rows
from analysis.report.versions import versions
from study.records.indistinct import first_word, indistinct

NOT_EVALUATED = "Accuracy by class and sharpness were not asked for."

_NAMED = 5
"""Trials whose adaptivity is told in words."""


def sections(view: StudyView, figures: PairedFigures | str = NOT_EVALUATED) -> list[Section]:
    """All sections; ``figures``: accuracy by class and sharpness, or why there are none."""
    return [answer(view), *_after_the_answer(view, figures)]


def _after_the_answer(view: StudyView, figures: PairedFigures | str) -> list[Section]:
    found = [importances(view, index) for index in range(len(view.config.objective))]
    none = "No trial is complete yet."
    return [
        _ranking(view, none),
        pictured(
            "curves", "Learning curves", pictures.curves_chart(view), "No epoch is recorded yet."
        ),
        _adaptivity(view),
        pictured(
            "noise",
            "Noise and signals",
            pictures.noise_chart(view),
            "No complete trial has injected noise yet.",
        ),
        pictured(
            "history",
            "Optimisation history",
            pictures.history_chart(view),
            "No trial has an epoch yet.",
        ),
        _importances(found),
        pictured(
            "settings",
            "Settings",
            setting_pictures.slices_chart(view, found[0].order),
            "There is nothing to compare: no searched setting with complete trials.",
        ),
        *_of_classifiers(view, figures, none),
        Section("cost", "Cost", tables=(_cost(view),)),
    ]


def _of_classifiers(view: StudyView, figures: PairedFigures | str, none: str) -> list[Section]:
    """What only a training has that has an accuracy, or classes."""
    gap = pictured("gap", "Accuracy and generalisation", pictures.gap_chart(view), none)
    train = view.config.train
    found = [gap] if "best_val_accuracy" in train.metrics else []
    return [*found, _classes(figures)] if train.task.name is None else found


def _classes(figures: PairedFigures | str) -> Section:
    title = "Classes and sharpness"
    if isinstance(figures, str):
        return Section("classes", title, missing=figures)
    chart = pictures.classes_chart(figures)
    return Section("classes", title, tuple(figures.sentences()), charts=only(chart))


def _ranking(view: StudyView, none: str) -> Section:
    bands = [baseline_band(view, index) for index in range(len(view.config.objective))]
    lines = [f"{text[0].upper()}{text[1:]}." for text in _indistinct(view)]
    rows = [band.row(view.unit(band.objective)) for band in bands if band is not None]
    header = ("baseline", "mean", "standard deviation", "lowest", "highest", "seeds")
    tables = (Table("The baseline over its seeds", header, rows),) if rows else ()
    charts = only(pictures.ranking_chart(view))
    return Section("ranking", "Ranking", tuple(lines), charts=charts, tables=tables, missing=none)


def _indistinct(view: StudyView) -> list[str]:
    return indistinct(view.config, view.summary, view.unit(view.config.objective[0]))


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
    header = ("trial", "listening epochs", "with a signal", "share", "noisy epochs", "it was")
    table = Table(
        "",
        header,
        [each.row() for each in found],
        "Listening: past the warm-up and outside cooldowns.",
    )
    return Section(
        "adaptivity",
        title,
        notes=(note,) if static else (),
        charts=only(chart),
        tables=(table,) if found else (),
        missing="" if found else "No adaptive trial is complete yet.",
    )


def _importances(found: list[Importances]) -> Section:
    charts = only(*(setting_pictures.importance_chart(each) for each in found))
    lines = (
        "fANOVA: the share of the objective's variance over the whole space that a setting "
        "explains. PED-ANOVA: how much it decides whether a trial is among the best. "
        f"They rest on n = {found[0].trials} complete trials.",
    )
    warnings = dict.fromkeys(each.warning for each in found if each.warning)
    notes = tuple(f"{text[0].upper()}{text[1:]}." for text in warnings)
    title = "Importance of the settings"
    return Section("importances", title, lines if charts else (), notes=notes, charts=charts)


def _cost(view: StudyView) -> Table:
    return Table("", ("what", "epochs", "remark"), cost(view).rows())


def build_page(view: StudyView, parts: list[Section]) -> Page:
    """The page of a study's sections, its table of trials and its configuration."""
    known = view.state.study
    page = Page(f"Study {view.name}", known.asked if known else "The study has not begun.")
    for part in parts:
        page.add(part)
    page.section("trials", "All trials")
    page.text("A click on a column's head sorts by it; again, the other way round.", soft=True)
    header, rows = trial_rows(view)
    page.table(header, rows, filtered=True, first=FIRST_COLUMNS)
    page.section("reproduce", "To reproduce it")
    page.text(*_reproduce(view))
    page.code("\n".join(f"{name} {found}" for name, found in versions().items()))
    page.code(json.dumps(_public_config(view), indent=2, ensure_ascii=False), "study.json")
    return page


def _reproduce(view: StudyView) -> list[str]:
    lines = [
        "Store the configuration below as study.json and run: "
        "noise-study run --config study.json --name ANOTHER-NAME"
    ]
    if view.best:
        first = first_word(view.config, view.summary.trials)
        lines.append(
            f"The {first} trial alone: noise-analysis export {view.name} --top 1, then noise-train "
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


def write_report(
    view: StudyView,
    folder: Path,
    *,
    files: bool = True,
    evaluated: bool = True,
    say: Say = lambda _: None,
    written: Callable[[Path], None] = lambda _: None,
) -> list[Path]:
    """Write ``report.html`` into ``folder``, with ``files`` its pictures into ``folder/report``.

    Pictures are drawn, and weights evaluated, in other processes, while this one goes on.

    Args:
        evaluated: whether to evaluate the weights of the best trial and its baseline by class.
        say: told what takes time.
        written: called with the report when that is whole, while pictures are still drawn.

    Returns:
        The files, the report first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    evaluating = (
        aside(
            lambda said: paired_figures(view, folder / CACHE_FILE, said),
            say,
            # A copy of a process in which torch or Ray may have threads, or a GPU, can't use them.
            copied=can_be_copied() and not {"torch", "ray"} & sys.modules.keys(),
        )
        if evaluated
        else nullcontext(lambda: NOT_EVALUATED)
    )
    with evaluating as figures, Drawing(folder / "report") as drawing:

        def draw(*drawn: Section) -> None:
            if files:
                drawing.begin([chart for part in drawn for chart in part.charts])

        parts = _after_the_answer(view, NOT_EVALUATED)
        draw(*parts)
        parts = [answer(view), *parts]
        draw(parts[0])
        if evaluated:
            classes = _classes(figures())
            parts = [classes if part.key == classes.key else part for part in parts]
            draw(classes)
        path = folder / "report.html"
        path.write_text(build_page(view, parts).html(), encoding="utf-8")
        written(path)
        return [path, *drawing.files()]
