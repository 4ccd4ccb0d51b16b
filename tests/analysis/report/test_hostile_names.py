"""Whatever people may write into a study, the report shows it and keeps all its charts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.charts.draw_static import Drawing
from analysis.reading import StudyView, load_study
from analysis.report.evaluation import PairedFigures, RunFigures
from analysis.report.sections import build_page, sections
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.trained_studies import TRIALS, Planned, write_study

HOSTILE = (
    "<!--<script>",
    "</script><script>window.hurt=1</script>",
    "<img src=x onerror=window.hurt=1>",
    "$\\frac{1}{",
    "_under\\",
    "a\u2028b'\"`&lt;",
    "<b>" + "long " * 40,
)

LOOK = """
const plots = [...document.querySelectorAll(".plot")];
return {
  empty: plots.filter((plot) => !plot.querySelector(".main-svg")).length,
  plots: plots.length,
  labels: [...document.querySelectorAll("#figure-classes-0 .ytick text")].map((t) => t.textContent),
  hurt: window.hurt ?? null,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  text: document.body.textContent,
};
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def figures() -> PairedFigures:
    gains = [0.01 * (index + 1) for index in range(len(HOSTILE))]
    before = RunFigures(tuple(0.5 for _ in HOSTILE), 0.1)
    after = RunFigures(tuple(0.5 + gain for gain in gains), 0.1)
    return PairedFigures("trial-0001", "val", (0,), HOSTILE, ((before, after),))


def noted(view: StudyView) -> StudyView:
    """With notes of these words, and with a setting of which they are the choices."""
    assert view.state.study is not None
    lines = [f"{about}: {text}" for about in ("a note", "signal x") for text in HOSTILE]
    tags = {f"note.{number}": line for number, line in enumerate(lines, start=1)}
    chosen = zip(view.state.trials.items(), HOSTILE, strict=False)
    trials = {
        key: replace(record, overrides={**record.overrides, "noise/flavour": text})
        for (key, record), text in chosen
        if record.role == "trial"
    }
    study = replace(view.state.study, tags=tags)
    state = replace(view.state, study=study, trials={**view.state.trials, **trials})
    return replace(view, state=state)


@NEEDS_BROWSER
@pytest.mark.parametrize("width", [1280, 400])
def test_all_charts_stay(width: int, tmp_path: Path, browser: Browser) -> None:
    failed = [
        Planned(TRIALS[4].overrides, "failed", 5, f"made to fail: {text}") for text in HOSTILE
    ]
    write_study(tmp_path, "hostile", trials=(*TRIALS[:2], *failed))
    view = noted(load_study(tmp_path, "hostile"))
    parts = sections(view, figures())
    page = tmp_path / "report.html"
    page.write_text(build_page(view, parts).html(), encoding="utf-8")
    browser.look(width=width)
    browser.open(page.as_uri())
    found = browser.run(LOOK)
    assert found["plots"] == sum(
        1 if chart.columns == 1 else len(chart.panels) for part in parts for chart in part.charts
    )
    assert found["empty"] == 0
    assert found["hurt"] is None
    assert found["wide"] <= 0
    assert len(found["labels"]) == len(HOSTILE)
    assert found["labels"][0] == HOSTILE[0]
    for text in HOSTILE:
        for written in (f"made to fail: {text}", f"a note: {text}", f"signal x: {text}"):
            assert written in found["text"]
    assert browser.requests() == [page.as_uri()]
    assert not browser.problems()
    charts = [chart for part in parts for chart in part.charts]
    with Drawing(tmp_path / "pictures") as drawing:
        drawing.begin(charts)
        assert len(drawing.files()) == 2 * len(charts)
        assert all(path.stat().st_size for path in drawing.files())
