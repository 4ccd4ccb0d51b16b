"""The paired rule, as tables of gains and the epochs after which trials are given up."""

import math
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import scipy
from ray.tune.schedulers import TrialScheduler

from study.records.ledger_view import TrialRecord
from study.tune.paired_stopping import LEAST, Hope, PairedRule, PairedStopping, predicted
from trainables.metrics import EpochMetrics

STOP, GO = TrialScheduler.STOP, TrialScheduler.CONTINUE

EPOCHS = 6
BASELINE = [-1.0, -0.9, -0.8, -0.7, -0.6, -0.5]

Trial = tuple[int, list[float]]
"""The epochs before a trial's noise, and its gains after each one since, to where it would end."""

USUAL: list[Trial] = [(0, [0.0, 0.0, 0.0, 0.0, 0.0, end]) for end in (0.0, 0.01, 0.02, 0.01, 0.0)]
"""From each epoch on they still gain between 0 and 0.02; the best ends 0.02 ahead."""


def most(gained: Any) -> float:
    return float(max(gained))


def ends(trials: list[Trial], rule: PairedRule, grace: int = 0) -> list[int]:
    """After how many epochs each ends, one trial after the other."""
    found = []
    for number, (begins, gains) in enumerate(trials):
        for done, gain in enumerate(gains, start=begins + 1):
            value = rule.baseline[done - 1] + gain
            if not rule.judge(f"trial-{number}", done, begins + 1 + grace, value):
                break
        found.append(done)
    return found


@pytest.mark.parametrize(
    ("trials", "grace", "expected"),
    [
        # 0.01 behind, and 0.02 to gain at most: it does not reach the best, 0.02 ahead.
        ([*USUAL, (0, [-0.01] * 6)], 0, 1),
        # It does, from where the baseline is; and from ahead.
        ([*USUAL, (0, [0.001] * 6)], 0, 6),
        ([*USUAL, (0, [0.5] * 6)], 0, 6),
        # Given up when it falls behind, not before.
        ([*USUAL, (0, [0.001, 0.001, 0.001, -0.01, 0.1, 0.1])], 0, 4),
        # Nothing is left to stop in the last epoch.
        ([*USUAL, (0, [0.001] * 5 + [-9.0])], 0, 6),
        # Not before its noise began; the first epoch with it may end it.
        ([*USUAL, (3, [-0.01] * 3)], 0, 4),
        # Grace is granted where it is asked for.
        ([*USUAL, (1, [-0.01] * 5)], 2, 4),
        # Fewer completed ones than LEAST say nothing.
        ([*USUAL[1:], (0, [-9.0] * 6)], 0, 6),
        # Nor do those that had no noise by then: four had, until the fifth has.
        ([*USUAL[1:], (3, [0.0, 0.0, 0.0]), (0, [-9.0] * 6)], 0, 4),
        # Those that ended in the midst are not among them.
        ([*USUAL[1:], (0, [0.0, 0.0, 0.0]), (0, [-9.0] * 6)], 0, 6),
        # The baseline is asked for where no trial is ahead of it: none has gained anything.
        ([*[(0, [-0.1] * 6)] * 5, (0, [-0.01] * 6)], 0, 1),
        ([*[(0, [-0.1] * 6)] * 5, (0, [0.0] * 6)], 0, 6),
    ],
)
def test_decisions(trials: list[Trial], grace: int, expected: int) -> None:
    assert ends(trials, PairedRule(BASELINE, most), grace)[-1] == expected


def test_what_is_asked_grows_with_the_best() -> None:
    """0.01 ahead all the time: hopeless as soon as one is 0.5 ahead that was so from the start."""
    leader = (0, [0.5] * 6)
    follower = (0, [0.01] * 6)
    assert ends([*USUAL, follower, leader, follower], PairedRule(BASELINE, most))[5:] == [6, 6, 1]
    # Where the baseline alone is asked for, it may go on.
    alone = PairedRule(BASELINE, most, beats_best=False)
    assert ends([*USUAL, leader, follower], alone)[5:] == [6, 6]


@pytest.mark.parametrize(("guess", "expected"), [(-math.inf, 6), (-2.0, 1)])
def test_what_is_worse_than_to_guess_counts_as_that(guess: float, expected: int) -> None:
    """A loss that exploded and came back would otherwise make everything seem possible."""
    rule = PairedRule(BASELINE, predicted(0.05), guess=guess)
    for number, (_, gains) in enumerate([*USUAL, (0, [-1e20] * 5 + [-1.5])]):
        for done, gain in enumerate(gains, start=1):
            rule.record(f"usual-{number}", done, BASELINE[done - 1] + gain)
    assert ends([(0, [-0.9] * 6)], rule) == [expected]


@pytest.mark.parametrize("level", [0.05, 0.001])
def test_the_prediction_holds_for_one_more_in_all_but_so_many_cases(level: float) -> None:
    """Of normal gains, known or not: so large a share of further ones lies above the hope."""
    draw = random.Random(0)
    upper, above, cases = predicted(level), 0, 20_000
    for _ in range(cases):
        *gained, further = (draw.gauss(0.3, 2.0) for _ in range(LEAST + 1))
        above += further > upper(gained)
    low, high = scipy.stats.binom.interval(0.9999, cases, level)
    assert low <= above <= high


def test_the_order_of_the_completed_does_not_matter() -> None:
    draw = random.Random(1)
    gained = [draw.gauss(0, 1) for _ in range(40)]
    assert len({predicted(0.001)(draw.sample(gained, 40)) for _ in range(50)}) == 1


