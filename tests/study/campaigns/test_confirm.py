"""Confirmations: what is trained, how it is paired, and a real one that is killed in the middle."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from analysis.confirm.report import confirm_report
from study.campaigns.baseline import baseline_tests
from study.campaigns.confirm_plan import (
    CONTROLS,
    ConfirmConfig,
    best_trials,
    better_since,
    config_file,
    confirm_folder,
    margin_note,
    parse_seeds,
    planned_confirmation,
    run_key,
    stored_confirmation,
)
from study.campaigns.confirmation import Confirmation, load_confirmation
from study.campaigns.contrast import why_no_placebo
from study.campaigns.placebo import bursts_of, own_plan, placebo_plan
from study.campaigns.resume import resumed
from study.commands.confirm import read_confirm
from study.commands.study import main
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from tests.support.confirmations import STUDY, confirmation, runs, search
from tests.support.runs import device_data
from tests.support.study_processes import check_whole, count, study_process, wait_until
from tests.support.trained_studies import ADAPTIVE, BASE, Planned, write_confirmation, write_study
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError
from trainables.loop import train_epochs
from trainables.metrics import METRICS, OBJECTIVES, TEST_FIGURES, EpochMetrics
from trainables.noise_config import NoiseConfig
from trainables.tasks.image_task import ImageTraining

# --- the plan --------------------------------------------------------------------------------


def test_the_best_complete_trials_on_seeds_that_no_baseline_had() -> None:
    found = planned_confirmation(STUDY, search(0.6, 0.8, 0.7), ConfirmConfig(top=2), None)
    assert found.trials == ("trial-0001", "trial-0002")
    assert found.fresh_seeds == tuple(range(20_000_000, 20_000_006))
    few = planned_confirmation(STUDY, search(0.6), ConfirmConfig(top=9, seeds=2), None)
    assert (few.trials, few.fresh_seeds) == (("trial-0000",), (20_000_000, 20_000_001))
    with pytest.raises(InputError, match="nothing to confirm"):
        planned_confirmation(STUDY, search(), ConfirmConfig(), None)


def test_what_was_begun_is_kept_and_may_grow() -> None:
    begun = planned_confirmation(STUDY, search(0.6, 0.8), ConfirmConfig(top=1), None)
    # The study was extended: what has been confirmed stays beside the new best.
    extended = search(0.6, 0.8, 0.9)
    more = planned_confirmation(STUDY, extended, ConfirmConfig(top=1, seeds=8), begun)
    # Another configuration would change what the others share of the error.
    assert more.trials == ("trial-0001",)
    assert more.fresh_seeds == tuple(range(20_000_000, 20_000_008))
    assert better_since(STUDY, extended, more) == "trial-0002"
    assert better_since(STUDY, search(0.6, 0.8), more) is None
    earlier = begun.model_copy(update={"judged": "as_before"})
    grown = planned_confirmation(STUDY, extended, ConfirmConfig(top=1), earlier)
    assert grown.trials == ("trial-0001", "trial-0002")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (None, "final test accuracy within ±0.005 (2 of the 400 test images) of the baseline's"),
        (0.01, "final test accuracy within ±0.01 of the baseline's"),
        (0.001, "(2 of the 400 test images) of the baseline's, not 0.001: images tell no finer"),
    ],
)
def test_what_equivalent_will_mean_is_said(wanted: float | None, said: str) -> None:
    study = STUDY.model_copy(update={"margin": wanted})
    assert margin_note(study, 400).endswith(said)


@pytest.mark.parametrize(
    ("begun", "wanted", "message"),
    [
        ({"top": 3}, {"top": 2}, "begun as --top 3"),
        ({"top": 1}, {"top": 2}, "begun as --top 1 --seeds 6; a design is fixed"),
        ({"top": 3, "judged": "as_before"}, {"top": 2}, "begun with 3"),
        ({"seeds": 5}, {"seeds": 4}, "begun with 5"),
        ({"seeds": 9, "first_look": 3}, {"seeds": 9}, "fixed before its first look"),
        ({"seeds": 9}, {"seeds": 9, "first_look": 3}, "begun as --top 3 --seeds 9"),
        ({"seeds": 9, "first_look": 3}, {"seeds": 8, "first_look": 3}, "begun with 9"),
        ({"seeds": 9}, {"seeds": 9, "extendable": True}, "begun without"),
        ({"seeds": 9, "first_look": 3}, {"seeds": 9, "first_look": 3, "top": 4}, "--seeds 3..9"),
        (
            {"seeds": 9, "first_look": 3, "judged": "as_before"},
            {"seeds": 12, "first_look": 3},
            "--seeds 3..9",
        ),
    ],
)
def test_what_was_seen_can_not_be_taken_away(
    begun: dict[str, Any], wanted: dict[str, Any], message: str
) -> None:
    stored = planned_confirmation(STUDY, search(0.6, 0.7, 0.8), ConfirmConfig(**begun), None)
    with pytest.raises(InputError, match=message):
        planned_confirmation(STUDY, search(0.6, 0.7, 0.8), ConfirmConfig(**wanted), stored)


def test_seeds_on_the_command_line() -> None:
    assert parse_seeds("7", sequential=False) == (7, None)
    assert parse_seeds("5..20", sequential=True) == (20, 5)


@pytest.mark.parametrize(
    ("text", "sequential", "message"),
    [
        ("x", False, "a number"),
        ("5..", True, "a number"),
        ("-3", False, "a number"),
        ("5..20", False, "needs --sequential"),
        ("5", True, "give FIRST..LAST"),
        ("1..20", True, "2 <= FIRST"),
        ("9..3", True, "2 <= FIRST"),
    ],
)
def test_seeds_that_make_no_sense(text: str, sequential: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_seeds(text, sequential=sequential)


def test_baselines_come_first_then_trials_then_placebos() -> None:
    config = ConfirmConfig(seeds=2, trials=("trial-0001",), first_seed=5)
    nothing = confirmation(config)
    assert [run.key for run in nothing.missing("baseline")] == ["baseline-seed5", "baseline-seed6"]
    assert nothing.missing("confirm") == nothing.missing("placebo") == []

    # Without its baseline a trial is not trained on a seed.
    second = confirmation(config, *runs("", "baseline", {5: 0.5, 6: None}))
    (run,) = second.missing("confirm")
    assert (run.key, run.seed) == ("trial-0001-seed5", 5)
    assert apply_overrides(BASE, run.overrides).noise.policy == "on_stagnation"

    noisy = {3: 0.5, 4: 0.25, 7: 0.125}
    third = confirmation(
        config,
        *runs("", "baseline", {5: 0.5, 6: None}),
        *runs("trial-0001", "confirm", {5: 0.6}, noisy=noisy),
    )
    placebos = third.missing("placebo")
    keys = ["trial-0001-placebo-seed5", "trial-0001-placebo-2-seed5"]
    assert [run.key for run in placebos] == keys
    places = []
    for run in placebos:
        placebo = apply_overrides(BASE, run.overrides)
        assert (placebo.noise.policy, placebo.seed) == ("planned", 5)
        places.append([epoch for epoch, _, _ in placebo.noise.plan])
        assert len(places[-1]) == len(noisy)
        assert min(places[-1]) >= 3
    assert places[0] != places[1]
    assert list(noisy) not in places
    assert not third.finished
    first = [*third.state.trials.values(), *runs("trial-0001", "placebo", {5: 0.6})]
    begun = confirmation(config, *first)
    assert [run.key for run in begun.missing("placebo")] == keys[1:]
    done = confirmation(config, *first, *runs("trial-0001", "placebo", {5: 0.7}, draw=2))
    assert done.finished


def test_a_seeds_placebo_is_the_mean_of_its_draws() -> None:
    config = ConfirmConfig(seeds=2, trials=("trial-0001",), first_seed=5)
    known = [
        *runs("", "baseline", {5: 0.5, 6: 0.5}),
        *runs("trial-0001", "confirm", {5: 0.6, 6: 0.6}, noisy={5: 0.5}),
        *runs("trial-0001", "placebo", {5: 0.5, 6: 0.5}),
    ]
    begun = confirmation(config, *known, *runs("trial-0001", "placebo", {5: 0.7}, draw=2))
    sample = begun.samples("test_accuracy", "confirm", "placebo")["trial-0001"]
    # On 6 the second has not ended.
    assert (sample.seeds, sample.differences) == ((5,), (pytest.approx(0.0),))
    assert begun.value("placebo", "trial-0001", 6, "test_accuracy") is None
    lost = confirmation(config, *known, *runs("trial-0001", "placebo", {5: 0.7, 6: None}, draw=2))
    sample = lost.samples("test_accuracy", "confirm", "placebo")["trial-0001"]
    assert (sample.seeds, sample.left_out) == ((5, 6), (6,))


def test_a_confirmation_goes_on_by_the_rule_that_it_was_begun_by(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    confirm_folder(folder).path.mkdir()
    stored = {"top": 1, "seeds": 2, "trials": ["trial-0001"], "first_seed": 5, "clock": True}
    config_file(folder).write_text(json.dumps(stored))
    begun = stored_confirmation(folder)
    assert begun is not None
    assert (begun.placebo_draws, begun.placebo_rule, begun.clock) == (1, "as_recorded", True)
    more = planned_confirmation(STUDY, search(0.6, 0.7), ConfirmConfig(top=1, seeds=3), begun)
    assert (more.placebo_draws, more.placebo_rule, more.runs_a_seed) == (1, "as_recorded", 3)
    known = [
        *runs("", "baseline", {5: 0.5}),
        *runs("trial-0001", "confirm", {5: 0.6}, noisy={8: 0.5, 9: 0.25, 11: 0.125}),
    ]
    found = confirmation(more, *known)
    record = found.record("confirm", "trial-0001", 5)
    assert record is not None
    noise = NoiseConfig.model_validate(record.config["noise"])
    plan = placebo_plan(record.history, noise, 12, 5)
    assert found.plans("placebo", "trial-0001", 5) == (plan,)
    assert [item.magnitude for item in plan or ()] == [0.5, 0.25, 0.125]
    (clock,) = found.plans("clock", "trial-0001", 5)
    assert [item.magnitude for item in clock] == [0.5, 0.25, 0.125]
    new = planned_confirmation(STUDY, search(0.6, 0.7), ConfirmConfig(top=1, seeds=3), None)
    assert (new.placebo_draws, new.placebo_rule, new.runs_a_seed) == (2, "matched", 4)
    (clock,) = confirmation(
        new.model_copy(update={"trials": ("trial-0001",), "first_seed": 5}), *known
    ).plans("clock", "trial-0001", 5)
    assert [item.epoch for item in clock] == [3, 4, 6]
    assert all(now.magnitude < old for now, old in zip(clock, (0.5, 0.25, 0.125), strict=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"placebo_draws": 0}, "placebo_draws = 0: a trial has at least 1"),
        ({"placebo_draws": 2, "placebo_rule": "as_recorded"}, "has 1 only"),
    ],
)
def test_draws_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConfirmConfig(**values)


def test_a_clock_begins_at_the_warm_ups_end_and_is_the_trial_where_that_does() -> None:
    config = ConfirmConfig(seeds=3, trials=("trial-0001",), first_seed=5)
    found = confirmation(
        config,
        *runs("", "baseline", {5: 0.5, 6: 0.5, 7: 0.5}),
        *runs("trial-0001", "confirm", {5: 0.6}, noisy={5: 0.5, 6: 0.25, 9: 0.125}),
        *runs("trial-0001", "confirm", {6: 0.7}, noisy={3: 0.5, 9: 0.125}),
        *runs("trial-0001", "confirm", {7: 0.5}),
    )
    (run,) = found.missing("clock")
    assert (run.key, run.role) == ("trial-0001-clock-seed5", "clock")
    clock = apply_overrides(BASE, run.overrides).noise
    assert clock.policy == "planned"
    assert [(epoch, kind) for epoch, kind, _ in clock.plan] == [
        (3, "gradient"), (4, "gradient"), (7, "gradient"),
    ]  # fmt: skip
    # It began at the warm-up's end on 6, and never on 7.
    assert found.own_clock("trial-0001") == (6, 7)
    assert found.record("clock", "trial-0001", 6) is found.record("confirm", "trial-0001", 6)
    assert found.record("clock", "trial-0001", 5) is None
    sample = found.samples("test_accuracy", "confirm", "clock")["trial-0001"]
    assert (sample.seeds, sample.differences) == ((6, 7), (0.0, 0.0))
    # The two clocks, and the second placebo of what never injected.
    assert found.spared() == 3
    done = confirmation(
        config, *found.state.trials.values(), *runs("trial-0001", "clock", {5: 0.5})
    )
    assert done.missing("clock") == []
    sample = done.samples("test_accuracy", "confirm", "clock")["trial-0001"]
    assert sample.differences == (pytest.approx(0.1), 0.0, 0.0)


def test_a_confirmation_begun_without_clocks_stays_without(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    confirm_folder(folder).path.mkdir()
    stored = {"top": 1, "seeds": 2, "first_look": None, "trials": ["trial-0001"], "first_seed": 5}
    config_file(folder).write_text(json.dumps(stored))
    begun = stored_confirmation(folder)
    assert begun is not None
    assert not begun.clock
    more = planned_confirmation(STUDY, search(0.6, 0.7), ConfirmConfig(top=1, seeds=3), begun)
    assert (more.clock, more.controls, more.placebo_draws) == (False, ("placebo",), 1)
    config_file(folder).write_text(more.model_dump_json())
    assert stored_confirmation(folder) == more
    found = confirmation(
        more,
        *runs("", "baseline", {5: 0.5}),
        *runs("trial-0001", "confirm", {5: 0.6}, noisy={5: 0.5}),
    )
    assert len(found.missing("placebo")) == 1
    assert found.missing("clock") == []
    assert found.own_clock("trial-0001") == ()
    assert found.compared("test_accuracy", "confirm", "clock") == {}
    assert planned_confirmation(STUDY, search(0.6), ConfirmConfig(), None).clock


def test_what_never_injects_has_its_baseline_for_a_placebo_and_full_noise_has_none() -> None:
    config = ConfirmConfig(seeds=2, trials=("trial-0000", "trial-0001"), first_seed=5)
    found = confirmation(
        config,
        *runs("", "baseline", {5: 0.5, 6: 0.5}),
        *runs("trial-0000", "confirm", {5: 0.5, 6: 0.5}),
        *runs("trial-0001", "confirm", {5: 0.5, 6: 0.5}, noisy=dict.fromkeys(range(3, 12), 0.1)),
    )
    jobs = found.missing("placebo")
    assert [run.key for run in jobs] == ["trial-0000-placebo-seed5", "trial-0000-placebo-seed6"]
    assert apply_overrides(BASE, jobs[0].overrides).noise.policy == "off"
    assert why_no_placebo(found, "trial-0001").startswith("its noise fills the epochs after its")
    assert why_no_placebo(found, "trial-0000") == ""
    for role in CONTROLS:
        assert found.has_no(role, "trial-0001")
        assert not found.has_no(role, "trial-0000")
        assert list(found.compared("test_accuracy", "confirm", role)) == ["trial-0000"]
    assert found.missing("clock") == []
    # Four placebos that can't be, two that need not be drawn again, two clocks that can't be, and
    # two that are the trial.
    assert found.spared() == 10


def test_noise_that_has_its_dose_nowhere_else_has_a_clock_but_no_placebo() -> None:
    """In the last epoch of a cosine: at every other the learning rate is many times as high."""
    config = ConfirmConfig(seeds=2, trials=("trial-0001",), first_seed=5)
    found = confirmation(
        config,
        *runs("", "baseline", {5: 0.5, 6: 0.5}),
        *runs("trial-0001", "confirm", {5: 0.5, 6: 0.5}, noisy={11: 0.5}),
    )
    assert found.missing("placebo") == []
    assert [run.key for run in found.missing("clock")] == [
        f"trial-0001-clock-seed{seed}" for seed in (5, 6)
    ]
    assert why_no_placebo(found, "trial-0001").startswith("nowhere else would its noise have")
    assert found.compared("test_accuracy", "confirm", "placebo") == {}
    assert list(found.compared("test_accuracy", "confirm", "clock")) == ["trial-0001"]


# --- pairing and deciding --------------------------------------------------------------------


@pytest.mark.parametrize("decide_by", [*TEST_FIGURES])
def test_what_decides_is_chosen_and_has_the_only_verdict(decide_by: str) -> None:
    seeds = range(5, 11)
    records = runs("", "baseline", dict.fromkeys(seeds, 0.5))
    for seed, run in zip(
        seeds, runs("trial-0001", "confirm", dict.fromkeys(seeds, 0.5)), strict=True
    ):
        # Only this figure gains: accuracies by rising, losses by falling.
        gain = (0.1 if decide_by.endswith("accuracy") else -0.1) + seed / 1000
        records.append(replace(run, values={**run.values, decide_by: 0.5 + gain}))
    config = ConfirmConfig(seeds=len(seeds), trials=("trial-0001",), first_seed=5)
    found = replace(
        confirmation(config, *records), study=STUDY.model_copy(update={"decide_by": decide_by})
    )
    assert found.verdicts()["trial-0001"].better
    other = "test_loss" if decide_by != "test_loss" else "test_accuracy"
    assert found.samples(other)["trial-0001"].complete == (0.0,) * 6
    report = confirm_report(found)
    assert (report.decide_by, report.deciding) == (decide_by, decide_by)
    (trial,) = report.trials
    assert trial.against_baseline.keys() >= {*TEST_FIGURES, *OBJECTIVES}
    for metric, row in trial.against_baseline.items():
        assert (row.verdict is None, row.sentence is None) == (metric != decide_by,) * 2
        assert row.mean_difference is not None
    assert METRICS[decide_by].words + " beside the baseline: better" in trial.sentences[0]
    varies = "of the weights with the best validation accuracy: it varies more between seeds"
    assert any(varies in note for note in report.notes) == (not decide_by.startswith("final"))
    assert "before --decide-by" not in "".join(report.notes)


def test_a_study_recorded_before_the_choice_decides_by_the_best_weights(tmp_path: Path) -> None:
    write_study(tmp_path, "old", trials=(Planned(ADAPTIVE),), seeds=1)
    folder = StudyFolder.of(tmp_path, "old")
    values = json.loads(folder.config.read_text())
    del values["decide_by"], values["margin"]
    folder.config.write_text(json.dumps(values))
    write_confirmation(folder, "trial-0000", (5, 6), (0.1, 0.2))
    found = load_confirmation(tmp_path, "old")
    assert (found.decide_by, found.study.margin) == ("test_accuracy", None)
    # What is there of the final weights stays no verdict.
    assert found.verdicts()["trial-0000"].n == 2
    assert found.samples(found.decide_by)["trial-0000"].complete == pytest.approx((0.1, 0.2))
    # It goes on with what it has: another choice is another study.
    with pytest.raises(InputError, match="decide_by = 'final_test_loss', stored: 'test_accuracy'"):
        resumed(tmp_path, "old", {"decide_by": "final_test_loss"})
    with pytest.raises(InputError, match=r"margin = 0\.01, stored: None"):
        resumed(tmp_path, "old", {"margin": 0.01})


def test_baselines_recorded_without_final_figures_lend_what_they_have() -> None:
    (old,) = runs("", "baseline", {5: 0.5})
    (new,) = runs("", "baseline", {6: 0.5})
    (none,) = runs("", "baseline", {7: 0.5})
    two = {"test_accuracy": 0.5, "test_loss": 0.5}
    records = [replace(old, values=two), new, replace(none, values={"best_val_loss": 0.5})]
    state = LedgerState(None, {record.key: record for record in records})
    assert baseline_tests(state) == {
        old.baseline: two,
        new.baseline: dict.fromkeys(TEST_FIGURES, 0.5),
    }


def test_runs_are_paired_by_seed_and_failures_left_out() -> None:
    config = ConfirmConfig(seeds=4, trials=("trial-0000",), first_seed=3)
    found = confirmation(
        config,
        *runs("", "baseline", {3: 0.5, 4: 0.6, 5: None, 6: 0.5}),
        *runs("trial-0000", "confirm", {3: 0.6, 4: None}),
    )
    sample = found.samples("test_accuracy")["trial-0000"]
    # Seed 6 has not ended; on 5 there will be none, for want of a baseline.
    assert sample.seeds == (3, 4, 5)
    assert sample.left_out == (4, 5)
    assert sample.complete == pytest.approx((0.1,))


def test_a_value_that_is_no_number_is_no_value() -> None:
    config = ConfirmConfig(seeds=2, trials=("trial-0000",), first_seed=3)
    found = confirmation(
        config,
        *runs("", "baseline", {3: 0.5, 4: 0.5}),
        *runs("trial-0000", "confirm", {3: 0.6, 4: math.inf}),
    )
    assert found.samples("test_loss")["trial-0000"].left_out == (4,)


def test_a_sequential_design_adds_seeds_for_what_is_undecided_only() -> None:
    config = ConfirmConfig(
        seeds=12, first_look=6, trials=("trial-0000", "trial-0001"), first_seed=3
    )
    seeds = range(3, 9)
    assert {len(s) for s in confirmation(config).wanted_seeds().values()} == {6}
    clear = {seed: 0.8 + 0.0001 * seed for seed in seeds}
    unclear = {seed: 0.55 + 0.1 * (-1) ** seed for seed in seeds}
    found = confirmation(
        config,
        *runs("", "baseline", dict.fromkeys(seeds, 0.5)),
        *runs("trial-0000", "confirm", clear),
        *runs("trial-0001", "confirm", unclear),
    )
    wanted = found.wanted_seeds()
    assert (len(wanted["trial-0000"]), len(wanted["trial-0001"])) == (6, 9)
    assert [run.key for run in found.missing("baseline")] == [
        f"baseline-seed{n}" for n in (9, 10, 11)
    ]
    verdicts = found.verdicts()
    assert verdicts["trial-0000"].better
    assert verdicts["trial-0000"].decided_at == 6
    assert verdicts["trial-0001"].short == "undecided, not all planned seeds are in"


# --- the command -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search: one trial that injects, one that never does, one stopped early, and one
    that is stuck from the start by its settings."""
    folder = tmp_path_factory.mktemp("confirmed")
    injects = {**ADAPTIVE, "noise/signals": "grad_norm_plateau", "noise/cooldown_min": 3}
    never = {
        **ADAPTIVE, "noise/signals": "low_weight_update", "noise/weight_update_threshold": 1e-12,
    }  # fmt: skip
    write_study(
        folder,
        "small",
        trials=(
            Planned({**injects, "noise/magnitude_min": 2.0, "noise/schedule": "cosine"}),
            Planned(never),
            Planned({**injects, "noise/magnitude_min": 3.0}, "pruned", 10, "stopped early"),
            Planned({**never, "noise/magnitude_min": 0.5, "noise/weight_update_threshold": 1e9}),
        ),
        max_concurrent=2,
    )
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smal"], "did you mean 'small'"),
        (["small", "--top", "0"], "--top) = 0"),
        (["small", "--seeds", "1"], "at least 2"),
        (["small", "--seeds", "3..9"], "needs --sequential"),
        (["small", "--sequential", "--seeds", "4"], "e.g. 4..16"),
        (["small", "--tops", "2"], "did you mean --top"),
        (["small", "--no-futility"], "--no-futility: only with --sequential"),
        (["small", "--extendabel"], "did you mean --extendable"),
        (["small", "--extendable", "--seeds", "1"], "at least 2"),
        (["small", "--max-concurrent", "0"], "greater than or equal to 1"),
    ],
)
def test_mistakes_are_answered_before_anything_starts(
    storage: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["confirm", *words, "--storage", str(storage)]) == 2
    assert message in capsys.readouterr().err
    assert not confirm_folder(StudyFolder.of(storage, "small")).path.exists()


