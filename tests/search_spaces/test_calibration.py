"""Calibrated spaces: ranges from the baseline's statistics, signals that say nothing left out."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.calibration import CalibratedSpace, calibrate
from search_spaces.registry import first_possible_injection, get_space
from search_spaces.shares import shares
from search_spaces.thresholds import View, _Timing
from tests.search_spaces.points import points
from trainables.config import TrainConfig, apply_overrides
from trainables.metrics import EpochMetrics
from trainables.noise.controller import fork_epoch
from trainables.noise.signals import SIGNALS
from trainables.noise_config import NoiseConfig

EPOCHS = 30
BASE = TrainConfig(epochs=EPOCHS)
ADAPTIVE = get_space("adaptive_noise")


def history(
    epochs: int = EPOCHS,
    *,
    grad_norm: Callable[[float], float] = lambda p: 2.0,
    update: Callable[[float], float] = lambda p: 0.5 * (1 + math.cos(math.pi * p)),
    train_loss: Callable[[float], float] = lambda p: 2.0 * math.exp(-2 * p),
    val_loss: Callable[[float], float] = lambda p: 2.0 * math.exp(-3 * p) + 0.5,
    jitter: float = 0.02,
    seed: int = 0,
) -> list[EpochMetrics]:
    """A baseline whose statistics follow the given functions of the progress in [0, 1).

    By default it looks as BabyCNN does on CIFAR-10: the gradient norm is flat, the updates shrink
    with the learning rate, both losses fall all the way.
    """
    random = np.random.default_rng(seed)
    rows = []
    for epoch in range(epochs):
        p = epoch / epochs
        wobble = 1 + jitter * random.standard_normal(2)
        rows.append(
            EpochMetrics(
                epoch=epoch,
                train_loss=train_loss(p),
                train_accuracy=0.5,
                val_loss=val_loss(p) * wobble[0],
                val_accuracy=0.5,
                grad_norm=grad_norm(p) * wobble[1],
                weight_update_norm=update(p),
                lr=0.01,
            )
        )
    return rows


def kept_signals(space: CalibratedSpace) -> set[str]:
    choices = space.distributions["noise/signals"]
    assert isinstance(choices, CategoricalDistribution)
    return {name for choice in choices.choices for name in str(choice).split("+")}


@pytest.mark.parametrize("name", ["adaptive_noise", "adaptive_noise_small"])
@pytest.mark.parametrize("epochs", [20, 30, 100])
def test_the_aims_are_met(name: str, epochs: int) -> None:
    space, base, rows = get_space(name), TrainConfig(epochs=epochs), history(epochs)
    calibrated = calibrate(space, base, rows)
    before = shares(space, base, rows, n=300)
    after = shares(space, base, rows, n=300, distributions=calibrated.distributions)

    assert after.never < 0.1
    assert after.at_first < 0.25
    assert after.never + after.at_first < before.never + before.at_first
    assert after.trained <= 0.65
    # Over the range that the budget allows: from its first fifth to its last tenth.
    room = epochs - 1 - after.first_possible
    assert after.forks[0] <= after.first_possible + room / 5
    assert after.forks[-1] >= epochs - 1 - room / 10
    assert after.forks[5] - after.forks[1] >= room / 3


def test_signals_that_say_nothing_are_left_out_and_why() -> None:
    calibrated = calibrate(ADAPTIVE, BASE, history())
    # Flat: raised at nearly every window. Falling without a pause: never stuck. Never rising.
    assert set(calibrated.dropped) == {"grad_norm_plateau", "stuck", "overfitting"}
    assert kept_signals(calibrated) == {"low_weight_update", "val_loss_plateau"}
    said = "\n".join(calibrated.notes)
    for name in SIGNALS:
        assert f"signal {name}" in said
    assert "inject as soon as they may" in calibrated.dropped["grad_norm_plateau"]
    assert "never raises it" in calibrated.dropped["stuck"]
    # And with them what has no effect any more.
    gone = ADAPTIVE.distributions(BASE).keys() - calibrated.distributions.keys()
    assert gone == {
        "noise/patience",
        "noise/grad_plateau_threshold",
        "noise/cooldown_extra",
    }


def test_a_rising_gradient_norm_is_raised_always() -> None:
    rows = history(grad_norm=lambda p: 1 + p, jitter=0)
    assert "always" in calibrate(ADAPTIVE, BASE, rows).dropped["grad_norm_plateau"]


def test_the_range_lies_within_the_statistic() -> None:
    rows = history()
    threshold = calibrate(ADAPTIVE, BASE, rows).distributions["noise/weight_update_threshold"]
    assert isinstance(threshold, FloatDistribution)
    updates = [row.weight_update_norm for row in rows]
    assert min(updates) < threshold.low < threshold.high < max(updates)
    assert threshold.log


def test_the_range_follows_the_units() -> None:
    small = calibrate(ADAPTIVE, BASE, history())
    rows = [replace(row, weight_update_norm=1000 * row.weight_update_norm) for row in history()]
    large = calibrate(ADAPTIVE, BASE, rows)
    a = small.distributions["noise/weight_update_threshold"]
    b = large.distributions["noise/weight_update_threshold"]
    assert isinstance(a, FloatDistribution)
    assert isinstance(b, FloatDistribution)
    assert b.low == pytest.approx(1000 * a.low)
    assert b.high == pytest.approx(1000 * a.high)


def test_patience_is_calibrated_in_epochs() -> None:
    # The training loss stops falling at half of the budget.
    rows = history(train_loss=lambda p: max(1.0, 2.0 - 2 * p))
    calibrated = calibrate(ADAPTIVE, BASE, rows)
    patience = calibrated.distributions["noise/patience"]
    assert isinstance(patience, IntDistribution)
    assert patience.low == 0
    assert patience.high >= 4
    assert "stuck" in kept_signals(calibrated)


def test_one_delta_serves_both_of_its_signals() -> None:
    # An overfitting run: the validation loss rises from a third of the budget on.
    rows = history(40, val_loss=lambda p: 1.0 + (1 / 3 - p) ** 2 * 4, jitter=0)
    base = TrainConfig(epochs=40)
    calibrated = calibrate(ADAPTIVE, base, rows)
    assert {"val_loss_plateau", "overfitting"} <= kept_signals(calibrated)
    after = shares(ADAPTIVE, base, rows, n=300, distributions=calibrated.distributions)
    assert after.never < 0.1
    assert after.at_first < 0.25


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_baseline_changes_nothing_and_says_so(bad: float) -> None:
    rows = [
        replace(row, train_loss=bad, val_loss=bad, grad_norm=bad, weight_update_norm=bad)
        if row.epoch > 2
        else row
        for row in history()
    ]
    calibrated = calibrate(ADAPTIVE, BASE, rows)
    assert calibrated.distributions == ADAPTIVE.distributions(BASE)
    assert "stays as it is" in calibrated.notes[-1]


def test_static_noise_has_nothing_to_calibrate() -> None:
    space = get_space("static_noise")
    calibrated = calibrate(space, BASE, history())
    assert calibrated.distributions == space.distributions(BASE)
    assert "no thresholds" in calibrated.notes[0]


@pytest.mark.parametrize("name", ["adaptive_noise", "adaptive_noise_small", "static_noise"])
def test_it_is_stored_as_json_and_comes_back(name: str) -> None:
    calibrated = calibrate(get_space(name), BASE, history())
    text = json.dumps(calibrated.to_json(), allow_nan=False)
    assert CalibratedSpace.from_json(json.loads(text)) == calibrated


def test_it_is_the_same_every_time() -> None:
    assert calibrate(ADAPTIVE, BASE, history()) == calibrate(ADAPTIVE, BASE, history())


statistics = st.floats(1e-3, 10) | st.sampled_from([0.0, math.nan, math.inf, 1e300, 5e-324])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.data(),
    epochs=st.integers(4, 40),
    name=st.sampled_from(["adaptive_noise", "adaptive_noise_small"]),
)
def test_every_point_of_a_calibrated_space_is_valid(
    data: st.DataObject, epochs: int, name: str
) -> None:
    rows = [
        EpochMetrics(e, train, 0.5, val, 0.5, grad, update, 0.01)
        for e, (train, val, grad, update) in enumerate(
            data.draw(st.lists(st.tuples(*[statistics] * 4), min_size=epochs, max_size=epochs))
        )
    ]
    space, base = get_space(name), TrainConfig(epochs=epochs)
    calibrated = calibrate(space, base, rows)
    assert calibrated.distributions.keys() <= space.distributions(base).keys()
    CalibratedSpace.from_json(json.loads(json.dumps(calibrated.to_json(), allow_nan=False)))
    noise = apply_overrides(
        base, space.overrides(data.draw(points(calibrated.distributions)))
    ).noise
    first = first_possible_injection(space, base, calibrated.distributions)
    begins = fork_epoch(rows, noise, epochs)
    assert begins is None or begins >= first


def test_shares_counts_what_fork_epoch_says() -> None:
    rows = history()
    found = shares(ADAPTIVE, BASE, rows, n=50, seed=3)
    again = shares(ADAPTIVE, BASE, rows, n=50, seed=3)
    assert found == again
    assert found != shares(ADAPTIVE, BASE, rows, n=50, seed=4)
    assert found.describe().startswith("of 50 settings ")


def test_shares_of_settings_that_never_inject() -> None:
    # No update norm is below 0, and the statistics are far from every threshold.
    rows = history(
        grad_norm=lambda p: 10 * math.exp(-30 * p),
        update=lambda p: 1e6,
        val_loss=lambda p: 1e6 * (1 - p) + 1,
        jitter=0,
    )
    found = shares(ADAPTIVE, BASE, rows, n=40)
    assert found.never == 1
    assert found.forks == ()
    assert found.trained == 0
    assert "none begins" in found.describe()


def test_static_noise_forks_at_once() -> None:
    found = shares(get_space("static_noise"), BASE, history(), n=20)
    assert (found.never, found.at_first, found.trained) == (0, 1, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    signal=st.sampled_from(list(SIGNALS)),
    timing=st.builds(_Timing, st.integers(0, 10), st.integers(2, 6), st.integers(1, 4)),
    value=st.floats(1e-4, 2),
    seed=st.integers(0, 5),
)
def test_its_own_fork_epochs_are_the_controllers(
    signal: str, timing: _Timing, value: float, seed: int
) -> None:
    """Calibration computes fork epochs of many thresholds at once; the controller is the judge."""
    rows = history(jitter=0.2, seed=seed, train_loss=lambda p: 1 + math.sin(20 * p))
    noise = NoiseConfig(
        policy="on_stagnation",
        signals=(signal,),
        warmup_epochs=timing.warmup,
        window=timing.window,
        trigger_epochs=timing.trigger,
    )
    setting = SIGNALS[signal]
    name = setting.path.removeprefix("noise/")
    value = int(3 * value) if name == "patience" else value
    box = {
        "noise/window": IntDistribution(timing.window, timing.window),
        "noise/warmup_epochs": IntDistribution(timing.warmup, timing.warmup),
        "noise/trigger_epochs": IntDistribution(timing.trigger, timing.trigger),
    }
    view = View(box, BASE, rows)
    level = np.array([setting.factor * value])
    begins = int(view._forks(signal, timing, level)[0])
    expected = fork_epoch(rows, noise.model_copy(update={name: value}), EPOCHS)
    assert begins == (EPOCHS if expected is None else expected)
