"""What a confirmation says of timing: claimed only of what beats its placebo and its clock."""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from analysis.confirm.markdown import to_markdown
from analysis.confirm.model import ConfirmedTrial
from analysis.confirm.report import confirm_report
from study.campaigns.confirm_plan import TEST_IMAGES, ConfirmConfig
from study.commands.confirm import print_verdicts
from study.records.planned_run import Role
from tests.support.confirmations import confirmation, runs

TRIAL = "trial-0001"
SEEDS = range(5, 11)
LATE = {5: 0.5, 6: 0.25}
CLAIM = "When the noise of trial-0001 came mattered"
DENIAL = "That the timing of trial-0001 matters is not shown"


def values(base: float) -> dict[int, float | None]:
    """Test accuracies about ``base`` that scatter little over the seeds."""
    return {seed: base + 0.001 * (-1) ** seed for seed in SEEDS}


def sentences(
    accuracies: Mapping[str, float], noisy: Mapping[int, float] = LATE, *, clock: bool = True
) -> list[str]:
    """What is said where each role scatters about its accuracy, the baseline about 0.5."""
    config = ConfirmConfig(seeds=len(SEEDS), trials=(TRIAL,), first_seed=SEEDS[0], clock=clock)
    records = runs("", "baseline", dict.fromkeys(SEEDS, 0.5))
    for role, base in accuracies.items():
        records += runs(TRIAL, role, values(base), noisy=noisy)
        if role == "placebo":
            records += runs(TRIAL, role, values(base), noisy=noisy, draw=2)
    report = confirm_report(confirmation(config, *records))
    text = to_markdown(report)
    assert all(sentence in text for sentence in report.trials[0].sentences)
    return [*report.trials[0].sentences, *report.notes]


@pytest.mark.parametrize(
    ("placebo", "clock", "said"),
    [
        (0.5, 0.5, f"{CLAIM}, not only that it came: it beats both its placebo and its clock."),
        (
            0.5,
            0.6,
            f"{DENIAL}: it beats its placebo, but is not shown to beat its clock, the same ",
        ),
        (
            0.5,
            0.7,
            f"{DENIAL}: it beats its placebo, but is not shown to beat its clock, the same ",
        ),
        (0.6, 0.5, f"{DENIAL}: it beats its clock, but is not shown to beat its placebo, the same"),
        (0.7, 0.5, f"{DENIAL}: it beats its clock, but is not shown to beat its placebo, the same"),
    ],
)
def test_timing_is_claimed_only_of_what_beats_both(placebo: float, clock: float, said: str) -> None:
    found = sentences({"confirm": 0.6, "placebo": placebo, "clock": clock})
    (timing,) = [line for line in found if line.startswith((CLAIM, DENIAL))]
    assert timing.startswith(said)
    assert f"{TRIAL} beside its placebo, the same noise at random epochs: " in "".join(found)
    assert "begun without clocks" not in "".join(found)


@pytest.mark.parametrize(
    ("trial", "clock", "said"),
    [
        (0.6, 0.5, ": it does better (better: "),
        (0.6, 0.7, ": its clock does better (worse: "),
        (
            0.6,
            0.6,
            ": its clock does as well, within the margin: its timing is not shown to matter (",
        ),
        (0.5, 0.5, ": neither noise nor its timing is shown to help ("),
    ],
)
def test_what_a_clock_says_by_itself(trial: float, clock: float, said: str) -> None:
    found = sentences({"confirm": trial, "placebo": trial, "clock": clock})
    (line,) = [line for line in found if line.startswith(f"{TRIAL} beside its clock, ")]
    assert said in line
    assert "clock beside the baseline: " in line
    assert "its own clock" not in line


def test_a_trial_that_begins_at_the_warm_ups_end_is_not_said_to_be_well_timed() -> None:
    """Better than every placebo, because those begin later: the case that clocks are for."""
    found = sentences({"confirm": 0.6, "placebo": 0.5}, noisy={3: 0.5, 4: 0.25})
    (line,) = [line for line in found if line.startswith(f"{TRIAL} beside its clock, ")]
    assert "it is its own clock on seeds 5, 6, 7, 8, 9, 10; equivalent: every difference" in line
    (timing,) = [line for line in found if line.startswith((CLAIM, DENIAL))]
    assert timing.startswith(f"{DENIAL}: it beats its placebo, but is not shown to beat its clock")


def test_without_clocks_or_before_they_are_trained_nothing_is_claimed() -> None:
    for clock in (False, True):
        found = sentences({"confirm": 0.6, "placebo": 0.5}, clock=clock)
        (timing,) = [line for line in found if line.startswith((CLAIM, DENIAL))]
        assert "it beats its placebo, but was not held against its clock" in timing
        assert not any("beside its clock" in line for line in found)
        assert any("was begun without clocks" in line for line in found) is not clock


def test_noise_that_can_not_be_moved_has_neither_control() -> None:
    everywhere = dict.fromkeys(range(3, 12), 0.1)
    found = sentences({"confirm": 0.6}, noisy=everywhere)
    assert any("can have neither placebo nor clock" in line for line in found)
    found = sentences({"confirm": 0.6}, noisy=everywhere, clock=False)
    assert any("can have no placebo: " in line for line in found)


# --- how far the controls differ ---------------------------------------------------------------

ON_AND_OFF = {4: 0.5, 5: 0.5, 6: 0.5, 7: 0.5, 8: 0.5}
"""So many noisy epochs that every placebo has most of them, too."""