def test_the_defaults_of_the_command(storage: Path) -> None:
    study, confirm = read_confirm(["small", "--storage", str(storage)])
    assert (study.name, study.max_concurrent) == ("small", 2)
    assert (confirm.top, confirm.seeds, confirm.first_look) == (3, 6, None)
    assert (confirm.extendable, confirm.futility, confirm.judged) == (False, True, "by_answers")
    _, sequential = read_confirm(["small", "--storage", str(storage), "--sequential"])
    assert (sequential.seeds, sequential.first_look) == (20, 6)
    more = ["small", "--storage", str(storage), "--sequential", "--extendable", "--no-futility"]
    _, changed = read_confirm(more)
    assert (changed.extendable, changed.futility) == (True, False)


def test_without_a_number_a_confirmation_goes_on_with_the_seeds_it_was_begun_with(
    tmp_path: Path,
) -> None:
    write_study(tmp_path, "old", trials=(Planned(ADAPTIVE),), seeds=1)
    folder, words = StudyFolder.of(tmp_path, "old"), ["old", "--storage", str(tmp_path)]
    confirm_folder(folder).path.mkdir()
    # By an earlier version, which had five.
    begun = {"top": 3, "seeds": 5, "first_look": None, "trials": ["trial-0000"], "first_seed": 5}
    config_file(folder).write_text(json.dumps(begun))
    assert read_confirm(words)[1].seeds == 5
    assert read_confirm([*words, "--seeds", "7"])[1].seeds == 7
    config_file(folder).write_text(json.dumps({**begun, "seeds": 20, "first_look": 5}))
    _, sequential = read_confirm([*words, "--sequential"])
    assert (sequential.seeds, sequential.first_look) == (20, 5)


