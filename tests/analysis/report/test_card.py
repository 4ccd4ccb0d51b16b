"""The verdict card: what it says of confirmations and searches, held against how they were made."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from analysis.confirm.model import SeedsNeeded
from analysis.confirm.report import confirm_report
from analysis.reading import StudyView, load_study
from analysis.report.card import Card, seeds_text
from analysis.report.confirmed_card import confirmed_card
from analysis.report.sections import build_page, sections
from study.campaigns.confirm_register import RegisterStanding
from study.campaigns.confirmation import confirmation_of
from study.records.chance import NeverLearned
from study.records.folder import StudyFolder
from study.statistics.answers import Ground
from study.statistics.estimate import Interval
from study.statistics.pairing_gain import times
from study.statistics.seeds_range import SeedsRange
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.trained_studies import TRIALS, write_confirmation, write_study

SEEDS = (2, 3, 4, 5, 6, 7)
HELPED = (0.018, 0.02, 0.012, 0.025, 0.016, 0.02)
ANSWERS: dict[str, Sequence[float]] = {
    "better": HELPED,
    "worse": [-gain for gain in HELPED],
    "open": (0.018, 0.02, 0.012, -0.015, 0.016, 0.0),
    "equivalent": (0.0005, -0.0005, 0.0, 0.001, -0.001, 0.0),
}
"""A tone → the gains on the fresh seeds that are to have it."""

HELD = ("better", "equivalent")
"""Tones that are about runs that do not collapse."""

SAID = {
    "better": "Noise helped: +1.85 points of final test accuracy, 95 % interval +1.39 to +2.31, "
    "six seeds.",
    "worse": "Noise harmed: −1.85 points of final test accuracy, 95 % interval −2.31 to −1.39, "
    "six seeds.",
    "open": "Whether noise helps is not decided: +0.85 points of final test accuracy, "
    "95 % interval −0.57 to +2.27, six seeds.",
    "equivalent": "Noise made no difference worth having: 0 points of final test accuracy, "
    "95 % interval −0.07 to +0.07, six seeds; within ±0.30 points.",
}


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyView]:
    """A study of each answer, with a confirmation whose controls are still to be trained."""
    storage = tmp_path_factory.mktemp("confirmed")
    for name, gains in ANSWERS.items():
        write_study(storage, name)
        write_confirmation(StudyFolder.of(storage, name), "trial-0000", SEEDS, gains)
    return {name: load_study(storage, name) for name in ANSWERS}


def card_of(view: StudyView) -> Card:
    (card,) = [part.card for part in sections(view) if part.card is not None]
    return card


@pytest.mark.parametrize("name", ANSWERS)
def test_a_confirmation_is_one_sentence(name: str, confirmed: dict[str, StudyView]) -> None:
    card = card_of(confirmed[name])
    assert card.tone == name
    assert card.said == SAID[name]
    assert {
        "untuned baseline",
        "not finished",
        "not in the count of confirmations",
    } <= set(card.chips)
    assert card.commands[0].startswith(f"noise-study confirm {name} --storage ")


def test_what_limits_the_answer_is_on_the_card(confirmed: dict[str, StudyView]) -> None:
    view = confirmed["better"]
    confirmation = confirmation_of(view.folder, view.config, view.state)
    assert confirmation is not None
    report = confirm_report(confirmation)
    trial = report.trials[0].model_copy(
        update={
            "seeds_without_noise": (3,),
            "collapsed": (4,),
            "baseline_collapsed": (2, 5),
            "own_clock": (2, 3, 4),
            "mean_difference": 0.001,
        }
    )
    place = RegisterStanding(confirmations=4, readings=2, ordinal=3, images=500)
    changed = report.model_copy(update={"trials": (trial,), "registered": place})
    card = confirmed_card(view, changed, 500)
    assert {
        "third confirmation on these test images",
        "test images read twice outside confirmations",
        "never began on seed 3",
        "with noise collapsed on 1 of 6 seeds",
        "without noise collapsed on 2 of 6 seeds",
        "the same noise as its clock on 3 of 6 seeds",
        "one of the 500 test images is worth 0.2 points",
    } <= set(card.chips)


def test_a_baseline_that_never_learned_is_part_of_the_sentence(
    confirmed: dict[str, StudyView],
) -> None:
    view = confirmed["better"]
    confirmation = confirmation_of(view.folder, view.config, view.state)
    assert confirmation is not None
    report = confirm_report(confirmation).model_copy(update={"finished": True})
    for seeds, said in (
        (6, "Noise helped a training that never learns without it: +1.9"),
        (5, "Noise helped: "),
    ):
        stuck = NeverLearned(seeds, 6, classes=10)
        card = confirmed_card(view, report, 500, stuck)
        assert card.said.startswith(said)
        assert stuck.sentence in card.lines
        # Whoever has not tuned its baseline is told to, first.
        assert ("tuned first" in card.advice) == stuck.everywhere


@pytest.mark.parametrize(
    ("interval", "ruled_out"),
    [
        ((-0.02, 0.001), ["gain"]),
        ((-0.001, 0.02), ["loss"]),
        ((-0.001, 0.001), ["gain", "loss"]),
        ((-0.02, 0.02), []),
    ],
)
def test_what_an_open_answer_rules_out_is_said(
    interval: tuple[float, float], ruled_out: list[str], confirmed: dict[str, StudyView]
) -> None:
    view = confirmed["open"]
    confirmation = confirmation_of(view.folder, view.config, view.state)
    assert confirmation is not None
    report = confirm_report(confirmation)
    trial = report.trials[0].model_copy(update={"interval": interval})
    over = report.model_copy(update={"trials": (trial,), "finished": True})
    lost = trial.model_copy(update={"reason": Ground.LOST})
    for change in (
        {"finished": False},
        {"trials": (lost,)},
        # Another configuration may still have one.
        {"trials": (trial, trial.model_copy(update={"interval": (-0.02, 0.02)}))},
    ):
        assert confirmed_card(view, over.model_copy(update=change), 500).word == "not decided"
    card = confirmed_card(view, over, 500)
    said = [line for line in card.lines if "lies outside its 95 % interval" in line]
    assert [line.split()[1] for line in said] == ruled_out
    assert all("(0.3 points or more)" in line for line in said)
    # Seeds are not worth their time where no gain is left to be shown.
    no_gain = ruled_out == ["gain"]
    assert card.said.startswith("Noise brought no gain that matters") == no_gain
    assert card.word == ("no gain" if no_gain else "not decided")
    assert card.advice.startswith("Next: train without this noise here") == no_gain


def test_how_sure_is_said_of_each_figure(confirmed: dict[str, StudyView]) -> None:
    for name, view in confirmed.items():
        confirmation = confirmation_of(view.folder, view.config, view.state)
        assert confirmation is not None
        report = confirm_report(confirmation).model_copy(update={"finished": True})
        card = confirmed_card(view, report, 500)
        figures = dict(card.figures)
        bound = "≤ 39.3 % (95 %)" if name in HELD else None
        assert figures.get("runs that collapse") == bound
        worth = report.pairing_gain
        assert worth.gain is not None
        assert worth.interval is not None
        said = times(worth.gain, Interval(*worth.interval))
        assert figures["pairing was worth"] == said
        assert " times the seeds (95 % " in said
        (trial,) = report.trials
        few = trial.model_copy(update={"pairing_gain": worth.model_copy(update={"gain": 0.98})})
        weak = dict(confirmed_card(view, report.model_copy(update={"trials": (few,)}), 500).figures)
        assert weak["pairing was worth"].startswith("hardly any seeds: 0.98 times the seeds (95 %")
        if trial.more_seeds is None:
            continue
        assert card.advice.endswith("with 80 % power (80 % confidence).")
        # Also where both ends of the range are the same.
        more = SeedsNeeded(fewest=7, most=7, sentence=SeedsRange(7, 7, 6).sentence())
        same = trial.model_copy(update={"more_seeds": more})
        over = confirmed_card(view, report.model_copy(update={"trials": (same,)}), 500)
        assert ". At most 7 seeds in all, the fewest that can be added, would" in over.advice
        assert over.advice.endswith("with 80 % power (80 % confidence).")


def test_figures_are_those_with_and_without_noise(confirmed: dict[str, StudyView]) -> None:
    figures = dict(card_of(confirmed["better"]).figures)
    with_noise, without = (
        float(figures[name].removesuffix(" %")) for name in ("with noise", "without noise")
    )
    assert with_noise - without == pytest.approx(1.85, abs=0.02)


def test_the_forest_has_every_seed_the_interval_and_the_margin(
    confirmed: dict[str, StudyView],
) -> None:
    verdict = sections(confirmed["better"])[0]
    (forest,) = verdict.charts
    (panel,) = forest.panels
    marks = {type(mark).__name__: mark for mark in panel.marks}
    assert list(marks["Points"].x) == pytest.approx([100 * gain for gain in HELPED])  # type: ignore[union-attr]
    ys = list(marks["Points"].y)  # type: ignore[union-attr]
    # The two seeds with the same difference lie below each other.
    assert len({*zip(HELPED, ys, strict=True)}) == len(HELPED)
    assert min(ys) > panel.y_range[0]  # type: ignore[index]
    assert list(marks["Line"].x) == pytest.approx([1.39, 2.31], abs=0.005)  # type: ignore[union-attr]
    assert (marks["Band"].start, marks["Band"].stop) == pytest.approx((-0.3, 0.3))  # type: ignore[union-attr]
    assert marks["Rule"].at == 0.0  # type: ignore[union-attr]
    low, high = panel.reach("x") or (0.0, 0.0)
    assert low < -0.3 < 2.5 < high


def test_a_search_says_that_it_is_not_confirmed(small: StudyView, tmp_path: Path) -> None:
    card = card_of(small)
    assert (card.tone, card.word) == ("open", "not confirmed")
    assert {"validation data", "best of 6 trials", "one seed", "1 failed"} <= set(card.chips)
    write_study(tmp_path, "begun", trials=TRIALS[3:5], over=False)
    begun = card_of(load_study(tmp_path, "begun"))
    assert begun.said == "No answer yet: no trial is complete."
    assert begun.commands[0].startswith("noise-study resume begun --storage ")


@pytest.mark.parametrize(("n", "text"), [(1, "one seed"), (6, "six seeds"), (11, "11 seeds")])
def test_seeds_are_words_up_to_ten(n: int, text: str) -> None:
    assert seeds_text(n) == text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@NEEDS_BROWSER
@pytest.mark.parametrize("width", [1280, 400])
def test_the_card_is_the_first_that_is_seen(
    width: int, confirmed: dict[str, StudyView], browser: Browser, tmp_path: Path
) -> None:
    for name, view in confirmed.items():
        page = tmp_path / f"{name}.html"
        page.write_text(build_page(view, sections(view)).html(), encoding="utf-8")
        browser.look(width=width)
        browser.open(page.as_uri())
        card = browser.run(
            'const card = document.getElementById("card");'
            "return [card.innerText, card.getBoundingClientRect().top, "
            "document.documentElement.scrollWidth - document.documentElement.clientWidth]"
        )
        assert SAID[name] in card[0]
        assert "untuned baseline" in card[0]
        assert "Next: " in card[0]
        assert card[1] < 500
        assert card[2] <= 0, "the page scrolls sideways"
        assert browser.requests() == [page.as_uri()]
        assert not browser.problems()
