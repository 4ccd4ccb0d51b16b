"""Early stopping, as tables of reports and expected decisions."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler

from study.records.ledger_view import TrialRecord
from study.tune.early_stopping import ForkAwareASHA, Rungs, WarmWorkers, milestones
from trainables.metrics import EpochMetrics

PATIENT = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no defect of the code."""

STOP, GO = TrialScheduler.STOP, TrialScheduler.CONTINUE


@pytest.mark.parametrize(
    ("first", "epochs", "factor", "expected"),
    [
        (6, 30, 3, (6, 9, 12, 18, 26)),
        (1, 10, 3, (1, 2, 3, 4, 6, 9)),
        (3, 20, 2, (3, 4, 5, 6, 8, 10, 12, 15, 19)),
        (0, 2, 3, (1,)),
        (20, 20, 3, ()),
        (25, 20, 3, ()),
    ],
)
def test_milestones(first: int, epochs: int, factor: float, expected: tuple[int, ...]) -> None:
    assert milestones(first, epochs, factor) == expected


@PATIENT
@given(first=st.integers(1, 200), epochs=st.integers(1, 400), factor=st.floats(1.5, 6))
def test_milestones_rise_within_the_budget(first: int, epochs: int, factor: float) -> None:
    found = milestones(first, epochs, factor)
    assert list(found) == sorted(set(found))
    assert all(first <= milestone < epochs for milestone in found)
    assert bool(found) == (first < epochs)


# Rungs 4, 6 and 9 of 12 epochs: 4/6, 6/9 and 9/12 of the values may go on.
RUNGS = ((4, 6, 9), 12)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        # The first three at a rung go on, of four the worst does not: ceil(4 * 4/6) = 3.
        ([("a", 4, 0, 0.5), ("b", 4, 0, 0.4), ("c", 4, 0, 0.6)], [1, 1, 1]),
        ([("a", 4, 0, 0.5), ("b", 4, 0, 0.4), ("c", 4, 0, 0.6), ("d", 4, 0, 0.3)], [1, 1, 1, 0]),
        ([("a", 4, 0, 0.5), ("b", 4, 0, 0.4), ("c", 4, 0, 0.6), ("d", 4, 0, 0.45)], [1, 1, 1, 1]),
        # Equal values never stop each other.
        ([(key, 4, 0, 0.5) for key in "abcdefgh"], [1] * 8),
        # Nothing is judged before the first rung, nor twice at one.
        ([("a", 3, 0, 0.1), ("a", 4, 0, 0.2), ("a", 4, 0, 0.0), ("a", 5, 0, 0.0)], [1, 1, 1, 1]),
        # A trial whose noise has just begun is left alone, however bad.
        (
            [*((key, 6, 0, 0.9) for key in "abcde"), ("f", 6, 7, 0.1), ("f", 8, 7, 0.1)],
            [1] * 7,
        ),
        # It is judged at the first rung from there on; its first report there is no third chance.
        (
            [*((key, 9, 0, 0.9) for key in "abcde"), ("f", 8, 7, 0.1), ("f", 9, 7, 0.1)],
            [1, 1, 1, 1, 1, 1, 0],
        ),
        # Judged from a rung's very epoch on.
        ([*((key, 6, 0, 0.9) for key in "abcde"), ("f", 6, 6, 0.1)], [1, 1, 1, 1, 1, 0]),
        # A first report between two rungs counts at the lower one only, not at all below.
        ([*((key, 4, 0, 0.9) for key in "abcde"), ("f", 7, 0, 0.1)], [1] * 6),
    ],
)
def test_decisions(reports: list[tuple[str, int, int, float]], expected: list[int]) -> None:
    rungs = Rungs(*RUNGS)
    assert [rungs.judge(*report) for report in reports] == [bool(e) for e in expected]


def test_the_best_is_never_stopped() -> None:
    rungs = Rungs(*RUNGS)
    for number in range(50):
        assert rungs.judge(f"t{number}", 6, 0, float(number))


def test_the_share_that_goes_on() -> None:
    """Of many values in random order about milestone / next go on: here two thirds."""
    import random

    values = [i / 3000 for i in range(3000)]
    random.Random(0).shuffle(values)
    rungs = Rungs(*RUNGS)
    going_on = sum(rungs.judge(str(i), 4, 0, value) for i, value in enumerate(values))
    assert going_on / 3000 == pytest.approx(2 / 3, abs=0.02)


def scheduler(objective: str = "best_val_accuracy") -> ForkAwareASHA:
    # Rungs 4, 6, 8 of 12: of n values, ceil(n * 4/6), ceil(n * 6/8) and ceil(n * 8/12) go on.
    return ForkAwareASHA(objective, epochs=12, grace_period=4, reduction_factor=3)


def report(
    asha: ForkAwareASHA, key: str, epochs_done: int, judged_from: int | None, value: float
) -> str:
    trial: Any = SimpleNamespace(config={"key": key}, trial_id=f"tune-{key}")
    result = {"training_iteration": epochs_done, asha.metric: value, "judged_from": judged_from}
    return asha.on_trial_result(None, trial, result)