def test_a_study_that_is_not_confirmed_says_what_to_do(storage: Path) -> None:
    with pytest.raises(InputError, match="noise-study confirm small"):
        load_confirmation(storage, "small")


@pytest.fixture(scope="module")
def confirmed(storage: Path) -> Confirmation:
    """Confirmed on three seeds, killed among the trials and again among the controls."""
    words = ["confirm", "small", "--storage", str(storage), "--top", "3", "--seeds", "3"]
    folder = StudyFolder.of(storage, "small")
    before = folder.ledger.read_bytes()
    ledger = confirm_folder(folder).ledger
    with study_process(words) as process:
        # Both of the first trials' runs, or one and a half.
        wait_until(lambda: count(ledger, '"role":"confirm"') >= 2, process)
    assert not load_confirmation(storage, "small").finished
    with study_process(words) as process:
        wait_until(lambda: count(ledger, '"role":"clock"') >= 1, process)
    assert not load_confirmation(storage, "small").finished
    with study_process(words) as process:
        out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert "noise-analysis confirm small" in out
    found = load_confirmation(storage, "small")
    for trial, judged in found.verdicts().items():
        assert f"{trial} {judged.sentence}" in out
        assert found.pairing_gain(trial).sentence() in out
    assert folder.ledger.read_bytes() == before
    check_whole(folder.path, confirmation_alone=True)
    return load_confirmation(storage, "small")


