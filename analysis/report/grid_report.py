"""The report of a grid: how far noise is ahead of each group's baseline, and all runs."""

import json
from collections.abc import Iterator, Sequence

from analysis.charts.chart import Chart, Line, Mark, Panel
from analysis.charts.looks import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from analysis.reading import GridView
from analysis.report.epoch_pictures import mean_curve
from analysis.report.forest import grid_forest
from analysis.report.grid_card import grid_card
from analysis.report.grid_compared import GridComparison, grid_comparisons, group_name
from analysis.report.page import Page
from analysis.report.section import Figure, Section, Table, only, pictured
from analysis.report.versions import versions
from study.campaigns.experiment_grid import grid_run, groups
from study.campaigns.experiment_result import FIGURES, RunRow, Spread, TableRow
from study.campaigns.experiment_tables import cost_line
from study.formats import DASH
from study.records.folder import public_values
from study.records.planned_run import BASELINE
from study.units import Unit
from trainables.epochs import epoch_number

_CURVES = 8
"""Groups whose curves are drawn: those with the largest differences."""

_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
_SHOWN = ("train_accuracy", "val_accuracy", "train_loss", "val_loss", "gap")
_FIRST_COLUMNS = 8


def grid_sections(view: GridView) -> list[Section]:
    compared = grid_comparisons(view)
    unit = view.unit("val_accuracy")
    none = "No run with noise is complete beside its baseline yet."
    return [
        Section(
            "verdict",
            "Verdict",
            card=grid_card(view, compared),
            notes=(*view.missing(), *view.result.notes),
            charts=only(grid_forest(compared, unit)),
            missing=none,
        ),
        Section("groups", "Groups", tables=(_table(view, compared),)),
        pictured("curves", "Learning curves", _curves(view, compared), "No run is complete yet."),
        Section("cost", "Cost", (cost_line(view.result),)),
    ]


def _table(view: GridView, compared: Sequence[GridComparison]) -> Table:
    intervals = {id(each.row): each for each in compared}
    unit = view.unit("val_accuracy")
    accuracy = [name.replace("_", " ") for name in _SHOWN]
    header = ["group", "noise", "n", f"difference ({unit.word})", "95 % interval", "never began on"]
    rows = []
    for row in view.result.table:
        found = intervals.get(id(row))
        idle = ", ".join(f"{seed}" for seed in found.without_noise) if found else ""
        rows.append(
            (
                group_name(view, row),
                row.noise,
                row.complete,
                _difference(unit, row.differences["difference"]),
                unit.bounds(found.interval) if found else DASH,
                f"seed {idle}" if idle else DASH,
                *(_figure(view.unit(name), row, name) for name in _SHOWN),
            )
        )
    note = (
        "Figures of the last epoch, means over n seeds ± standard deviation; differences are "
        "paired by seed. Where noise never began, a run equals its baseline. Gap: training − "
        "validation accuracy, in percent of the images."
    )
    return Table("", (*header, *accuracy), rows, note)


def _difference(unit: Unit, found: Spread) -> Figure:
    spread = "" if found.sd is None else f" ± {unit.bare(found.sd, '')}"
    return Figure(f"{unit.bare(found.mean)}{spread}", found.mean)


def _figure(unit: Unit, row: TableRow, name: str) -> Figure:
    found = row.figures[name]
    spread = "" if found.sd is None else f" ± {unit.bare(found.sd, '')}"
    return Figure(f"{unit.value(found.mean).removesuffix(' %')}{spread}", found.mean)


def _curves(view: GridView, compared: Sequence[GridComparison]) -> Chart | None:
    """Validation accuracy by epoch, the mean over the seeds, a panel a group."""
    largest: dict[str, float] = {}
    for each in compared:
        name = group_name(view, each.row)
        largest[name] = max(largest.get(name, 0.0), abs(each.mean or 0.0))
    unit = view.unit("val_accuracy")
    panels = {}
    for group, row in zip(groups(view.config), _baseline_rows(view), strict=True):
        marks: list[Mark] = []
        looks = zip((BASELINE, *view.config.distributions), (GREY, *_COLOURS), strict=False)
        for noise, colour in looks:
            keys = [grid_run(group, noise, seed).key for seed in view.config.seeds]
            records = [view.state.trials[key] for key in keys if key in view.state.trials]
            histories = [record.history for record in records if record.state == "complete"]
            if histories:
                drawn = mean_curve(histories, "val_accuracy", unit)
                dash = "dash" if noise == BASELINE else "solid"
                marks.append(Line(*drawn, noise, colour, dash))  # type: ignore[arg-type]
        if marks:
            name = group_name(view, row)
            axis = unit.axis("validation accuracy")
            panels[name] = Panel(
                tuple(marks), x=f"epoch: {name}", x_whole=True, y=axis, y_limits=unit.limits()
            )
    if not panels:
        return None
    shown = sorted(panels, key=lambda name: -largest.get(name, 0.0))[:_CURVES]
    which = "" if len(shown) == len(panels) else ", the groups with the largest differences"
    return Chart(
        "curves",
        f"Learning curves of {len(shown)} of {len(panels)} groups",
        tuple(panels[name] for name in shown),
        columns=2,
        caption=f"The mean over the complete runs of each group's seeds{which}.",
    )


def _baseline_rows(view: GridView) -> list[TableRow]:
    return [row for row in view.result.table if row.noise == BASELINE]


def _runs(view: GridView) -> tuple[list[str], list[Sequence[object]]]:
    unit = view.unit("val_accuracy")
    header = ["run", f"difference ({unit.word})", "noise", "seed", "state", "epochs"]
    header += ["noise from", "reason", *(name.replace("_", " ") for name in FIGURES)]
    return header, [_run(view, run, unit) for run in view.result.runs]


def _run(view: GridView, run: RunRow, unit: Unit) -> Sequence[object]:
    difference, first = run.differences["difference"], run.first_injection_epoch
    return (
        run.key,
        None if difference is None else Figure(unit.bare(difference), difference),
        run.noise,
        run.seed,
        run.state,
        run.epochs,
        "never" if run.never_began else None if first is None else epoch_number(first),
        run.reason or "",
        *(
            Figure(view.unit(name).value(value).removesuffix(" %"), value)
            for name, value in run.figures.items()
        ),
    )


def grid_page(view: GridView) -> Page:
    known = view.state.study
    page = Page(f"Grid {view.name}", known.asked if known else "The grid has not begun.")
    for part in grid_sections(view):
        page.add(part)
    page.section("trials", "All runs")
    page.text("A click on a column's head sorts by it; again, the other way round.", soft=True)
    header, rows = _runs(view)
    page.table(header, rows, filtered=True, first=_FIRST_COLUMNS)
    page.section("reproduce", "To reproduce it")
    for line in _reproduce():
        page.text(line)
    page.code("\n".join(f"{name} {found}" for name, found in versions().items()))
    values = public_values(view.config)
    page.code(json.dumps(values, indent=2, ensure_ascii=False), "experiment_config.json")
    return page


def _reproduce() -> Iterator[str]:
    yield (
        "Store the configuration below as grid.json and run: "
        "noise-study experiment --config grid.json --name ANOTHER-NAME"
    )
    yield "Versions on the machine that made this report:"
