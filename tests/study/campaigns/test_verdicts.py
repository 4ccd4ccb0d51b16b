"""What is said of a confirmation's trials: planted cases, as real ones are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from analysis.confirm.markdown import to_markdown
from analysis.confirm.report import confirm_report
from study.campaigns.confirm import added_seeds, answer_tags
from study.campaigns.confirm_plan import ConfirmConfig, planned_confirmation, run_key, with_margin
from study.campaigns.confirmation import Confirmation
from study.campaigns.contrast import timing_shown
from study.records.ledger_view import TrialRecord
from tests.support.confirmations import STUDY, confirmation, record, rows, runs, search
from trainables.metrics import METRICS

TRIAL = "trial-0001"
FIRST = 5
IMAGES = 500
CLASSES = tuple("0123456789")
LATE = {5: 0.5, 6: 0.25}
CLEAR = (0.1, 0.11, 0.12, 0.1, 0.09, 0.11)
NOTHING = (0.02, -0.03, 0.01, -0.02, 0.03, -0.01)


def falls_back(run: TrialRecord) -> TrialRecord:
    """The same run, which learnt, and guesses in the end."""
    history = (*rows(accuracy=0.5)[:-2], *rows(accuracy=0.1)[-2:])
    return replace(run, history=history)


def diverges(run: TrialRecord) -> TrialRecord:
    return replace(run, state="failed", reason="diverged in epoch 3", values={}, history=())


def is_lost(run: TrialRecord) -> TrialRecord:
    return replace(run, state="failed", reason="its worker died", values={}, history=())


def confirmed(
    gains: Sequence[float],
    *,
    planted: Mapping[tuple[str, int], Any] | None = None,
    noisy: Mapping[int, float] | None = LATE,
    metric: str = "final_test_accuracy",
    **config: Any,
) -> Confirmation:
    """A confirmation of one trial that gains so much on each seed.

    ``planted``: role and place of a run → what is done to it.
    """
    seeds = range(FIRST, FIRST + len(gains))
    records = []
    for role, trial in (("baseline", ""), ("confirm", TRIAL)):
        for place, (seed, gain) in enumerate(zip(seeds, gains, strict=True)):
            value = 0.5 + 0.001 * place + (gain if role == "confirm" else 0.0)
            noise = noisy if role == "confirm" else {}
            run = record(run_key(role, trial, seed), role, seed, test=value, noisy=noise)  # type: ignore[arg-type]
            known = {**run.config, "data": {**run.config["data"], "classes": CLASSES}}
            run = replace(run, config=known)
            records.append((planted or {}).get((role, place), lambda same: same)(run))
    values = {"seeds": len(gains), "trials": (TRIAL,), "first_seed": FIRST, "margin": 0.003}
    settings = ConfirmConfig.model_validate({**values, "decide_by": metric, **config})
    return confirmation(settings, *records, images=IMAGES)


def told(found: Confirmation) -> tuple[str, str]:
    """The short form of what is said, and the whole of it, which the report has, too."""
    judged = found.verdicts()[TRIAL]
    report = confirm_report(found)
    assert report.trials[0].verdict == judged.word
    assert judged.sentence in to_markdown(report)
    return judged.short, judged.sentence


def test_a_gain_is_better_with_a_bound_of_what_may_collapse() -> None:
    found = confirmed(CLEAR)
    short, sentence = told(found)
    assert short == "better"
    assert "collapsed on 0 of 6, at most 39.3 % of its runs collapse" in sentence
    bound = "at most 39.3 % of its runs collapse, with 95 % confidence"
    tags = answer_tags(found, found.verdicts())
    assert tags["verdict"] == f"{TRIAL}: better, {bound}"
    assert tags["pairing"] == f"{TRIAL}: {found.pairing_gain(TRIAL).sentence()}"
    assert answer_tags(found, {}) == {"verdict": "", "pairing": ""}
    undecided = confirmed(NOTHING).verdicts()[TRIAL]
    assert undecided.short_with_bound == undecided.short
    assert "median +10.50, worst +9.00 on seed 9" in sentence


def test_what_is_better_when_lower_is_better() -> None:
    assert told(confirmed([-gain for gain in CLEAR], metric="final_test_loss"))[0] == "better"
    assert told(confirmed(CLEAR, metric="final_test_loss"))[0] == "worse"


@pytest.mark.parametrize("collapse", [falls_back, diverges])
def test_one_collapse_takes_better_away(collapse: Any) -> None:
    """Whatever its figure: the one that falls back has the value of a gain here."""
    found = confirmed(CLEAR, planted={("confirm", 2): collapse})
    short, sentence = told(found)
    assert short == "undecided, it collapsed where the baseline did not"
    assert sentence.startswith("undecided: collapsed on 1 of 6; ")
    (trial,) = confirm_report(found).trials
    assert (trial.collapsed, trial.baseline_collapsed) == ((7,), ())
    # Where the baseline collapses, too, it says nothing of the noise.
    both = {("confirm", 2): falls_back, ("baseline", 2): falls_back}
    assert told(confirmed(CLEAR, planted=both))[0] == "better"


def test_what_never_learnt_is_stuck_and_has_not_collapsed() -> None:
    def stuck(run: TrialRecord) -> TrialRecord:
        return replace(run, history=rows(LATE, accuracy=0.1))

    found = confirmed(CLEAR, planted={("confirm", place): stuck for place in range(6)})
    assert told(found)[0] == "better"


def test_collapses_on_every_seed_are_worse() -> None:
    found = confirmed(CLEAR, planted={("confirm", place): diverges for place in range(6)})
    short, sentence = told(found)
    assert short == "worse"
    assert "it collapses more often than the baseline" in sentence
    assert "p = 0.016 for collapses" in sentence


@pytest.mark.parametrize("place", [0, 5])
def test_a_lost_run_takes_better_away_and_is_no_collapse(place: int) -> None:
    found = confirmed(CLEAR, planted={("confirm", place): is_lost})
    short, sentence = told(found)
    assert short == "undecided, runs were lost"
    assert f"runs were lost, seed {FIRST + place}; " in sentence
    assert confirm_report(found).trials[0].collapsed == ()
    # A baseline that was lost costs its seed alone.
    without = confirmed(CLEAR, planted={("baseline", place): is_lost})
    assert told(without)[0] == "better"
    assert confirm_report(without).trials[0].n == 5


def test_where_noise_never_began_both_are_equivalent() -> None:
    found = confirmed((0.0,) * 6, noisy={})
    assert told(found)[0] == "equivalent"
    assert "equivalent: the noise never began" in told(found)[1]
    assert confirm_report(found).trials[0].seeds_without_noise == tuple(range(5, 11))
    began = confirmed((0.0,) * 6)
    assert "equivalent: every difference is exactly 0" in told(began)[1]
    idle = {("confirm", 6): lambda run: replace(run, history=rows())}
    short, sentence = told(confirmed((*CLEAR, 0.0), planted=idle))
    assert short == "better"
    assert "seed 11" in sentence.partition("never began on 1")[2]


def test_a_gain_within_the_margin_is_equivalent_with_its_sign() -> None:
    small = (0.001, 0.0011, 0.0009, 0.001, 0.0012, 0.0011)
    short, sentence = told(confirmed(small))
    assert short == "equivalent"
    assert "within ±0.30 points, though shown to be better" in sentence
    assert told(confirmed(small, margin=0.0005))[0] == "better"


def test_more_seeds_are_a_range_and_only_of_what_is_undecided() -> None:
    (trial,) = confirm_report(confirmed((0.02, 0.03, -0.01, 0.05, 0.01, -0.02))).trials
    assert trial.more_seeds is not None
    assert trial.more_seeds.sentence in trial.sentences[0]
    assert "seeds in all would show a difference of the size seen" in trial.more_seeds.sentence
    assert confirm_report(confirmed(CLEAR)).trials[0].more_seeds is None
    row = trial.against_baseline["final_test_accuracy"]
    assert (row.seeds_needed, row.more_seeds) == (None, None)


def test_futility_ends_a_sequential_design_and_may_be_overruled() -> None:
    found = confirmed(NOTHING, seeds=20, first_look=6)
    assert len(found.wanted_seeds()[TRIAL]) == 6
    short, sentence = told(found)
    assert short == "undecided, not worth going on"
    assert "undecided: not worth going on, better is out of reach with 20 seeds" in sentence
    on = replace(found, config=found.config.model_copy(update={"futility": False}))
    assert len(on.wanted_seeds()[TRIAL]) == 9
    assert told(on)[0] == "undecided, not all planned seeds are in"


def test_futility_once_overruled_stays_so() -> None:
    wanted = ConfirmConfig(top=1, seeds=20, first_look=6)
    begun = planned_confirmation(STUDY, search(0.6), wanted, None)
    overruled = wanted.model_copy(update={"futility": False})
    goes_on = planned_confirmation(STUDY, search(0.6), overruled, begun)
    assert not goes_on.futility
    assert not planned_confirmation(STUDY, search(0.6), wanted, goes_on).futility


def test_seeds_added_to_a_design_that_has_an_end_withhold_the_verdict() -> None:
    gains = (*NOTHING, *(0.1,) * 5, 0.11)
    found = confirmed(gains, planned=6)
    assert found.config.design.extended_to == 12
    short, sentence = told(found)
    assert short.startswith("undecided, seeds were added after the planned end; the error level")
    assert "mean difference +5.08 points over 12 seeds, 95 % interval" in sentence
    (trial,) = confirm_report(found).trials
    assert (trial.n, trial.interval is None) == (12, False)
    said = added_seeds(found.config, before=6)
    assert "what the 6 planned seeds leave undecided gets 12" in said
    assert "its verdict is withheld" in said


def test_what_was_decided_by_the_planned_seeds_gets_no_more() -> None:
    found = confirmed(CLEAR, planned=6, seeds=12)
    assert len(found.wanted_seeds()[TRIAL]) == 6
    assert told(found)[0] == "better"


def test_an_extendable_design_goes_on_and_decides() -> None:
    gains = (0.1, 0.11, 0.09, -0.05, 0.1, -0.02, *(0.1, 0.11, 0.12) * 5)
    begun = confirmed(gains[:6], extendable=True)
    assert told(begun)[0] == "undecided, neither a difference nor equivalence is shown"
    found = confirmed(gains, planned=6, extendable=True)
    short, sentence = told(found)
    assert short == "better"
    assert "by the anytime-valid test" in sentence
    assert "goes on to 21 with the share of the error set aside" in added_seeds(found.config, 6)
    # Without the share set aside the same data give no verdict.
    assert told(confirmed(gains, planned=6))[0].startswith("undecided, seeds were added")


def test_a_confirmation_of_an_earlier_version_is_judged_as_it_was_begun() -> None:
    found = confirmed((*NOTHING[:-1], 0.01), judged="as_before", seeds=6)
    short, sentence = told(found)
    assert short == "too few seeds to tell"
    assert "more seeds would show a difference of the size seen" in sentence
    report = confirm_report(found)
    assert report.judged == "as_before"
    assert any("begun by an earlier version: it is judged as it" in n for n in report.notes)
    row = report.trials[0].against_baseline["final_test_accuracy"]
    assert row.more_seeds is not None
    # Seeds are added and noted, as they were then.
    more = planned_confirmation(STUDY, search(0.6, 0.7), ConfirmConfig(seeds=8), found.config)
    assert (more.judged, more.seeds, more.extended) == ("as_before", 8, False)
    assert "the error level is not kept" in added_seeds(more, before=6)
    # A collapse changed nothing then.
    planted = {("confirm", 2): diverges}
    assert told(confirmed(CLEAR, planted=planted, judged="as_before"))[0] == "better"


def test_a_trial_that_is_lost_on_a_seed_is_not_said_to_beat_its_controls() -> None:
    def with_controls(found: Confirmation) -> Confirmation:
        seeds = found.seeds_complete(TRIAL)
        more = [
            *runs(TRIAL, "placebo", dict.fromkeys(seeds, 0.4), noisy={7: 0.5, 8: 0.25}),
            *runs(TRIAL, "placebo", dict.fromkeys(seeds, 0.4), draw=2, noisy={8: 0.5, 9: 0.25}),
            *runs(TRIAL, "clock", dict.fromkeys(seeds, 0.4), noisy={3: 0.5, 4: 0.25}),
        ]
        trials = {**found.state.trials, **{run.key: run for run in more}}
        return replace(found, state=replace(found.state, trials=trials))

    whole = with_controls(confirmed(CLEAR))
    assert whole.finished
    assert {whole.judged(against=role)[TRIAL].word for role in ("placebo", "clock")} == {"better"}  # type: ignore[arg-type]
    for harm, word in ((diverges, "it collapsed"), (is_lost, "runs were lost")):
        partly = with_controls(confirmed(CLEAR, planted={("confirm", 2): harm}))
        assert partly.finished
        assert partly.judged(against="clock")[TRIAL].short.startswith(f"undecided, {word}")
        assert not timing_shown(partly, TRIAL)


def test_what_pairing_was_worth_is_told_of_each_trial_and_of_the_best() -> None:
    report = confirm_report(confirmed(CLEAR))
    (trial,) = report.trials
    assert report.pairing_gain == trial.pairing_gain
    assert (trial.pairing_gain.trial, trial.pairing_gain.n) == (TRIAL, 6)
    assert trial.pairing_gain.gain is not None
    assert f"{trial.pairing_gain.sentence}." in trial.sentences[1]
    assert "pairing by seed was worth" in to_markdown(report)


def test_the_margin_is_fixed_in_the_metrics_unit_when_a_confirmation_begins() -> None:
    begun = with_margin(ConfirmConfig(), STUDY, 10_000)
    assert (begun.decide_by, begun.margin) == ("final_test_accuracy", 0.003)
    # Two images of 400 are more.
    few = with_margin(ConfirmConfig(), STUDY, 400)
    assert few.margin == 0.005
    assert with_margin(few, STUDY, 10_000) == few
    losses = STUDY.model_copy(update={"decide_by": "test_loss", "margin": 0.02})
    assert with_margin(ConfirmConfig(), losses, 400).margin == 0.02
    earlier = ConfirmConfig(judged="as_before")
    assert with_margin(earlier, STUDY, 400) == earlier
    assert METRICS["test_loss"].mode == "min"