def alone(config: TrainConfig) -> tuple[list[EpochMetrics], dict[str, float]]:
    """The same run trained by the loop alone, and its figures on the test set."""
    training = ImageTraining(config, device_data(config))
    history = list(train_epochs(training))
    found = training.evaluate_best("test")
    final = training.evaluate("test", per_class=False)
    return history, {
        "test_accuracy": found.accuracy,
        "test_loss": found.loss,
        "final_test_accuracy": final.accuracy,
        "final_test_loss": final.loss,
    }


@pytest.mark.slow
def test_each_run_is_what_the_loop_alone_gives_and_so_are_its_test_figures(
    confirmed: Confirmation,
) -> None:
    assert confirmed.finished
    assert confirmed.config.fresh_seeds == (20_000_000, 20_000_001, 20_000_002)
    order = tuple(t.trial_id for t in best_trials(confirmed.study, confirmed.search))
    assert set(confirmed.config.trials) == set(order) == {"trial-0000", "trial-0001", "trial-0003"}
    assert {r.state for r in confirmed.state.trials.values()} == {"complete"}
    seeds = confirmed.config.fresh_seeds
    clocks = {record.key for record in confirmed.state.by_role("clock")}
    own = {t: confirmed.own_clock(t) for t in confirmed.config.trials}
    assert own == {"trial-0000": (), "trial-0001": seeds, "trial-0003": seeds}
    assert clocks == {run_key("clock", "trial-0000", seed) for seed in seeds}
    placebos = {
        f"{trial}-placebo{draw}-seed{seed}"
        for seed in seeds
        for trial, draws in (("trial-0000", 2), ("trial-0001", 1), ("trial-0003", 2))
        for draw in ("", "-2")[:draws]
    }
    assert {record.key for record in confirmed.state.by_role("placebo")} == placebos
    assert len(confirmed.state.trials) == 3 * (1 + 3) + len(placebos) + len(clocks)
    for role, trial in (
        ("baseline", ""),
        ("confirm", "trial-0000"),
        ("placebo", "trial-0000"),
        ("clock", "trial-0000"),
    ):
        run = confirmed.record(role, trial, seeds[1])  # type: ignore[arg-type]
        assert run is not None
        history, test = alone(TrainConfig.model_validate(run.config))
        assert [r.val_loss for r in run.history] == [r.val_loss for r in history]
        assert {name: run.values[name] for name in test} == test


