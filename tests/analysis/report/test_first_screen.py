"""What a person reads who reads the first screen alone, held against how the seeds were made."""

import re
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import pytest
from scipy import stats

from analysis.confirm.report import confirm_report
from analysis.reading import load_study
from analysis.report.confirmed_card import confirmed_card
from analysis.report.page import Page
from analysis.report.sections import build_page, sections
from study.campaigns.confirmation import confirmation_of
from study.campaigns.search_parts import asked
from study.records.folder import StudyFolder
from tests.analysis.report.test_card import ANSWERS, SEEDS
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.trained_studies import write_confirmation, write_study

SCREEN = """
const seen = [];
for (const each of document.querySelectorAll("#card .word, #card p, #card dl, #card li, #card pre"))
  if (each.getBoundingClientRect().bottom <= innerHeight) seen.push(each.innerText);
return seen.join("\\n");
"""

HELPED = {"better": "Noise helped", "worse": "Noise harmed", "open": "is not decided"}
"""A truth → the words that say whether noise helped."""

NEXT = {
    "better": "Next: train with it, or register its weights.",
    "worse": "Next: train without this noise here.",
    "open": "Next: more seeds",
}
MARGIN = 0.003


def truth(gains: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval in points, by the textbook."""
    n, mean = len(gains), fmean(gains)
    half = float(stats.t.ppf(0.975, n - 1)) * stdev(gains) / sqrt(n)
    return 100 * mean, 100 * (mean - half), 100 * (mean + half)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confirmed")
    for name in HELPED:
        write_study(folder, name)
        write_confirmation(StudyFolder.of(folder, name), "trial-0000", SEEDS, ANSWERS[name])
    return folder


def number(text: str) -> float:
    return float(text.replace("−", "-"))


@NEEDS_BROWSER
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", HELPED)
def test_whether_how_much_how_sure_and_what_next(
    name: str, width: int, storage: Path, browser: Browser, tmp_path: Path
) -> None:
    view = load_study(storage, name)
    found = confirmation_of(view.folder, view.config, view.state)
    assert found is not None
    # The runs of its controls are left out: the answer is that of a confirmation that is over.
    report = confirm_report(found).model_copy(update={"finished": True})
    page = Page(f"Study {name}", asked(view.config))
    page.section("verdict", "Verdict")
    page.card(confirmed_card(view, report, 500))
    file = tmp_path / "page.html"
    file.write_text(page.html(), encoding="utf-8")
    browser.look(width=width, height=900)
    browser.open(file.as_uri())
    seen = browser.run(SCREEN)
    mean, low, high = truth(list(ANSWERS[name]))
    decided = low > 0 or high < 0
    assert decided == (name != "open")
    # Whether, and by how much, how sure, on how much that rests, and what is next.
    assert HELPED[name] in seen
    shown = re.search(
        r"([+−][\d.]+) points of final test accuracy, 95 % interval (\S+) to (\S+), six", seen
    )
    assert shown is not None
    assert [number(each) for each in shown.groups()] == pytest.approx([mean, low, high], abs=0.051)
    assert (mean > 0) == shown[1].startswith("+")
    assert NEXT[name] in seen
    assert f"matters from\n{100 * MARGIN:.1f} points" in seen
    assert "untuned baseline" in seen
    assert not browser.problems()


@NEEDS_BROWSER
def test_the_whole_report_begins_with_it(storage: Path, browser: Browser, tmp_path: Path) -> None:
    for name, words in HELPED.items():
        view = load_study(storage, name)
        file = tmp_path / f"{name}.html"
        file.write_text(build_page(view, sections(view)).html(), encoding="utf-8")
        browser.look(width=1280, height=900)
        browser.open(file.as_uri())
        assert words in browser.run(SCREEN)
