"""The signals: tables of short sequences with the expected reading worked out by hand."""

import math
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.metrics import EpochMetrics
from trainables.noise.signals import (
    SIGNALS,
    count_without_best,
    evaluate_signals,
    grad_norm_plateau,
    listening,
    low_weight_update,
    overfitting,
    severity_signals,
    stuck,
    val_loss_plateau,
)
from trainables.noise_config import NoiseConfig

NAN, INF = math.nan, math.inf
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=5e-324, allow_infinity=False)


def healthy(epochs: int) -> list[EpochMetrics]:
    """Training that raises nothing: everything falls, by a lot, and the weights move."""
    return [
        EpochMetrics(e, 1000.0 - e, 0.5, 500.0 - e, 0.5, 0.5**e, 1.0, 0.1) for e in range(epochs)
    ]


def evaluated(noise: NoiseConfig, history: list[EpochMetrics]) -> dict[str, bool]:
    """Name → raised, before the epoch that follows ``history``."""
    count, best = 0, INF
    for row in history:
        count, best = count_without_best(count, best, row.train_loss)
    readings = evaluate_signals(noise, history, len(history), count)
    return {reading.name: reading.raised for reading in readings}


@pytest.mark.parametrize(
    ("norms", "threshold", "value", "raised"),
    [
        ([2.0, 9.0, 1.0], 0.25, 0.5, False),  # (2 − 1)/2 = 0.5: fell by half
        ([2.0, 0.1, 2.0], 0.25, 0.0, True),  # only the ends count
        ([2.0, 2.0, 3.0], 0.25, -0.5, True),  # a rising norm counts
        ([4.0, 3.5, 3.0], 0.25, 0.25, False),  # (4 − 3)/4 is not below 0.25
        ([4.0, 3.5, 3.25], 0.25, 0.1875, True),
        ([4.0, 0.0], 1.5, 1.0, True),  # a threshold above 1 is always met
        ([1e-9, 1e-9], 0.25, None, False),  # vanishing at the start: not evaluated
        ([2e-9, 2e-9], 0.25, 0.0, True),
        ([0.0, 1.0], 0.25, None, False),
        ([NAN, 1.0, 1.0], 0.25, None, False),
        ([1.0, NAN, 1.0], 0.25, None, False),  # inside the window as well
        ([1.0, INF, 1.0], 0.25, None, False),
        ([1.0, 1.0, INF], 0.25, None, False),
        ([INF, 1.0, 1.0], 0.25, None, False),
    ],
)
def test_grad_norm_plateau(norms, threshold, value, raised):
    reading = grad_norm_plateau(norms, threshold)
    assert (reading.value, reading.raised) == (value, raised)
    assert (reading.name, reading.threshold) == ("grad_norm_plateau", threshold)


@pytest.mark.parametrize(
    ("norms", "threshold", "value", "raised"),
    [
        ([1.0, 2.0, 3.0], 2.5, 2.0, True),  # mean 2
        ([1.0, 2.0, 3.0], 2.0, 2.0, False),  # 2 is not below 2
        ([0.1] * 7, 0.1, 0.1, False),  # no rounding of the mean below equal norms
        ([0.7] * 3, 0.7, 0.7, False),
        ([1e308] * 5, 1.0, 1e308, False),  # the sum overflows, the mean does not
        ([sys.float_info.max] * 3, 1.0, sys.float_info.max, False),
        ([0.0, NAN, 0.0], 1.0, None, False),
        ([0.0, -INF], 1.0, None, False),
    ],
)
def test_low_weight_update(norms, threshold, value, raised):
    reading = low_weight_update(norms, threshold)
    assert (reading.value, reading.raised) == (value, raised)


@pytest.mark.parametrize(
    ("losses", "delta", "value", "raised"),
    [
        ([3.0, 9.0, 2.0], 0.5, 1.0, False),
        ([3.0, 0.0, 3.0], 0.5, 0.0, True),
        ([3.0, 2.5], 0.5, 0.5, False),  # a fall of exactly δ is progress
        ([3.0, 4.0], 0.5, -1.0, True),
        ([1.0, NAN, 1.0], 0.5, None, False),
        ([1.0, 1.0, INF], 0.5, None, False),
    ],
)
def test_val_loss_plateau(losses, delta, value, raised):
    reading = val_loss_plateau(losses, delta)
    assert (reading.value, reading.raised) == (value, raised)


def test_differences_that_overflow_stay_finite():
    assert val_loss_plateau([-1e308, 1.7e308], 1.0).raised
    assert math.isfinite(val_loss_plateau([-1e308, 1.7e308], 1.0).value)
    assert math.isfinite(grad_norm_plateau([1e-8, 1.7e308], 1.0).value)