@pytest.mark.slow
def test_a_placebo_has_its_trials_noise_at_other_epochs(confirmed: Confirmation) -> None:
    for seed in confirmed.config.fresh_seeds:
        trial = confirmed.record("confirm", "trial-0000", seed)
        baseline = confirmed.record("baseline", "", seed)
        assert trial is not None
        assert baseline is not None
        placebos = confirmed.records("placebo", "trial-0000", seed)
        for placebo, plan in zip(
            placebos, confirmed.plans("placebo", "trial-0000", seed), strict=True
        ):
            assert placebo is not None
            mine, its = bursts_of(trial.history), bursts_of(placebo.history)
            assert mine
            assert own_plan(placebo.history) == plan
            assert [len(run) for run in mine] == [len(run) for run in its]
            assert [run.start for run in mine] != [run.start for run in its]
            first = its[0].start
            assert placebo.shared_epochs == first >= 3
            assert [r.val_loss for r in placebo.history[:first]] == [
                r.val_loss for r in baseline.history[:first]
            ]


@pytest.mark.slow
def test_a_clock_has_its_trials_noise_from_the_warm_ups_end_on(confirmed: Confirmation) -> None:
    for seed in confirmed.config.fresh_seeds:
        trial = confirmed.record("confirm", "trial-0000", seed)
        clock = confirmed.record("clock", "trial-0000", seed)
        assert trial is not None
        assert clock is not None
        mine, its = bursts_of(trial.history), bursts_of(clock.history)
        assert [len(burst) for burst in mine] == [len(burst) for burst in its]
        assert its[0].start == clock.shared_epochs == 3
        assert {one.start - other.start for one, other in zip(mine, its, strict=True)} == {
            mine[0].start - 3
        }


