"""The report: its figures against the ledger, and the page in a real browser."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from analysis.charts import Blocks, Line, Points
from analysis.command import main
from analysis.draw_static import save_figure
from analysis.forking_picture import forking_chart
from analysis.importance import importances
from analysis.page import Page
from analysis.pictures import curves_chart, gap_chart, history_chart, noise_chart
from analysis.reading import StudyView, load_study
from analysis.report import sections
from analysis.tables import Report, adaptivity, better_by, cost, verdict
from tests.analysis.studies import EPOCHS, TRIALS, Planned, write_study

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

PROBE = """
<script>
const out = {errors: window.problems.length, resources: performance.getEntriesByType("resource")
  .filter((entry) => !entry.name.startsWith("data:") && !entry.name.startsWith("blob:")).length};
const table = document.querySelector("table.data"), rows = () => [...table.tBodies[0].rows];
const column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent === "epochs");
const click = () => table.tHead.rows[0].cells[column].querySelector("button").click();
const cells = () => rows().map((row) => Number(row.cells[column].dataset.sort)).join(",");
click(); out.up = cells(); click(); out.down = cells();
const filter = document.querySelector("input[type=search]");
filter.value = "failed made"; filter.dispatchEvent(new Event("input"));
out.shown = rows().filter((row) => !row.hidden).map((row) => row.cells[0].textContent).join(",");
out.plots = document.querySelectorAll(".plot .main-svg").length > 0;
out.empty = [...document.querySelectorAll(".plot")].filter((p) => !p.querySelector("svg")).length;
out.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.documentElement.dataset.probe = JSON.stringify(out);
</script>
"""
LISTEN = """
<script>window.problems = [];
for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"]) {
  addEventListener(kind, (event) => problems.push(String(event.message ?? event.type)));
}
const say = console.error; console.error = (...words) => { problems.push(words.join(" ")); };
</script>
"""


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


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser_it_draws_sorts_and_filters(
    width: int, written: Path, tmp_path: Path, small: StudyView
) -> None:
    import html
    import json

    text = (written / "report.html").read_text(encoding="utf-8")
    assert text.count("<body>") == 1
    text = text.replace("<body>", f"<body>{LISTEN}")
    at = text.rindex("</body>")
    page = tmp_path / "page.html"
    page.write_text(text[:at] + PROBE + text[at:], encoding="utf-8")
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--window-size={width},900", "--virtual-time-budget=8000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    found = re.search(r'data-probe="([^"]*)"', shown)
    assert found, "the page's scripts did not run to their end"
    probe = json.loads(html.unescape(found[1]))
    lengths = sorted(len(record.history) for record in small.state.trials.values())
    assert probe["up"] == ",".join(map(str, lengths))
    assert probe["down"] == ",".join(map(str, reversed(lengths)))
    assert probe["shown"] == "trial-0004"
    assert probe["plots"]
    assert (probe["errors"], probe["resources"], probe["empty"]) == (0, 0, 0)
    assert probe["wide"] <= 0, "the page scrolls sideways"


def test_curves_show_the_noise_of_the_best_trial(small: StudyView) -> None:
    report = Report(small)
    assert report.best is not None
    chart = curves_chart(report)
    assert chart is not None
    lines = [mark for mark in chart.panels[0].marks if isinstance(mark, Line)]
    assert list(lines[0].y) == [row.val_accuracy for row in report.baseline]
    assert list(lines[1].y) == [row.val_accuracy for row in report.best.history]
    picture = noise_chart(report)
    assert picture is not None
    noisy = {
        epoch
        for mark in picture.panels[1].marks
        if isinstance(mark, Blocks) and mark.name.endswith(" noise")
        for _, start, stop in mark.spans
        for epoch in range(round(start + 0.5), round(stop + 0.5))
    }
    assert noisy == {row.epoch for row in report.best.history if row.injected}


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
    assert best.trial_id in lines[0]
    assert f"{abs(gain):.4f}" in lines[0]
    spent = cost(small)
    records = small.state.by_role("trial")
    assert spent.reported == sum(len(r.history) for r in records)
    assert spent.trained + spent.shared == spent.reported
    assert spent.stopped == EPOCHS - 10
    assert spent.seconds == 2 * 2.0 + len(TRIALS) * 1.0


def test_gap_has_the_front(small: StudyView) -> None:
    chart = gap_chart(small)
    assert chart is not None
    (front,) = [mark for mark in chart.panels[0].marks if isinstance(mark, Line)]
    assert list(front.x) == sorted(front.x)
    assert list(front.y) == sorted(y for y in front.y if y is not None)


def test_importances_find_the_setting_that_decides(tmp_path: Path) -> None:
    kinds = [("input", 3.0), ("input", 0.01), ("weight", 3.0), ("weight", 0.01), ("input", 1.0)]
    trials = tuple(
        Planned(
            {
                "noise/policy": "always",
                "noise/kind": kind,
                "noise/magnitude": magnitude,
                "noise/schedule": "constant",
                "noise/distribution": "gaussian",
            }
        )
        for kind, magnitude in kinds
    )
    write_study(tmp_path, "static", trials=trials, seeds=1, space="static_noise")
    found = importances(load_study(tmp_path, "static"))
    assert found.trials == len(kinds)
    assert "too few to trust" in found.warning
    assert found.order[0] in {"noise/magnitude", "noise/kind"}
    assert sum(found.fanova.values()) == pytest.approx(1.0)
    told = {part.key: part for part in sections(load_study(tmp_path, "static"))}
    assert "static" in told["adaptivity"].lines[0]


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
    assert "There is no verdict yet" in text


def test_text_is_escaped() -> None:
    page = Page("<b>", "</script>")
    page.table(["<i>"], [["<script>alert(1)</script>", 1.5, None, True]])
    text = page.html()
    assert "<script>alert(1)" not in text
    assert "<b>" not in text.split("<style>")[0]
    assert 'data-sort="1.5"' in text


def test_the_forking_picture(small: StudyView, tmp_path: Path) -> None:
    chart = forking_chart(small)
    save_figure(chart, tmp_path / "forking.png")
    assert (tmp_path / "forking.png").stat().st_size < 150_000
    blocks = [mark for mark in chart.panels[1].marks if isinstance(mark, Blocks)]
    taken = {row: round(stop + 0.5) for row, _, stop in blocks[1].spans}
    for key, epochs in taken.items():
        assert epochs == small.state.trials[key].first_injection_epoch
