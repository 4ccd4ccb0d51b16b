"""The verdict card: what it says of confirmations and searches, held against how they were made."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.charts.chart import Points
from analysis.confirm.model import ConfirmReport, ControlDraws, SeedsNeeded
from analysis.confirm.report import confirm_report
from analysis.reading import StudyView, load_study
from analysis.report.answer import answer
from analysis.report.card import Card, seeds_text
from analysis.report.confirmed_card import confirmed_card
from analysis.report.forest import confirmed_forest
from analysis.report.sections import build_page, sections
from study.campaigns.confirm_register import RegisterStanding
from study.campaigns.confirmation import confirmation_of
from study.records.chance import NeverLearned
from study.records.folder import StudyFolder
from study.records.indistinct import sharing_best
from study.records.race import RunSummary
from study.statistics.answers import Ground
from study.statistics.estimate import Interval
from study.statistics.pairing_gain import PairingGain, times
from study.statistics.seeds_range import SeedsRange
from study.units import unit_of
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


def reported(view: StudyView) -> ConfirmReport:
    confirmation = confirmation_of(view.folder, view.config, view.state)
    assert confirmation is not None
    return confirm_report(confirmation)


def controls(**changes: Any) -> ControlDraws:
    """Controls that can tell of timing, unless changed."""
    fields: dict[str, Any] = {
        "draws": 2, "dose_ratio": 1.0, "dose_ratio_range": (0.9, 1.1),
        "realised_dose_ratio": 1.0, "overlap": 0.2, "without": (), "sentence": None,
    }  # fmt: skip
    return ControlDraws(**{**fields, **changes})


CLAIMED = controls(draws=1, sentence="When the noise came mattered.")


@pytest.mark.parametrize(
    ("placebo", "clock", "said"),
    [
        (controls(), CLAIMED, "Its timing mattered, too: it beats the same noise at random epochs"),
        (controls(), controls(draws=1), "Its timing made no difference shown"),
        (None, None, "can't be told: the same noise was not tried at other epochs."),
        (controls(), None, "can't be told: it has no clock. A placebo is the same noise"),
        (controls(dose_ratio=2.0), controls(), "its placebo has 2 times its dose of noise. A pla"),
        (controls(overlap=0.7), controls(), "its placebos have noise in 70% of its own noisy"),
    ],
)
def test_the_card_says_what_is_known_of_timing(
    placebo: ControlDraws | None,
    clock: ControlDraws | None,
    said: str,
    confirmed: dict[str, StudyView],
) -> None:
    for name, count in (("better", 1), ("open", 0)):
        report = reported(confirmed[name])
        trial = report.trials[0].model_copy(update={"placebo": placebo, "clock": clock})
        changed = report.model_copy(update={"trials": (trial,)})
        lines = confirmed_card(confirmed[name], changed, 500).lines
        # Of what did not help nobody asks for the timing.
        assert sum(said in line for line in lines) == count


@pytest.mark.parametrize(
    ("gain", "said"),
    [(2.5, "2.5 times the seeds"), (1.01, "hardly any seeds: 1.01 times"), (None, "not known: ")],
)
def test_the_card_says_what_pairing_was_worth(
    gain: float | None, said: str, confirmed: dict[str, StudyView]
) -> None:
    report = reported(confirmed["better"])
    found = report.pairing_gain.model_copy(
        update={"gain": gain, "sentence": PairingGain(1, gain, why_not="no reason").sentence()}
    )
    trial = report.trials[0].model_copy(update={"pairing_gain": found})
    changed = report.model_copy(update={"trials": (trial,), "pairing_gain": found})
    figures = dict(confirmed_card(confirmed["better"], changed, 500).figures)
    assert figures["pairing was worth"].startswith(said)


def test_the_forest_has_a_row_for_each_control(confirmed: dict[str, StudyView]) -> None:
    report = reported(confirmed["better"])
    (alone,) = report.trials
    rows = alone.against_baseline
    trial = alone.model_copy(
        update={"placebo_effect": rows, "clock_effect": rows, "seeds_without_noise": (3,)}
    )
    for each, names in ((alone, []), (trial, ["its placebo", "its clock"])):
        changed = report.model_copy(update={"trials": (each,)})
        chart = confirmed_forest(changed, unit_of(report.decide_by, 500))
        assert chart is not None
        (panel,) = chart.panels
        assert [name for _, name in panel.y_ticks] == ["trial-0000", *names]
        points = [mark for mark in panel.marks if isinstance(mark, Points) and mark.size == 6]
        assert [len(mark.x) for mark in points] == [len(SEEDS)] * (1 + len(names))
        assert ("Placebo: the same noise at random epochs" in chart.caption) == bool(names)
    assert points[0].labels[1] == "seed 3: +2.0 points, noise never began"
    assert not points[0].labels[0].endswith("never began")


NOTES = (
    "signal stuck is left out: the baseline never raises it",
    "signal overfitting: noise/overfit_gap from 0.01 to 0.2 & more",
    "the time budget of 9 s ended the search after 3 of 6 trials",
    "nothing <known> is left out",
)


@pytest.mark.parametrize("name", ["small", "better"])
def test_every_note_of_a_search_is_on_its_page(
    name: str, small: StudyView, confirmed: dict[str, StudyView]
) -> None:
    given = small if name == "small" else confirmed[name]
    assert given.state.study is not None
    tags = {f"note.{number}": note for number, note in enumerate(NOTES, start=1)}
    study = replace(given.state.study, tags=tags)
    view = replace(given, state=replace(given.state, study=study))
    assert tuple(view.summary.notes) == NOTES
    part = answer(view)
    # How signals were calibrated is there for those who ask for it.
    assert [note for note in part.notes if note in NOTES] == list(NOTES[2:])
    assert [line for line in part.details if line in NOTES] == list(NOTES[:2])
    text = build_page(view, [part]).html()
    for note in NOTES:
        assert text.count(html.escape(note)) == 1


def test_seeds_without_noise_are_marked_in_a_race(small: StudyView) -> None:
    best = small.best
    assert best is not None
    runs = tuple(
        RunSummary(
            seed=seed, value=0.5, paired_difference=gain, state="complete", without_noise=not gain
        )
        for seed, gain in ((0, 0.02), (7, 0.01), (8, 0.0))
    )
    raced = best.model_copy(
        update={"runs": runs, "n": 2, "mean_difference": 0.005, "ranked_by": 0.02, "place": 1}
    )
    others = [trial for trial in small.summary.trials if trial.trial_id != best.trial_id]
    view = replace(small)
    view.__dict__["summary"] = small.summary.model_copy(update={"trials": [raced, *others]})
    part = answer(view)
    assert part.card is not None
    assert "its noise never began on seed 8" in part.card.chips
    (chart,) = part.charts
    assert f"equals its baseline: {best.trial_id} on seed 8." in chart.caption
    assert any("seed 8, where it equals its baseline" in line for line in part.details)


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
    sharing = len(sharing_best(small.config, small.summary.trials))
    who = f"{sharing} share the best figure" if sharing else "best"
    chips = {"validation data", f"{who} of 6 trials", "one seed", "1 failed"}
    assert chips <= set(card.chips)
    write_study(tmp_path, "begun", trials=TRIALS[3:5], over=False)
    begun = card_of(load_study(tmp_path, "begun"))
    assert begun.said == "No answer yet: no trial is complete."
    assert begun.commands[0].startswith("noise-study resume begun --storage ")


@pytest.mark.parametrize(("trials", "word"), [(1, "best"), (2, "first")])
def test_what_shares_the_best_figure_is_not_called_best(
    trials: int, word: str, tmp_path: Path
) -> None:
    write_study(tmp_path, "made-up", trials=TRIALS[:1] * trials, race_seeds=1)
    view = load_study(tmp_path, "made-up")
    card = card_of(view)
    assert dict(card.figures)[f"{word} trial"] == "trial-0000"
    assert f"the {word} " in card.said or f"'s {word} trial" in card.said
    chip = {"best": "best of 1 trials", "first": "2 share the best figure of 2 trials"}[word]
    assert chip in card.chips
    assert f"The {word} trial alone: " in build_page(view, sections(view)).html()
    # There was no race.
    [said] = [line for line in card.lines if "luckiest" in line]
    assert said.endswith("is not known: no race (--race-seeds).")


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