@pytest.mark.slow
def test_a_trial_that_is_its_own_clock_would_have_been_trained_the_same(
    confirmed: Confirmation,
) -> None:
    trial = confirmed.record("confirm", "trial-0003", confirmed.config.fresh_seeds[1])
    assert trial is not None
    planned = {"policy": "planned", "plan": own_plan(trial.history)}
    clock = TrainConfig.model_validate(
        {**trial.config, "noise": {**trial.config["noise"], **planned}}
    )
    history, test = alone(clock)
    assert bursts_of(history)[0].start == 3
    assert [r.val_loss for r in history] == [r.val_loss for r in trial.history]
    assert {name: trial.values[name] for name in test} == test
    sample = confirmed.samples("test_accuracy", "confirm", "clock")["trial-0003"]
    assert sample.differences == (0.0, 0.0, 0.0)


@pytest.mark.slow
def test_what_never_injects_has_the_baselines_figures_untrained(confirmed: Confirmation) -> None:
    for role in ("confirm", "placebo"):
        for seed in confirmed.config.fresh_seeds:
            run = confirmed.record(role, "trial-0001", seed)  # type: ignore[arg-type]
            baseline = confirmed.record("baseline", "", seed)
            assert run is not None
            assert baseline is not None
            assert run.epochs_trained == 0
            assert run.values == baseline.values
    assert confirmed.samples("test_accuracy")["trial-0001"].complete == (0.0, 0.0, 0.0)


