"""The report: its figures against the ledger, and the page in a real browser."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from analysis.charts.chart import Blocks, Line, Points, log_ticks
from analysis.charts.draw_static import save_figure
from analysis.commands.analysis import main
from analysis.reading import StudyView, load_study
from analysis.report.answer import answer
from analysis.report.figures import adaptivity, better_by, cost, verdict
from analysis.report.importance import importances
from analysis.report.page import Page
from analysis.report.sections import sections
from analysis.report.setting_pictures import slices_chart
from analysis.report.trial_pictures import curves_chart, gap_chart, history_chart, noise_chart
from examples.forking_picture import forking_chart
from search_spaces.registry import get_space
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.trained_studies import BASE, EPOCHS, TRIALS, Planned, write_study
from trainables.config import apply_overrides

PROBE = """
const table = [...document.querySelectorAll("table.data")].at(-1);
const rows = () => [...table.tBodies[0].rows];
const column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent === "epochs");
const click = () => table.tHead.rows[0].cells[column].querySelector("button").click();
const cells = () => rows().map((row) => Number(row.cells[column].dataset.sort)).join(",");
const out = {};
click(); out.up = cells(); click(); out.down = cells();
const filter = document.querySelector("input[type=search]");
filter.value = "failed made"; filter.dispatchEvent(new Event("input"));
out.shown = rows().filter((row) => !row.hidden).map((row) => row.cells[0].textContent).join(",");
filter.value = ""; filter.dispatchEvent(new Event("input"));
const seen = () => [...table.tHead.rows[0].cells].filter((c) => c.offsetWidth)
  .map((c) => c.textContent);
out.first = seen(); document.querySelector("input[type=checkbox]").click(); out.columns = seen();
document.querySelector("input[type=checkbox]").click();
out.all = rows().filter((row) => !row.hidden).length;
const plots = [...document.querySelectorAll(".plot")];
out.plots = plots.length;
out.empty = plots.filter((plot) => !plot.querySelector(".main-svg")).length;
out.low = plots.filter((plot) => plot.getBoundingClientRect().height < 100).length;
out.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
out.page = getComputedStyle(document.body).backgroundColor;
out.ink = getComputedStyle(document.body).color;
out.words = getComputedStyle(document.querySelector(".plot .xtick text")).fill;
return out;
"""
"""Sorts, filters, and looks for what does not fit."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def written(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert main(["report", "small", "--storage", str(storage), "--out", str(folder)]) == 0
    return folder


def test_the_pictures_are_files_too(written: Path, small: StudyView) -> None:
    keys = {chart.key for part in sections(small) for chart in part.charts}
    assert {"ranking", "curves", "noise", "history", "accuracy_gap"} <= keys
    for key in keys:
        assert Image.open(written / "report" / f"{key}.png").width > 600
        assert "<svg" in (written / "report" / f"{key}.svg").read_text(encoding="utf-8")