@pytest.mark.parametrize("judged_from", [None, -1])
def test_before_its_noise_a_trial_is_not_judged(judged_from: int | None) -> None:
    asha = scheduler()
    for key in "abcd":
        assert report(asha, key, 4, 3, 0.9) == GO
    assert report(asha, "e", 4, judged_from, 0.1) == GO
    assert report(asha, "f", 4, 3, 0.1) == STOP
    assert asha.stopped == 1
    assert "e" not in asha.rungs.recorded[4]


def test_a_smaller_loss_is_better() -> None:
    asha = scheduler("best_val_loss")
    for key in "abcd":
        assert report(asha, key, 4, 3, 0.1) == GO
    assert report(asha, "e", 4, 3, 0.9) == STOP
    assert report(asha, "f", 4, 3, 0.01) == GO


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_stops_at_once(value: float) -> None:
    asha = scheduler()
    assert report(asha, "a", 1, -1, value) == STOP
    assert asha.rungs.recorded == {}


def test_a_diverged_trial_stops_whatever_its_best_value() -> None:
    asha = scheduler()
    trial: Any = SimpleNamespace(config={"key": "a"}, trial_id="1")
    result = {"training_iteration": 2, "best_val_accuracy": 0.9, "diverged": "train_loss is nan"}
    assert asha.on_trial_result(None, trial, result) == STOP


def test_completion_forgets_nothing_and_records_nothing() -> None:
    asha = scheduler()
    trial: Any = SimpleNamespace(config={"key": "a"}, trial_id="1")
    assert report(asha, "a", 4, 3, 0.5) == GO
    before = {rung: dict(values) for rung, values in asha.rungs.recorded.items()}
    asha.on_trial_complete(None, trial, {"training_iteration": 6, "best_val_accuracy": 0.1})
    asha.on_trial_error(None, trial)
    asha.on_trial_remove(None, trial)
    assert asha.rungs.recorded == before


@pytest.mark.parametrize(
    ("states", "chosen"),
    [
        ([], None),
        (["RUNNING", "TERMINATED"], None),
        (["PENDING"], 0),
        # A worker is being started for the one that waits longer.
        (["RUNNING", "PENDING", "PENDING", "RUNNING"], 2),
        # One that was cut off has waited for its turn already.
        (["PENDING", "PENDING again", "PENDING again", "PENDING"], 1),
        (["PENDING", "RUNNING again"], 0),
    ],
)
def test_who_gets_a_worker(states: list[str], chosen: int | None) -> None:
    trials: list[Any] = [
        SimpleNamespace(
            status=state.split()[0],
            last_result={"training_iteration": 3} if "again" in state else {"trial_id": "x"},
        )
        for state in states
    ]
    controller = SimpleNamespace(get_trials=lambda: trials)
    expected = None if chosen is None else trials[chosen]
    assert WarmWorkers().choose_trial_to_run(controller) is expected
    assert scheduler().choose_trial_to_run(controller) is expected


def record(
    key: str, accuracies: list[float], *, fork: int | None, shared: int = 0, role: str = "trial"
) -> TrialRecord:
    rows = tuple(
        EpochMetrics(
            epoch, 1.0, 0.5, 1.0, accuracy, 1.0, 1.0, 0.01,
            noise_kind="gradient" if fork is not None and epoch >= fork else "none",
        )
        for epoch, accuracy in enumerate(accuracies)
    )  # fmt: skip
    return TrialRecord(
        key=key,
        role=role,
        seed=0,
        overrides={},
        config={},
        baseline="",
        history=rows,
        shared_epochs=shared,
        first_injection_epoch=fork if fork is not None and fork < len(rows) else None,
    )


CURVES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=1, max_size=12),
        st.none() | st.integers(0, 11),
    ),
    min_size=1,
    max_size=8,
)


@PATIENT
@given(curves=CURVES, grace=st.integers(0, 4))
def test_replay_fills_the_rungs_as_they_were(
    curves: list[tuple[list[float], int | None]], grace: int
) -> None:
    live = scheduler()
    records = {}
    for number, (accuracies, fork) in enumerate(curves):
        key = f"trial-{number:04d}"
        best = 0.0
        seen: list[float] = []
        for epoch, accuracy in enumerate(accuracies):
            best = max(best, accuracy)
            seen.append(accuracy)
            # A forked trial first reports after its fork; what it shares tells the rungs nothing.
            judged_from = -1 if fork is None or epoch < fork else fork + 1 + grace
            if report(live, key, epoch + 1, judged_from, best) == STOP:
                break
        records[key] = record(key, seen, fork=fork, shared=min(fork or 0, len(seen)))
    fresh = scheduler()
    fresh.replay(records, grace)
    assert fresh.rungs.recorded == live.rungs.recorded


def test_replay_leaves_baselines_and_other_roles_out() -> None:
    asha = scheduler()
    accuracies = [0.5] * 12
    records = {
        "baseline-seed0": record("baseline-seed0", accuracies, fork=None, role="baseline"),
        "other": record("other", accuracies, fork=0, role="confirmation"),
        "trial-0000": record("trial-0000", accuracies, fork=2, shared=2),
    }
    asha.replay(records, grace=1)
    assert asha.rungs.recorded == {
        milestone: {"trial-0000": 0.5} for milestone in asha.rungs.milestones
    }