@pytest.mark.parametrize("value", [1e308, math.nan])
def test_values_without_measure_stop_nothing(value: float) -> None:
    hope: Hope = predicted(0.05)
    rule = PairedRule([0.0] * 3, hope)
    for number in range(9):
        assert rule.judge(f"t{number}", 1, 1, -value if number % 2 else value)
        assert rule.judge(f"t{number}", 3, 1, value)
    assert rule.judge("x", 1, 1, value)


def test_the_reason_has_the_figures() -> None:
    rule = PairedRule(BASELINE, most)
    ends([*USUAL, (0, [-0.01] * 6)], rule)
    assert rule.reasons == {
        "trial-5": "-0.01 beside the baseline (more is better), and at most +0.02 still to gain by "
        "5 completed trials, do not reach +0.02, the best of them"
    }


# --- with what Tune and the ledger say ---------------------------------------------------------


def rows(losses: list[float], begins: int | None = None) -> tuple[EpochMetrics, ...]:
    return tuple(
        EpochMetrics(
            epoch, 1.0, 0.5, loss, 0.5, 1.0, 1.0, 0.01,
            noise_kind="gradient" if begins is not None and epoch >= begins else "none",
        )
        for epoch, loss in enumerate(losses)
    )  # fmt: skip


def record(key: str, losses: list[float], begins: int | None, **fields: Any) -> TrialRecord:
    history = rows(losses, begins)
    ended = "complete" if len(losses) == EPOCHS else None
    values: dict[str, Any] = {"role": "trial", "state": ended, "history": history} | fields
    return TrialRecord(
        key=key, seed=0, overrides={}, config={}, baseline="",
        first_injection_epoch=begins, **values,
    )  # fmt: skip


def scheduler(objective: str = "final_val_accuracy") -> PairedStopping:
    baseline = [replace(row, val_accuracy=0.5) for row in rows([0.7] * EPOCHS)]
    return PairedStopping(objective, baseline, guess=0.1)


def report(paired: PairedStopping, key: str, done: int, value: float, begins: int = 0) -> str:
    trial: Any = SimpleNamespace(config={"key": key}, trial_id=f"tune-{key}")
    judged_from = begins + 1 if done > begins else -1
    result = {"training_iteration": done, paired.metric: value, "judged_from": judged_from}
    # As Tune does: what ends a trial goes elsewhere.
    if done < EPOCHS:
        return paired.on_trial_result(None, trial, result)
    paired.on_trial_complete(None, trial, result)
    return STOP


def test_a_trial_is_judged_by_those_that_tune_says_are_complete() -> None:
    paired = scheduler()
    for number in range(LEAST):
        assert report(paired, "bad", 1, 0.2) == GO
        for done in range(1, EPOCHS + 1):
            report(paired, f"t{number}", done, 0.5 + number / 1000)
    # Before its noise nothing is said, and one that never had any is none of them.
    assert report(paired, "bad", 1, 0.2, begins=1) == GO
    assert report(paired, "bad", 2, 0.2, begins=1) == STOP
    assert report(paired, "good", 2, 0.6, begins=1) == GO
    assert paired.stopped == 1
    assert paired.reasons.keys() == {"bad"}


def test_one_whose_noise_never_began_is_none_of_the_completed() -> None:
    paired = scheduler()
    for number in range(LEAST):
        report(paired, f"t{number}", EPOCHS, 0.5, begins=EPOCHS)
    assert report(paired, "bad", 1, 0.0) == GO


def test_a_smaller_loss_is_better() -> None:
    paired = PairedStopping("final_val_loss", rows([0.7] * EPOCHS), guess=2.3, mode="min")
    for number in range(LEAST):
        for done in range(1, EPOCHS + 1):
            report(paired, f"t{number}", done, 0.6)
    assert report(paired, "bad", 1, 0.7) == STOP
    assert report(paired, "good", 1, 0.5) == GO


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_trial_stops_and_teaches_nothing(value: float) -> None:
    paired = scheduler()
    assert report(paired, "a", 2, value) == STOP
    assert paired.reasons == {}


def test_what_the_ledger_has_is_known_as_if_it_had_been_reported() -> None:
    """Judged after a resume as without it; what ended early, or is lost in part, says nothing."""
    draw = random.Random(2)
    baseline = rows([1.0 - 0.1 * epoch for epoch in range(EPOCHS)])
    curves = {
        f"trial-{number:04d}": [draw.gauss(1 - 0.1 * epoch, 0.01) for epoch in range(EPOCHS)]
        for number in range(8)
    }
    live, fresh = (PairedStopping("best_val_loss", baseline, guess=2.3) for _ in range(2))
    records = {}
    for number, (key, losses) in enumerate(curves.items()):
        begins, seen = number % 3, losses if number < 6 else losses[:4]
        for done in range(1, len(seen) + 1):
            report(live, key, done, min(seen[:done]), begins)
        records[key] = record(key, seen, begins, shared_epochs=begins)
    assert live.stopped == 0
    others = {
        "pruned": record("pruned", [9.0] * 4, 0, state="pruned"),
        "failed": record("failed", [9.0] * 4, 0, state="failed"),
        "never": record("never", [0.1] * EPOCHS, None),
        "damaged": record("damaged", [0.1] * EPOCHS, 0, lost_epochs=(2,)),
    }
    fresh.replay(records | others)
    for value in (0.5, 0.9, 1.0, 1.2, 2.0):
        decisions = {report(each, f"x{value}", 3, value) for each in (live, fresh)}
        assert len(decisions) == 1
    assert fresh.reasons == live.reasons
    assert set(fresh.reasons) == {"x0.9", "x1.0", "x1.2", "x2.0"}