def test_the_page_names_no_other_host_and_holds_what_it_must(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", text)
    for heading in ("Verdict", "Ranking", "Cost", "All trials", "To reproduce it"):
        assert f">{heading}</h2>" in text
    assert text.count("trial-0003") > 1


@NEEDS_BROWSER
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_it_draws_sorts_and_filters(
    width: int, dark: bool, written: Path, browser: Browser, small: StudyView
) -> None:
    browser.look(width=width, dark=dark)
    browser.open((written / "report.html").as_uri())
    probe = browser.run(PROBE)
    lengths = sorted(len(record.history) for record in small.state.trials.values())
    assert probe["up"] == ",".join(map(str, lengths))
    assert probe["down"] == ",".join(map(str, reversed(lengths)))
    assert probe["shown"] == "trial-0004"
    assert probe["all"] == len(lengths)
    assert probe["first"][:5] == ["trial", "difference (points)", "n", "state", "epochs"]
    assert len(probe["first"]) < 10
    assert len(probe["columns"]) > 30
    assert probe["plots"] == 9
    assert (probe["empty"], probe["low"]) == (0, 0)
    assert probe["wide"] <= 0, "the page scrolls sideways"
    assert is_dark(probe["page"]) == dark
    assert is_dark(probe["ink"]) == is_dark(probe["words"]) != dark
    assert browser.requests() == [(written / "report.html").as_uri()]
    assert not browser.problems()


PAPER = """
dispatchEvent(new Event("beforeprint"));
const out = {}, inside = (plot) => plot.getBoundingClientRect();
const plots = [...document.querySelectorAll(".plot")];
out.plots = plots.length;
out.clipped = plots.filter((plot) => {
  const drawn = plot.querySelector(".main-svg");
  return !drawn || drawn.getBoundingClientRect().right > inside(plot).right + 1
    || inside(plot).right > innerWidth + 1;
}).length;
const card = document.getElementById("card").getBoundingClientRect();
out.card = card.height > 100 && card.right <= innerWidth;
out.nav = getComputedStyle(document.querySelector("nav")).display;
dispatchEvent(new Event("afterprint"));
return out;
"""


@NEEDS_BROWSER
def test_on_paper_no_picture_is_cut(written: Path, browser: Browser) -> None:
    # As wide as A4 between its margins.
    browser.look(width=718)
    browser.command("Emulation.setEmulatedMedia", media="print")
    browser.open((written / "report.html").as_uri())
    found = browser.run(PAPER)
    browser.command("Emulation.setEmulatedMedia", media="")
    assert found == {"plots": 9, "clipped": 0, "card": True, "nav": "none"}


def is_dark(colour: str) -> bool:
    """Whether a colour, as ``rgb(20, 24, 29)``, is nearer to black than to white."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) < 3 * 128


def test_curves_show_the_noise_of_the_best_trial(small: StudyView) -> None:
    best, baseline = small.best_noisy, small.baselines[small.config.seeds[0]]
    assert best is not None
    chart = curves_chart(small)
    assert chart is not None
    lines = [mark for mark in chart.panels[0].marks if isinstance(mark, Line)]
    assert list(lines[0].y) == [100 * row.val_accuracy for row in baseline.history]
    assert list(lines[1].y) == [100 * row.val_accuracy for row in best.history]
    picture = noise_chart(small)
    assert picture is not None
    noisy = {
        epoch
        for mark in picture.panels[1].marks
        if isinstance(mark, Blocks) and mark.name.endswith(" noise")
        for _, start, stop in mark.spans
        for epoch in range(round(start + 0.5), round(stop + 0.5))
    }
    assert noisy == {row.epoch + 1 for row in best.history if row.injected}


def test_history_tells_apart_how_trials_ended(small: StudyView) -> None:
    chart = history_chart(small)
    assert chart is not None
    points = [mark for mark in chart.panels[0].marks if isinstance(mark, Points)]
    by_name = {mark.name: set(mark.labels) for mark in points}
    assert by_name["never injected"] == {"trial-0002"}
    assert by_name["stopped early"] == {"trial-0003"}
    assert by_name["failed"] == {"trial-0004"}


def test_adaptivity_counts_listening_epochs(small: StudyView) -> None:
    record = small.state.trials["trial-0001"]
    found = adaptivity(record)
    phases = [row.noise_phase for row in record.history]
    assert found.listening == EPOCHS - phases.count("warm_up") - phases.count("cooldown")
    assert found.raised == sum(bool(row.signals) for row in record.history)
    assert found.noisy == phases.count("injecting")


def test_verdict_and_cost_come_from_the_ledger(small: StudyView) -> None:
    best = small.best
    assert best is not None
    gain = better_by(small, best)
    assert gain is not None
    lines = verdict(small)
    assert ("No trial beats the baseline" in lines[0]) == (gain <= 0)
    assert (f"{best.trial_id} is ahead by {gain:.4f}".capitalize() in lines[0]) == (gain > 0)
    spent = cost(small)
    records = small.state.by_role("trial")
    assert spent.reported == sum(len(r.history) for r in records)
    assert spent.trained + spent.shared == spent.reported
    assert spent.stopped == EPOCHS - 10
    assert spent.seconds == 2 * 2.0 + len(TRIALS) * 1.0


def test_averaged_weights_are_told(small: StudyView, tmp_path: Path) -> None:
    train = apply_overrides(BASE, {"optimizer/ema": 0.99})
    write_study(tmp_path, "a", trials=TRIALS[:1], seeds=1, train=train.model_dump(mode="json"))
    said = "tested and kept are a moving average of those of the steps, of decay 0.99 (--ema)."
    assert any(line.endswith(said) for line in answer(load_study(tmp_path, "a")).details)
    assert not any("moving average" in line for line in answer(small).details)


def test_gap_has_the_front(small: StudyView) -> None:
    chart = gap_chart(small)
    assert chart is not None
    (front,) = [mark for mark in chart.panels[0].marks if isinstance(mark, Line)]
    assert list(front.x) == sorted(front.x)
    assert list(front.y) == sorted(y for y in front.y if y is not None)


STRENGTHS = (3.0, 1.0, 0.3, 0.01)
STATIC = tuple(
    Planned(
        {
            "noise/policy": "always",
            "noise/kind": kind,
            "noise/magnitude": magnitude,
            "noise/schedule": "constant",
            "noise/distribution": "gaussian",
        }
    )
    for kind in ("input", "weight")
    for magnitude in STRENGTHS
)
"""Eight trials; their best losses differ."""

LOSS = {"space": "static_noise", "objective": ["best_val_loss"]}


def test_importances_find_the_setting_that_decides(tmp_path: Path) -> None:
    write_study(tmp_path, "static", trials=STATIC, seeds=1, **LOSS)
    found = importances(load_study(tmp_path, "static"))
    assert found.trials == len(STATIC)
    assert "too few to trust" in found.warning
    assert found.order[0] in {"noise/magnitude", "noise/kind"}
    assert sum(found.fanova.values()) == pytest.approx(1.0)
    told = {part.key: part for part in sections(load_study(tmp_path, "static"))}
    assert "static" in told["adaptivity"].lines[0]
    assert told["importances"].charts


def test_too_few_different_values_have_no_importances(tmp_path: Path) -> None:
    """Nine trials, two of them alike in the value of seven: one different value is missing."""
    write_study(tmp_path, "alike", trials=(*STATIC[:7], *STATIC[:2]), seeds=1, **LOSS)
    view = load_study(tmp_path, "alike")
    found = importances(view)
    assert (found.trials, found.order) == (9, [])
    told = {part.key: part for part in sections(view)}["importances"]
    assert (told.charts, told.lines) == ((), ())
    (note,) = told.notes
    assert "the 9 complete trials have 7 different values of best val loss, and 8 are" in note


def test_who_shares_the_best_value_is_told(tmp_path: Path) -> None:
    write_study(tmp_path, "tied", trials=STATIC[3:4] * 3, seeds=1, **LOSS)
    view = load_study(tmp_path, "tied")
    shared = "Trial-0000, trial-0001 and 1 more share the best value"
    told = {part.key: part for part in sections(view)}
    assert any(line.startswith(shared) for line in told["ranking"].lines)


def test_importances_are_of_the_settings_that_all_trials_have(tmp_path: Path) -> None:
    space = get_space("noise")
    opening = space.opening(space.distributions(BASE))
    points = [point for point in opening if "noise/magnitude_min@weight" not in point][:8]
    write_study(
        tmp_path,
        "noise",
        trials=tuple(Planned(space.overrides(point)) for point in points),
        seeds=1,
        space="noise",
        objective=["best_val_loss"],
    )
    view = load_study(tmp_path, "noise")
    found = importances(view)
    assert found.trials == len(points)
    assert set(found.fanova) == {"noise/policy", "noise/schedule"}
    chart = slices_chart(view, found.order)
    assert chart is not None
    places = {panel.y if panel.y_ticks else panel.x: panel.marks[0] for panel in chart.panels}
    assert next(iter(places)) == "policy"
    for name, count in (("magnitude@step", 2), ("magnitude_min@step", 2), ("kind", 6)):
        marks = places[name]
        assert isinstance(marks, Points)
        assert len(marks.x) == count
    kinds = next(panel for panel in chart.panels if panel.y == "kind")
    assert kinds.y_range == (0.5 - len(kinds.y_ticks), 0.5), "a choice has no row"
    epochs = next(panel for panel in chart.panels if panel.x == "warmup_epochs")
    assert epochs.counts
    assert "magnitude_extra" not in places  # fixed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0061, 0.63), ("0.01", "0.03", "0.1", "0.3")),
        ((0.03, 1.2), ("0.03", "0.1", "0.3", "1")),
        ((0.2, 0.9), ("0.2", "0.3", "0.5", "1")),
        ((0.4,), ("0.4",)),
        ((1e-5, 10.0), ("1e-05", "0.001", "0.1", "10")),
        ((), ()),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_few_and_written_out(
    values: tuple[float, ...], expected: tuple[str, ...]
) -> None:
    ticks = log_ticks(values)
    assert len(ticks) <= 4
    assert tuple(text for _, text in ticks) == expected


@pytest.mark.parametrize(("seeds", "trials"), [(0, ()), (1, ()), (2, TRIALS[3:5])])
def test_unfinished_studies_are_reported(
    seeds: int,
    trials: tuple[Planned, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_study(tmp_path, "begun", trials=trials, seeds=seeds, over=False)
    command = ["report", "begun", "--storage", str(tmp_path)]
    assert main([*command, *([] if trials else ["--no-pictures"])]) == 0
    assert "No trial is complete yet" in capsys.readouterr().err
    text = (tmp_path / "begun" / "report.html").read_text(encoding="utf-8")
    assert "The study is not finished" in text
    assert "No answer yet: no trial is complete." in text


def test_text_is_escaped() -> None:
    page = Page("<b>", "</script>")
    page.table(["<i>", "", "", ""], [["<script>alert(1)</script>", 1.5, None, True]])
    text = page.html()
    assert "<script>alert(1)" not in text
    assert "<b>" not in text.split("<style>")[0]
    assert 'data-sort="1.5"' in text


def test_the_forking_picture(small: StudyView, tmp_path: Path) -> None:
    chart = forking_chart(small)
    save_figure(chart, tmp_path / "forking.png")
    assert (tmp_path / "forking.png").stat().st_size < 150_000
    blocks = [mark for mark in chart.panels[1].marks if isinstance(mark, Blocks)]
    taken = {row: round(stop - 0.5) for row, _, stop in blocks[1].spans}
    for key, epochs in taken.items():
        assert epochs == small.state.trials[key].first_injection_epoch


def test_an_unknown_name_is_refused_before_anything_heavy_is_imported(storage: Path) -> None:
    code = (
        "import sys; from analysis.commands.analysis import main; "
        f"code = main(['report', 'smal', '--storage', {str(storage)!r}]); "
        "heavy = {'torch', 'scipy', 'optuna', 'matplotlib', 'plotly', 'sklearn', 'ray', 'mlflow'}; "
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n"
    assert "did you mean 'small'" in done.stderr