@pytest.mark.parametrize(
    ("losses", "counts"),
    [
        ([5.0, 4.0, 4.0, 4.5, 3.0, 3.0], [0, 0, 1, 2, 0, 1]),  # equal is no new best
        ([1.0, NAN, 2.0, 0.5], [0, 1, 2, 0]),  # a non-finite loss is no best and no reset
        ([1.0, -INF, 0.5], [0, 1, 0]),
        ([NAN, 1.0, 1.0], [1, 0, 1]),
    ],
)
def test_count_without_best(losses, counts):
    count, best, seen = 0, INF, []
    for loss in losses:
        count, best = count_without_best(count, best, loss)
        seen.append(count)
    assert seen == counts


@pytest.mark.parametrize(
    ("count", "last", "patience", "raised"),
    [
        (2, 1.0, 2, False),  # more than patience, not as many
        (3, 1.0, 2, True),
        (0, 1.0, 0, False),
        (1, 1.0, 0, True),
        (9, NAN, 2, False),
        (9, INF, 2, False),
    ],
)
def test_stuck(count, last, patience, raised):
    assert stuck(count, last, patience).raised is raised


@pytest.mark.parametrize(
    ("val", "train", "raised"),
    [
        ([1.0, 1.2, 1.4, 1.6], [1.0, 0.8, 0.6, 0.4], True),
        ([1.0, 1.2, 1.2, 1.6], [1.0, 0.8, 0.6, 0.4], False),  # one change is no rise
        ([1.0, 1.2, 1.4, 1.6], [1.0, 0.8, 0.9, 0.4], False),  # one change is no fall
        ([1.0, 1.2, 1.0, 1.6], [1.0, 0.8, 0.6, 0.4], False),  # the ends do not suffice
        ([1.0, 1.125], [1.0, 0.5], False),  # a rise of exactly the tolerance
        ([1.0, 1.5], [1.0, 0.875], False),
        ([1.0, 1.25], [1.0, 0.75], True),
        ([1.0, NAN], [1.0, 0.5], False),
        ([1.0, 1.5], [INF, 0.5], False),
        ([1.0, INF], [1.0, 0.5], False),
    ],
)
def test_overfitting(val, train, raised):
    assert overfitting(val, train, 0.125).raised is raised


def test_overfitting_reads_the_smallest_change():
    assert overfitting([1.0, 1.5, 1.75], [1.0, 0.5, 0.0], 0.1).value == 0.25


@pytest.mark.parametrize(
    ("warmup", "window", "first"), [(0, 2, 2), (10, 2, 10), (3, 7, 7), (5, 5, 5)]
)
def test_listening_starts_with_the_later_of_warm_up_and_window(warmup, window, first):
    noise = NoiseConfig(warmup_epochs=warmup, window=window)
    assert next(epoch for epoch in range(50) if listening(noise, epoch)) == first


def test_healthy_training_raises_nothing():
    noise = NoiseConfig(warmup_epochs=0, window=3, overfit_epochs=2)
    assert evaluated(noise, healthy(2)) == {}
    assert evaluated(noise, healthy(3)) == dict.fromkeys(SIGNALS, False)


def test_only_listened_signals_are_read_in_methods_order():
    noise = NoiseConfig(warmup_epochs=0, signals=("overfitting", "stuck"))
    names = [reading.name for reading in evaluate_signals(noise, healthy(9), 9, 0)]
    assert names == ["stuck", "overfitting"]


def test_patience_none_switches_stuck_off():
    noise = NoiseConfig(warmup_epochs=0, patience=None)
    assert "stuck" not in evaluated(noise, healthy(9))


def test_each_signal_reads_its_own_statistic():
    noise = NoiseConfig(warmup_epochs=0, window=3, patience=1, overfit_epochs=2, plateau_delta=0.5)
    base = healthy(6)

    def raised(**columns):
        rows = [
            replace(row, **{name: values[row.epoch] for name, values in columns.items()})
            for row in base
        ]
        return [name for name, is_raised in evaluated(noise, rows).items() if is_raised]

    assert raised(grad_norm=[1.0] * 6) == ["grad_norm_plateau"]
    assert raised(weight_update_norm=[1, 1, 1, 1e-5, 1e-5, 1e-5]) == ["low_weight_update"]
    assert raised(train_loss=[9.0, 8.0, 7.0, 6.0, 6.0, 6.0]) == ["stuck"]  # 2 epochs > 1
    assert raised(train_loss=[9.0, 8.0, 7.0, 6.0, 5.0, 6.0]) == []  # 1 epoch
    assert raised(val_loss=[9.0, 8.0, 7.0, 5.0, 5.0, 5.0]) == ["val_loss_plateau"]
    # Changes of 0.1 lie between δ/10 = 0.05 and δ.
    slow = {
        "val_loss": [9.0, 8.0, 5.0, 3.0, 3.1, 3.2],
        "train_loss": [9.0, 8.0, 7.0, 6.0, 5.9, 5.8],
    }
    assert raised(**slow) == ["val_loss_plateau", "overfitting"]
    slower = [6.0, 5.96, 5.92]  # falls of 0.04 do not count
    assert raised(**slow | {"train_loss": [9.0, 8.0, 7.0, *slower]}) == ["val_loss_plateau"]
    # Rises of 1 > 0.5/10 while train_loss falls by 1: overfitting, and v_first − v_last < δ.
    assert raised(val_loss=[9.0, 8.0, 7.0, 5.0, 6.0, 7.0]) == ["val_loss_plateau", "overfitting"]