@pytest.mark.slow
def test_mlflow_has_every_run_once_with_its_test_figures(
    confirmed: Confirmation, storage: Path
) -> None:
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("small-confirm")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    by_trial = {run.data.tags.get("trial_id", ""): run for run in found}
    assert len(by_trial) == len(found) == 1 + len(confirmed.state.trials)
    assert by_trial[""].data.tags["confirms"] == "small"
    assert by_trial[""].data.tags["status"] == "complete"
    for key, record_ in confirmed.state.trials.items():
        run = by_trial[key]
        assert run.info.status == "FINISHED"
        assert run.data.tags["role"] == record_.role
        for name in TEST_FIGURES:
            assert run.data.metrics[name] == record_.values[name]


@pytest.mark.slow
def test_the_same_command_once_more_trains_nothing(
    confirmed: Confirmation, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["confirm", "small", "--storage", str(storage), "--top", "3", "--seeds", "3"]
    assert main(words) == 0
    assert "complete already" in capsys.readouterr().out
    again = read_ledger(confirm_folder(confirmed.folder).ledger)
    assert again.trials == confirmed.state.trials


@pytest.mark.slow
def test_the_analysis_gives_the_verdict_with_its_reasons(
    confirmed: Confirmation, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from analysis.commands.analysis import main as analyse

    assert analyse(["confirm", "small", "--storage", str(storage)]) == 0
    out = capsys.readouterr().out
    assert "trial-0000, final test accuracy beside the baseline: undecided: " in out
    values = json.loads((confirmed.folder.path / "confirm.json").read_text())
    assert values["finished"] is True
    (first,) = [trial for trial in values["trials"] if trial["trial"] == "trial-0000"]
    expected = confirmed.samples("final_test_accuracy")["trial-0000"]
    found = first["against_baseline"]["final_test_accuracy"]
    assert tuple(found["differences"].values()) == expected.differences
    assert found["n"] == 3
    assert found["wilcoxon_can_reject"] is False
    assert (values["decide_by"], values["judged"]) == ("final_test_accuracy", "by_answers")
    # Two of the 451 test images are more than 0.003.
    assert values["margin"] == confirmed.config.margin == 2 / 451
    words = {trial["trial"]: (trial["verdict"], trial["reason"]) for trial in values["trials"]}
    assert words["trial-0001"] == ("equivalent", "the noise never began")
    assert first["verdict"] in ("undecided", "worse")
    assert (first["n"], first["interval"]) == (3, found["t_interval"])
    assert first["mean_difference"] == found["mean_difference"]
    assert (first["collapsed"], first["seeds_without_noise"]) == ([], [])
    assert first["placebo"].keys() >= {"draws", "dose_ratio", "overlap", "sentence"}
    (never,) = [trial for trial in values["trials"] if trial["trial"] == "trial-0001"]
    assert never["seeds_without_noise"] == list(confirmed.config.fresh_seeds)
    assert never["placebo"] is None
    gains = [trial["pairing_gain"] for trial in values["trials"]]
    assert values["pairing_gain"] in gains
    assert all(gain["sentence"] in out for gain in gains)
    assert [trial["own_clock"] for trial in values["trials"] if trial is not first] == [
        list(confirmed.config.fresh_seeds)
    ] * 2
    assert first["own_clock"] == []
    assert "trial-0000 beside its clock, the same noise from the end of the warm-up on:" in out
    assert "was begun without clocks" not in out
    assert "cannot reject" in (confirmed.folder.path / "confirm.md").read_text()
