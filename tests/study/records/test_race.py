"""A study's race as its ledger says it is, by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest

from study.config import StudyConfig
from study.records.indistinct import tie_sentence
from study.records.ledger_view import LedgerState, TrialRecord
from study.records.race import RunSummary, planned_runs, race_of, seed_numbers
from study.records.summary import best_trial, ranked, summarise
from study.records.verdict import claims_gain, race_sentence, verdict
from study.statistics.race import by_gain, paired_spread, without_effect
from tests.support.ledgers import CONFIG, epoch
from trainables.noise_config import NoiseConfig

CLASSES = tuple("abcd")
TRAIN = CONFIG.model_copy(
    update={
        "epochs": 3,
        "noise": NoiseConfig(),
        "data": CONFIG.data.model_copy(update={"classes": CLASSES}),
    }
)
STUDY = StudyConfig(
    name="raced", train=TRAIN, objective=("final_val_accuracy",), trials=3, race_seeds=4
)
"""Three trials: two get a second seed, the winner two more of its own."""
SEEDS = seed_numbers(STUDY.model_copy(update={"race_seeds": 9}))


def run(role: str, name: str, number: int, accuracy: float, **changes: Any) -> TrialRecord:
    """A run of three epochs whose last validation accuracy is given, noisy in the last one."""
    seed = SEEDS[number]
    noisy = {} if role == "baseline" else {"noise_kind": "gradient", "noise_phase": "injecting"}
    history = [epoch(0), epoch(1), epoch(2, val_accuracy=accuracy, val_loss=1 - accuracy, **noisy)]
    fields: dict[str, Any] = {
        "key": name if role == "trial" else f"{name}-seed{seed}",
        "role": role,
        "seed": seed,
        "overrides": {"noise/magnitude_min": 0.1, "seed": seed},
        "config": TRAIN.model_dump(mode="json"),
        "baseline": f"digest{seed}",
        "history": tuple(history),
        "state": "complete",
        "first_injection_epoch": None if role == "baseline" else 2,
    }
    return TrialRecord(**{**fields, **changes})


def ledger(*records: TrialRecord) -> LedgerState:
    return LedgerState(None, {record.key: record for record in records})


SEARCHED = (
    run("baseline", "baseline", 0, 0.5),
    run("trial", "trial-0000", 0, 0.6),
    run("trial", "trial-0001", 0, 0.8),
    run("trial", "trial-0002", 0, 0.7),
)
SECOND = (
    run("baseline", "baseline", 1, 0.5),
    run("race", "trial-0001", 1, 0.4),
    run("race", "trial-0002", 1, 0.7),
)
OWN = (
    run("baseline", "baseline", 2, 0.25),
    run("race", "trial-0002", 2, 0.5),
    run("baseline", "baseline", 3, 0.5),
    run("race", "trial-0002", 3, 1.0),
)


def keys(state: LedgerState) -> list[str]:
    return [planned.key for planned in planned_runs(STUDY, state, "on_stagnation")]


def test_what_is_missing_is_planned_stage_by_stage_baselines_first() -> None:
    one, two, three = (f"-seed{seed}" for seed in SEEDS[1:4])
    assert keys(ledger(*SEARCHED)) == [f"baseline{one}", f"trial-0001{one}", f"trial-0002{one}"]
    assert keys(ledger(*SEARCHED, *SECOND[:2])) == [f"trial-0002{one}"]
    assert keys(ledger(*SEARCHED, *SECOND)) == [
        *(f"baseline{two}", f"baseline{three}", f"trial-0002{two}", f"trial-0002{three}")
    ]
    assert keys(ledger(*SEARCHED, *SECOND, *OWN)) == []
    [_, run_, _] = planned_runs(STUDY, ledger(*SEARCHED), "on_stagnation")
    assert run_.overrides == {
        "noise/policy": "on_stagnation",
        "noise/magnitude_min": 0.1,
        "seed": SEEDS[1],
    }


def test_a_baseline_that_lost_epochs_is_trained_again() -> None:
    cut = run("baseline", "baseline", 1, 0.5)
    cut = TrialRecord(**{name: getattr(cut, name) for name in cut.__dataclass_fields__} | {
        "history": cut.history[:2]})  # fmt: skip
    state = ledger(*SEARCHED, cut, *SECOND[1:])
    assert keys(state)[0] == cut.key
    race = race_of(STUDY, state)
    assert race is not None
    assert not race.complete


def test_the_summary_shows_the_seeds_after_the_last_selection() -> None:
    state = ledger(*SEARCHED, *SECOND, *OWN)
    summary = summarise(STUDY, state)
    assert summary.best == "trial-0002"
    assert [t.trial_id for t in ranked(STUDY, summary.trials)] == [
        *("trial-0002", "trial-0001", "trial-0000")
    ]
    first, second, best = summary.trials
    assert [r.paired_difference for r in best.runs] == pytest.approx([0.2, 0.2, 0.25, 0.5])
    assert (best.n, best.mean_difference) == (2, pytest.approx(0.375))
    # Student's t with one degree of freedom: 12.706 · 0.125.
    assert best.interval == pytest.approx([0.375 - 1.58828, 0.375 + 1.58828], abs=1e-4)
    assert best.ranked_by == pytest.approx(0.2)
    assert (best.place, best.stages) == (1, 2)
    assert (second.n, second.mean_difference) == (1, pytest.approx(-0.1))
    assert second.ranked_by == pytest.approx(0.1)
    assert second.interval is None
    assert (first.n, first.mean_difference, first.place) == (1, pytest.approx(0.1), None)
    # The range of the pinned baseline is that of the search's seeds.
    assert [b.seed for b in summary.baseline] == [SEEDS[0]]
    assert summary.cost.epochs_reported == 3 * (3 + 2 + 2)
    # Two degrees of freedom are too few to say what luck alone shows.
    assert (summary.race_complete, summary.yardstick) == (True, None)
    lines = verdict(STUDY, summary, best)
    assert "trial-0002 won the race: final_val_accuracy +0.3750" in lines[0]
    assert "flatters it" in lines[0]
    assert "too few seeds" in lines[1]


def test_the_yardstick_is_what_luck_shows_with_the_spread_of_the_race() -> None:
    longer = STUDY.model_copy(update={"race_seeds": 9})
    seeds, records = seed_numbers(longer), list(SEARCHED)
    state = ledger(*records)
    while missing := planned_runs(longer, state, "on_stagnation"):
        for planned in missing:
            number = seeds.index(planned.seed)
            accuracy = 0.5 if planned.role == "baseline" else 0.6 + 0.05 * (number % 2)
            found = run(planned.role, planned.name, 1, accuracy)
            fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
            fields |= {"key": planned.key, "seed": planned.seed, "baseline": f"d{planned.seed}"}
            records.append(TrialRecord(**fields))
        state = ledger(*records)
    summary = summarise(longer, state)
    assert summary.yardstick is not None
    race = race_of(longer, state)
    assert race is not None
    samples = [
        [gain[0] for gain in race.results.over(name, range(1, 9)) if gain is not None]
        for name in race.field
    ]
    spread = paired_spread(samples)
    assert spread is not None
    luck = without_effect(len(race.field), race.stages).mean * spread
    assert summary.yardstick.expected_best_without_effect == pytest.approx(luck)
    best = next(trial for trial in summary.trials if trial.trial_id == summary.best)
    assert summary.yardstick.observed == best.ranked_by
    assert verdict(longer, summary, best)[1] == summary.yardstick.sentence
    assert claims_gain(longer, summary)


def test_without_a_race_it_is_said_why_luck_is_not_known_also_where_none_is_ahead() -> None:
    alone = STUDY.model_copy(update={"race_seeds": 1})
    summary = summarise(alone, ledger(SEARCHED[0], run("trial", "trial-0000", 0, 0.4)))
    assert summary.first is not None
    assert verdict(alone, summary, summary.first) == [
        "no trial beats the baseline; luck's share is unknown: no race (--race-seeds)"
    ]


def test_a_race_that_is_not_over_claims_nothing_and_says_so() -> None:
    state = ledger(*SEARCHED, *SECOND, *OWN[:2])
    summary = summarise(STUDY, state)
    assert summary.race_complete is False
    best = next(trial for trial in summary.trials if trial.trial_id == summary.best)
    lines = verdict(STUDY, summary, best)
    assert "leads the race, which is not over" in lines[0]
    assert "the race is not over" in lines[1]
    assert not claims_gain(STUDY, summary)
    # What only waits for a stage is not emptier than what lost before it.
    waiting = summarise(STUDY, ledger(*SEARCHED)).trials
    assert [(t.n, t.stages, t.place) for t in waiting] == [(1, 0, None)] * 3


def test_a_run_that_lost_epochs_is_trained_again() -> None:
    whole = SECOND[2]
    fields = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    cut = TrialRecord(**{**fields, "history": whole.history[:2]})
    assert keys(ledger(*SEARCHED, *SECOND[:2], cut)) == [cut.key]


def test_while_it_runs_the_better_so_far_comes_first() -> None:
    state = ledger(*SEARCHED, *SECOND[:2])
    summary = summarise(STUDY, state)
    assert best_trial(STUDY, summary.trials) == "trial-0001"
    assert summary.yardstick is None
    assert summary.trials[2].place is None


def test_a_run_that_diverged_counts_as_guessing_and_is_told() -> None:
    nan = run("race", "trial-0002", 1, math.nan, state="failed", reason="diverged: train_loss ...")
    state = ledger(*SEARCHED, SECOND[0], SECOND[1], nan)
    race = race_of(STUDY, state)
    assert race is not None
    # A quarter of four classes is right by chance: 0.25 − 0.5.
    assert (race.results.gains["trial-0002"][1] or ())[0] == pytest.approx(-0.25)
    assert race.order[0] == "trial-0001"
    summary = summarise(STUDY, state)
    assert summary.trials[2].runs[1].paired_difference == pytest.approx(-0.25)
    assert "1 of its 2 runs diverged" in race_sentence(summary.trials[2], "final_val_accuracy")


def test_seeds_on_which_noise_never_began_are_told() -> None:
    idle = run("race", "trial-0002", 3, 0.5, first_injection_epoch=None)
    best = summarise(STUDY, ledger(*SEARCHED, *SECOND, *OWN[:3], idle)).trials[2]
    assert [each.without_noise for each in best.runs] == [False, False, False, True]
    assert (best.n, best.seeds_without_noise) == (2, [SEEDS[3]])
    said = race_sentence(best, "final_val_accuracy")
    assert f"never began on seed {SEEDS[3]}, where it equals its baseline" in said
    # What did not end has no noise yet, and summaries of earlier versions do not say it.
    begun = replace(idle, state="failed", reason="stopped by hand")
    assert not summarise(STUDY, ledger(*SEARCHED, *SECOND, begun)).trials[2].seeds_without_noise
    before = best.runs[3].model_dump(exclude={"without_noise"})
    assert not RunSummary.model_validate(before).without_noise


@pytest.mark.parametrize("race_seeds", [2, 3, 4, 6])
def test_a_tie_is_told_though_its_winner_has_seeds_of_its_own(race_seeds: int) -> None:
    config = STUDY.model_copy(update={"race_seeds": race_seeds})
    state = ledger(
        run("baseline", "baseline", 0, 0.5), *(run("trial", f"trial-000{n}", 0, 0.8) for n in "012")
    )
    accuracy = {"baseline": 0.5, "race": 0.8}
    while missing := planned_runs(config, state, "on_stagnation"):
        made = [
            run(planned.role, planned.name, SEEDS.index(planned.seed), accuracy[planned.role])
            for planned in missing
        ]
        state = ledger(*state.trials.values(), *made)
    said = tie_sentence(config, summarise(config, state))
    others = {2: 3, 3: 3, 4: 2, 6: 2}[race_seeds]
    assert said.startswith("trial-0000")
    assert ("and 1 more" in said) == (others == 3)
    assert said.endswith("trial-0000 comes first by its tail losses only")


def test_a_last_bit_parts_nobody() -> None:
    means = {"a": (0.35833333333333334, 0.1), "b": (0.3583333333333334, 0.0)}
    assert by_gain(means) == ["a", "b"]


def test_equal_differences_on_few_seeds_are_no_claim() -> None:
    def won(*gains: float) -> bool:
        config = STUDY.model_copy(update={"race_seeds": 1 + len(gains)})
        runs = [
            made
            for number, gain in enumerate(gains, start=1)
            for made in (
                run("baseline", "baseline", number, 0.5),
                run("race", "trial-0000", number, 0.5 + gain),
            )
        ]
        state = ledger(SEARCHED[0], run("trial", "trial-0000", 0, 0.6), *runs)
        summary = summarise(config, state)
        assert summary.race_complete
        return claims_gain(config, summary)

    assert not won(0.25, 0.25)
    assert not won(*[0.25] * 5)
    assert won(*[0.25] * 6)


def test_a_run_that_was_lost_is_not_told_as_diverged_and_keeps_from_a_claim() -> None:
    stopped = run("race", "trial-0002", 3, 1.0, state="failed", reason="stopped by hand")
    state = ledger(*SEARCHED, *SECOND, *OWN[:3], stopped)
    summary = summarise(STUDY, state)
    best = next(trial for trial in summary.trials if trial.trial_id == summary.best)
    said = race_sentence(best, "final_val_accuracy")
    assert "1 of its 4 runs failed otherwise and are left out" in said
    assert "diverged" not in said
    assert not claims_gain(STUDY, summary)


def test_a_run_that_failed_otherwise_loses() -> None:
    bug = run("race", "trial-0001", 1, 0.9, state="failed", reason="ZeroDivisionError")
    race = race_of(STUDY, ledger(*SEARCHED, SECOND[0], bug, SECOND[2]))
    assert race is not None
    assert race.results.gains["trial-0001"][1] is None
    assert race.order[0] == "trial-0002"


def test_a_seed_whose_baseline_fails_says_nothing() -> None:
    lost = run("baseline", "baseline", 1, 0.5, state="failed", reason="diverged: ...")
    race = race_of(STUDY, ledger(*SEARCHED, lost))
    assert race is not None
    assert race.order[0] == "trial-0001"
    assert {number for _, number in race.missing} == {2, 3}


def test_who_does_not_race() -> None:
    never = run("trial", "trial-0003", 0, 0.9, first_injection_epoch=None)
    stopped = run("trial", "trial-0004", 0, 0.9, state="pruned")
    race = race_of(STUDY, ledger(*SEARCHED, never, stopped))
    assert race is not None
    assert set(race.field) == {"trial-0000", "trial-0001", "trial-0002"}
    without = STUDY.model_copy(update={"race_seeds": 1})
    assert race_of(without, ledger(*SEARCHED)) is None
    summary = summarise(without, ledger(*SEARCHED))
    assert [t.n for t in summary.trials] == [1, 1, 1]
    best = next(t for t in summary.trials if t.trial_id == summary.best)
    assert "not known: no race (--race-seeds)" in verdict(without, summary, best)[-1]


def test_two_objectives_race_by_fronts() -> None:
    both = STUDY.model_copy(update={"objective": ("final_val_accuracy", "best_val_loss")})
    race = race_of(both, ledger(*SEARCHED))
    assert race is not None
    # One is best in both: it alone is on the front, and nothing selects it any more.
    assert race.field == ("trial-0001",)
    assert [number for _, number in race.missing] == [1, 2, 3]


def test_a_front_of_one_that_raced_is_best_whatever_the_others_values_are() -> None:
    both = STUDY.model_copy(update={"objective": ("final_val_accuracy", "best_val_loss")})
    seed = f"seed{SEEDS[1]}"
    state = ledger(*SEARCHED, SECOND[0], run("race", "trial-0001", 1, 0.9))
    assert f"trial-0001-{seed}" in state.trials
    summary = summarise(both, state)
    # Its differences are small numbers beside the others' values.
    assert summary.best == ["trial-0001"]
