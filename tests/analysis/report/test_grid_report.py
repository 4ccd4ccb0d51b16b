"""The report of a grid, from one that is whole to one that has not begun."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.charts.chart import Line, Points
from analysis.commands.analysis import main
from analysis.reading import GridView, load_grid
from analysis.report.grid_compared import grid_comparisons
from analysis.report.grid_report import grid_page, grid_sections
from study.campaigns.experiment_result import RunRow
from study.campaigns.experiment_tables import to_markdown
from study.records.ledger_view import LedgerState
from study.records.storage import Storage
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.trained_studies import write_grid, write_study
from trainables.errors import InputError


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grids")
    write_grid(folder, "rates")
    write_study(folder, "study", seeds=1)
    return folder


@pytest.fixture(scope="module")
def view(storage: Path) -> GridView:
    found = load_grid(Storage.of(storage), "rates")
    assert found is not None
    return found


def with_gains(view: GridView, gains: dict[str, float], *, noisy: bool = True) -> GridView:
    """The same grid whose runs of each noise are ahead by so much, and had noise."""

    def changed(run: RunRow) -> RunRow:
        if run.noise not in gains:
            return run
        differences = {"difference": gains[run.noise], "best_difference": 0.0}
        first = 4 if noisy else None
        return run.model_copy(update={"differences": differences, "first_injection_epoch": first})

    found = replace(view)
    result = view.result.model_copy(update={"runs": [changed(run) for run in view.result.runs]})
    object.__setattr__(found, "__dict__", {**found.__dict__, "result": result})
    return found


def test_a_name_is_a_grid_a_study_or_unknown(storage: Path) -> None:
    assert load_grid(Storage.of(storage), "study") is None
    with pytest.raises(InputError, match="no such study; did you mean 'rates'"):
        load_grid(Storage.of(storage), "rate")


def test_the_card_counts_what_is_ahead_and_confirms_nothing(view: GridView) -> None:
    changed = with_gains(view, {"gaussian": 0.02, "uniform": -0.01})
    (card,) = [part.card for part in grid_sections(changed) if part.card]
    assert (card.tone, card.word) == ("open", "not confirmed")
    assert card.said.startswith(
        "Not confirmed: noise is ahead of its baseline in 2 of 4 comparisons of final validation"
    )
    ahead, behind = card.lines
    assert ahead.startswith("Farthest ahead: BabyCNN SGD 0.9 lr 0.0")
    assert "gaussian, +2.00 points, one seed." in ahead
    assert "uniform, −1.00 points" in behind
    assert {"validation data", "4 comparisons, uncorrected", "one seed"} <= set(card.chips)
    assert not any("never began" in chip for chip in card.chips)


def test_where_noise_never_began_is_said_everywhere(view: GridView) -> None:
    """As in the grid itself, whose warm-up is as long as its signals are quiet."""
    idle = [each for each in grid_comparisons(view) if each.without_noise == (0,)]
    assert len(idle) == 4
    verdict, groups, *_ = grid_sections(view)
    assert verdict.card is not None
    assert "noise never began in 4 of 4 runs" in verdict.card.chips
    (table,) = groups.tables
    column = list(table.header).index("never began on")
    shown = {row[1]: row[column] for row in table.rows}
    assert shown == {"baseline": "–", "gaussian": "seed 0", "uniform": "seed 0"}
    assert to_markdown(view.result).count("1 idle") == 4
    named = "; ".join(
        f"{noise} lr {rate} on seed 0" for rate in (0.02, 0.05) for noise in ("gaussian", "uniform")
    )
    said = f"whose noise never began, which equal their baselines (4 in all): {named}."
    assert said in to_markdown(view.result)
    forest = verdict.charts[0]
    assert "noise never began" in str(forest.panels[0].marks)


def test_what_an_image_is_worth_where_a_difference_is_no_larger(view: GridView) -> None:
    one, more = with_gains(view, {"gaussian": 0.01}), with_gains(view, {"gaussian": 0.0101})
    # Also where another comparison is farther ahead, or farther behind.
    others = [with_gains(view, {"gaussian": far, "uniform": 0.01}) for far in (0.02, -0.02)]
    for changed, said in ((one, True), (more, False), *((each, True) for each in others)):
        result = changed.result.model_copy(update={"validation_images": 100})
        assert ("One of the 100 validation images is worth 0.0100." in to_markdown(result)) is said
        object.__setattr__(changed, "__dict__", {**changed.__dict__, "result": result})
        card = grid_sections(changed)[0].card
        assert card is not None
        chip = "one of the 100 validation images is worth 1.0 points"
        assert (chip in card.chips) is said
    assert "validation images is worth" not in to_markdown(view.result)


def test_the_forest_and_the_curves(view: GridView) -> None:
    changed = with_gains(view, {"gaussian": 0.02, "uniform": -0.01})
    charts = {chart.key: chart for part in grid_sections(changed) for chart in part.charts}
    (forest,) = charts["forest"].panels
    diamonds = [m for m in forest.marks if isinstance(m, Points) and m.symbol == "diamond"]
    assert [mark.x[0] for mark in diamonds] == pytest.approx([2.0, 2.0, -1.0, -1.0])
    assert {mark.name for mark in diamonds} == {
        f"{noise}, lr {rate}" for noise in ("gaussian", "uniform") for rate in ("0.02", "0.05")
    }
    panel = charts["curves"].panels[0]
    lines = {mark.name: mark for mark in panel.marks if isinstance(mark, Line)}
    assert lines.keys() == {"baseline", "gaussian", "uniform"}
    assert list(lines["baseline"].x) == list(range(1, 13))


def test_a_grid_that_has_not_begun(view: GridView) -> None:
    empty = replace(view, state=LedgerState(None, {}))
    text = grid_page(empty).html()
    assert "No answer yet: no run with noise is complete beside its baseline." in text
    assert "The grid is not finished (has not begun): 0 of 6 runs have ended." in text
    assert "noise-study experiment --config" in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@NEEDS_BROWSER
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_in_a_browser(
    width: int, dark: bool, storage: Path, browser: Browser, tmp_path: Path
) -> None:
    words = ["report", "rates", "--storage", str(storage), "--out", str(tmp_path)]
    assert main([*words, "--no-pictures"]) == 0
    browser.look(width=width, dark=dark)
    browser.open((tmp_path / "report.html").as_uri())
    found = browser.run(
        'const plots = [...document.querySelectorAll(".plot")];'
        'return [plots.length, plots.filter((p) => !p.querySelector(".main-svg")).length,'
        "document.documentElement.scrollWidth - document.documentElement.clientWidth,"
        'document.getElementById("card").innerText]'
    )
    assert found[:3] == [3, 0, 0]
    assert "Not confirmed: noise is ahead" in found[3]
    assert browser.requests() == [(tmp_path / "report.html").as_uri()]
    assert not browser.problems()


def test_its_pictures_are_files_too(storage: Path, tmp_path: Path) -> None:
    words = ["report", "rates", "--storage", str(storage), "--out", str(tmp_path)]
    assert main(words) == 0
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"forest.png", "forest.svg", "curves.png", "curves.svg"} <= names