def report_of(
    noisy: Mapping[int, float], *, draws: int = 2, rule: Any = "matched"
) -> tuple[ConfirmedTrial, list[str]]:
    """The answer where the trial is far above both its controls."""
    config = ConfirmConfig(
        seeds=len(SEEDS), trials=(TRIAL,), first_seed=SEEDS[0],
        placebo_draws=draws, placebo_rule=rule,
    )  # fmt: skip
    records = runs("", "baseline", dict.fromkeys(SEEDS, 0.5))
    records += runs(TRIAL, "confirm", values(0.6), noisy=noisy)
    begun = confirmation(config, *records)
    roles: tuple[Role, ...] = ("placebo", "clock")
    for role in roles:
        for seed in SEEDS:
            for draw, plan in enumerate(begun.plans(role, TRIAL, seed), start=1):
                placed = {item.epoch: item.magnitude for item in plan}
                records += runs(TRIAL, role, {seed: 0.5 + 0.001 * seed}, draw=draw, noisy=placed)
    report = confirm_report(confirmation(config, *records))
    return report.trials[0], [*report.trials[0].sentences, *report.notes]


def test_timing_is_claimed_where_the_controls_have_the_dose_at_other_epochs() -> None:
    trial, found = report_of(LATE)
    (timing,) = [line for line in found if line.startswith((CLAIM, DENIAL))]
    assert timing.startswith(CLAIM)
    for control in (trial.placebo, trial.clock):
        assert control is not None
        assert control.sentence == timing
        assert 0.8 <= control.dose_ratio_range[0] <= control.dose_ratio_range[1] <= 1.25
        # Every gradient is alike in these records.
        assert control.realised_dose_ratio == pytest.approx(control.dose_ratio)
        assert control.without == ()
    assert trial.placebo is not None
    assert trial.placebo.draws == 2
    assert trial.placebo.overlap <= 0.5
    (line,) = [line for line in found if line.startswith(f"The placebo of {TRIAL}, 2 draws a seed")]
    assert "times its dose of noise as planned" in line
    assert f"noise in {trial.placebo.overlap:.0%} of its own noisy epochs" in line


def test_nothing_is_said_of_timing_where_the_placebos_have_the_trials_epochs() -> None:
    trial, found = report_of(ON_AND_OFF)
    assert trial.placebo is not None
    assert trial.placebo.overlap > 0.5
    assert trial.placebo.sentence is None
    assert not [line for line in found if line.startswith((CLAIM, DENIAL))]
    (line,) = [line for line in found if line.startswith(f"Whether the timing of {TRIAL} matters")]
    assert f"its placebos have noise in {trial.placebo.overlap:.0%} of its own noisy" in line
    # Nor does the clock, which was not objected to, say anything by itself.
    besides = [line for line in found if line.startswith(f"{TRIAL} beside its ")]
    assert len(besides) == 2
    assert all(": of its timing this says nothing (better: " in line for line in besides)


def test_nothing_is_said_of_timing_where_the_clock_has_another_dose() -> None:
    """Late in a cosine: at the warm-up's end the learning rate is many times as high."""
    trial, found = report_of({9: 0.5})
    assert trial.clock is not None
    assert trial.clock.dose_ratio > 1.25
    assert trial.clock.sentence is None
    assert not [line for line in found if line.startswith((CLAIM, DENIAL))]
    (line,) = [line for line in found if line.startswith(f"Whether the timing of {TRIAL} matters")]
    assert line.endswith(f"its clock has {trial.clock.dose_ratio:.3g} times its dose of noise.")


def test_noise_that_has_its_dose_nowhere_else_is_said_to_have_no_placebo() -> None:
    found = sentences({"confirm": 0.6, "clock": 0.5}, noisy={11: 0.5})
    (line,) = [line for line in found if line.startswith(f"{TRIAL} can have no placebo: ")]
    assert "nowhere else would its noise have the same dose at like learning rates" in line
    assert not [line for line in found if line.startswith((CLAIM, DENIAL))]


def test_what_was_begun_unmatched_is_read_as_it_was_meant_and_says_so() -> None:
    trial, found = report_of(ON_AND_OFF, draws=1, rule="as_recorded")
    (timing,) = [line for line in found if line.startswith((CLAIM, DENIAL))]
    assert timing.startswith(CLAIM)
    assert trial.placebo is not None
    assert (trial.placebo.draws, trial.placebo.sentence) == (1, timing)
    assert not [line for line in found if line.startswith("The placebo of")]
    assert any("when placebos were not matched in dose" in line for line in found)


@pytest.mark.parametrize(("gain", "said"), [(0.0009, True), (0.0011, False)])
def test_what_a_test_image_is_worth_where_a_difference_is_no_larger(
    gain: float, said: bool
) -> None:
    config = ConfirmConfig(seeds=len(SEEDS), trials=(TRIAL,), first_seed=SEEDS[0])
    records = runs("", "baseline", values(0.5)) + runs(TRIAL, "confirm", values(0.5 + gain))
    begun = confirmation(config, *records, images=1000)
    assert begun.state.study is not None
    # As it is recorded when one begins.
    study = replace(begun.state.study, tags={TEST_IMAGES: "1000"})
    found = replace(begun, state=replace(begun.state, study=study))
    worth = "one of the 1,000 test images is worth 0.1 points"
    assert (f"{TRIAL}: {worth}." in confirm_report(found).trials[0].sentences) is said
    text = io.StringIO()
    print_verdicts(Console(file=text, width=200), found)
    assert (f"    {worth}\n" in text.getvalue()) is said