def test_overfitting_may_look_back_further_than_the_window():
    noise = NoiseConfig(warmup_epochs=0, window=2, overfit_epochs=4, signals=("overfitting",))

    def rising(n):
        return [replace(row, val_loss=float(row.epoch)) for row in healthy(n)]

    # Four changes need five epochs: before epochs 2, 3 and 4 it is evaluated but can't be raised.
    assert [evaluated(noise, rising(n)) for n in (1, 2, 4, 5)] == [
        {},
        {"overfitting": False},
        {"overfitting": False},
        {"overfitting": True},
    ]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("age", [0, 1, 2])
def test_a_non_finite_statistic_in_the_window_raises_nothing(bad, age):
    noise = NoiseConfig(warmup_epochs=0, window=3, patience=0, overfit_epochs=2)
    rows = [
        EpochMetrics(e, 5.0, 0.5, 5.0, 0.5, grad_norm=1.0, weight_update_norm=0.0, lr=0.1)
        for e in range(6)
    ]
    before = {name for name, raised in evaluated(noise, rows).items() if raised}
    assert before == {"grad_norm_plateau", "low_weight_update", "stuck", "val_loss_plateau"}
    where = len(rows) - 1 - age
    rows[where] = replace(
        rows[where], train_loss=bad, val_loss=bad, grad_norm=bad, weight_update_norm=bad
    )
    after = {name for name, raised in evaluated(noise, rows).items() if raised}
    # stuck looks at the last loss only; the one before it is merely no new best.
    assert after == (set() if age == 0 else {"stuck"})


@given(st.lists(finite, min_size=2, max_size=8), positive)
def test_every_reading_is_finite(values, threshold):
    sizes = [abs(value) for value in values]
    for reading in (
        grad_norm_plateau(sizes, threshold),
        low_weight_update(sizes, threshold),
        val_loss_plateau(values, threshold),
        overfitting(values, values[::-1], threshold),
    ):
        assert reading.value is None or math.isfinite(reading.value)


@given(st.lists(finite, min_size=1, max_size=30))
def test_count_without_best_is_the_age_of_the_first_minimum(losses):
    count, best = 0, INF
    for loss in losses:
        count, best = count_without_best(count, best, loss)
    assert best == min(losses)
    assert count == len(losses) - 1 - losses.index(min(losses))


def test_a_mean_whose_sum_overflows_is_still_their_mean():
    reading = low_weight_update([1e308, 1.5e308], 1.3e308)
    assert (reading.value, reading.raised) == (pytest.approx(1.25e308), True)


@pytest.mark.parametrize(
    ("name", "epochs", "sign_and_factor", "severity", "searched"),
    [
        ("grad_norm_plateau", (7, 7), (1.0, 1.0), True, (0.005, 0.5)),
        ("low_weight_update", (7, 7), (1.0, 1.0), False, (0.0001, 1.0)),
        # Epoch 0 is a best, and more than four epochs must follow it.
        ("stuck", (1, 6), (-1.0, -1.0), False, None),
        ("val_loss_plateau", (7, 7), (1.0, 1.0), True, (0.00001, 0.1)),
        # Two changes need three epochs; what is compared with is a tenth of the setting.
        ("overfitting", (3, 3), (-1.0, -0.1), False, None),
    ],
)
def test_what_is_known_of_each_signal(name, epochs, sign_and_factor, severity, searched):
    noise = NoiseConfig(window=7, patience=4, overfit_epochs=2)
    signal = SIGNALS[name]
    assert (signal.span(noise), signal.earliest(noise)) == epochs
    assert (signal.sign, signal.factor) == sign_and_factor
    assert signal.measures_severity is severity
    assert signal.search_range == searched
    without = noise.model_copy(update={"patience": None})
    assert signal.earliest(without) == (None if name == "stuck" else epochs[1])


def test_each_kind_of_noise_has_its_own_measure_of_severity():
    assert severity_signals("gradient") == ["grad_norm_plateau"]
    assert severity_signals("weight") == ["val_loss_plateau"]


def test_epochs_from_before_a_long_span_do_not_hide_the_last_one():
    """Overfitting looks back on five epochs, of which there are two; stuck on the last."""
    noise = NoiseConfig(warmup_epochs=0, window=2, patience=0, overfit_epochs=4)
    noise = noise.model_copy(update={"signals": ("stuck", "overfitting")})
    readings = evaluate_signals(noise, healthy(9), 2, 1)
    assert [(reading.value, reading.raised) for reading in readings] == [(1.0, True), (None, False)]
