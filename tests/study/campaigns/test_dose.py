"""Doses: what a noisy epoch does to the weights, against sums written out by hand."""

import dataclasses
import math

import numpy as np
import pytest

from study.campaigns.dose import (
    Doses,
    PlannedInjection,
    alike,
    overlap,
    realised_ratio,
    worst,
)
from trainables.config import OptimizerConfig, TrainConfig
from trainables.lr_schedule import learning_rate
from trainables.metrics import EpochMetrics
from trainables.noise_config import NoiseConfig

RATES = (1.0, 0.5, 0.25, 0.125)


def plan(*items: tuple[int, str, float]) -> tuple[PlannedInjection, ...]:
    return tuple(PlannedInjection(*item) for item in items)


def test_the_rate_of_an_epoch_is_that_of_its_steps_squared() -> None:
    optimizer = OptimizerConfig(lr=0.1, lr_restart_period=5)
    found = Doses.of(TrainConfig(optimizer=optimizer, epochs=20)).rates
    steps = np.array(
        [learning_rate(optimizer, step, steps_per_epoch=200, epochs=20) for step in range(20 * 200)]
    )
    expected = np.sqrt((steps.reshape(20, 200) ** 2).mean(axis=1))
    # The last epoch of a cycle falls steeply: there 32 steps and 200 differ the most.
    assert found == pytest.approx(expected, rel=0.05)
    assert found[4] < found[0] / 10
    assert found[5] > found[4] * 10


@pytest.mark.parametrize(
    ("kind", "magnitude", "permanent", "move"),
    [
        ("gradient", 0.3, False, 0.5 * 0.3),
        ("weight", 0.3, False, 0.5 * 0.3),
        ("weight", 0.3, True, 0.3),
        ("gradient", 0.3, True, 0.5 * 0.3),
        ("input", 3.0, False, 0.5 * 3.0),
        ("label", 0.4, False, 0.5 * 0.4),
        ("label", 3.0, False, 0.5 * 0.5),
    ],
)
def test_a_step_moves_the_weights_by(
    kind: str, magnitude: float, permanent: bool, move: float
) -> None:
    doses = Doses(RATES, permanent)
    assert doses.move(PlannedInjection(1, kind, magnitude)) == pytest.approx(move)


def test_doses_add_up_by_kind() -> None:
    own = plan((0, "gradient", 0.3), (1, "gradient", 0.8), (2, "label", 0.4))
    moves = Doses(RATES).moves(own)
    assert moves == pytest.approx({"gradient": math.sqrt(0.09 + 0.16), "label": 0.1})
    there = plan((1, "gradient", 0.3), (2, "gradient", 0.8), (3, "label", 0.4))
    ratios = Doses(RATES).ratios(there, own)
    assert ratios == pytest.approx({"gradient": 0.25, "label": 0.25})
    assert not alike(ratios)
    assert alike({"gradient": 0.8, "label": 1.25})
    assert not alike({"gradient": 0.79})
    assert not alike({"gradient": 1.0, "label": 1.26})
    assert worst({"gradient": 1.2, "label": 0.8}) == 0.8
    assert worst({"gradient": 1.2, "label": 0.9}) == 1.2


@pytest.mark.parametrize(
    ("kind", "magnitude", "start", "goal", "scaled"),
    [
        ("gradient", 0.3, 0, 1, 0.6),
        ("gradient", 0.3, 1, 0, 0.15),
        # More than twofold is not done, either way.
        ("gradient", 0.3, 0, 2, 0.6),
        ("gradient", 0.3, 2, 0, 0.15),
        ("gradient", 0.0, 0, 2, 0.0),
        # No label noise is stronger than 0.5; what is recorded beyond acts like that.
        ("label", 0.2, 0, 1, 0.4),
        ("label", 0.4, 0, 1, 0.5),
        ("label", 3.0, 1, 0, 0.25),
        ("label", 3.0, 1, 1, 3.0),
    ],
)
def test_a_burst_keeps_its_dose_as_far_as_it_may(
    kind: str, magnitude: float, start: int, goal: int, scaled: float
) -> None:
    own, there = plan((start, kind, magnitude)), plan((goal, kind, magnitude))
    ((epoch, _, found),) = Doses(RATES).rescaled(there, own)
    assert (epoch, found) == (goal, pytest.approx(scaled))


def test_extreme_magnitudes_keep_their_ratio() -> None:
    for magnitude in (1e-200, 1e200):
        own, there = plan((0, "gradient", magnitude)), plan((1, "gradient", magnitude))
        assert Doses(RATES).ratios(there, own) == pytest.approx({"gradient": 0.25})
        assert Doses(RATES).rescaled(there, own)[0].magnitude == pytest.approx(2 * magnitude)
    nothing = plan((0, "gradient", 0.0))
    assert Doses(RATES).ratios(nothing, nothing) == {"gradient": 1.0}


def test_the_overlap_is_of_the_trials_own_epochs() -> None:
    own = plan(*((epoch, "gradient", 1.0) for epoch in (3, 4, 5, 9)))
    assert overlap(plan((5, "weight", 1.0), (6, "weight", 1.0)), own) == 0.25
    assert overlap(own, own) == 1.0


def history(noisy: dict[int, tuple[str, float]], grad_norm: float) -> list[EpochMetrics]:
    return [
        EpochMetrics(
            epoch, 1.0, 0.5, 1.0, 0.5, grad_norm, 1.0, 0.1, *noisy.get(epoch, ("none", 0.0))
        )
        for epoch in range(10)
    ]


@pytest.mark.parametrize(
    ("scaling", "optimizer", "kind", "ratio"),
    [
        ("relative", "SGD", "gradient", 9.0),
        ("absolute", "SGD", "gradient", 1.0),
        ("step", "SGD", "gradient", 1.0),
        ("relative", "Adam", "gradient", 1.0),
        ("relative", "SGD", "weight", 1.0),
    ],
)
def test_realised_doses_of_relative_noise_are_in_units_of_the_gradients(
    scaling: str, optimizer: str, kind: str, ratio: float
) -> None:
    config = TrainConfig.model_validate(
        {
            "epochs": 20,
            "optimizer": {"optimizer": optimizer},
            "noise": NoiseConfig(policy="on_stagnation", scaling=scaling),  # type: ignore[arg-type]
        }
    )
    trial, control = history({4: (kind, 0.5)}, 1.0), history({4: (kind, 0.5)}, 3.0)
    assert realised_ratio(control, trial, config) == pytest.approx(ratio)
    assert realised_ratio(history({}, 1.0), trial, config) is None
    assert realised_ratio(history({4: (kind, 0.0)}, 1.0), trial, config) is None
    diverged = history({4: (kind, 0.5)}, math.inf)
    found = realised_ratio(diverged, trial, config)
    assert found is None if ratio == 9.0 else found == pytest.approx(1.0)


def test_clipped_gradients_are_no_larger_than_that_in_the_realised_dose() -> None:
    config = TrainConfig.model_validate(
        {"epochs": 20, "optimizer": {"clip_norm": 2.0}, "noise": {"policy": "on_stagnation"}}
    )
    trial, control = history({4: ("gradient", 0.5)}, 1.0), history({4: ("gradient", 0.5)}, 3.0)
    assert realised_ratio(control, trial, config) == pytest.approx(4.0)


def test_the_rates_of_ones_own_schedule_are_those_recorded_without_running_it() -> None:
    config = TrainConfig.model_validate(
        {"epochs": 10, "optimizer": {"lr_schedule": "not.there:schedule"}}
    )
    rows = [dataclasses.replace(row, lr=0.1 * (row.epoch + 1)) for row in history({}, 1.0)]
    assert Doses.of(config, rows).rates == pytest.approx([0.1 * n for n in range(1, 11)])
    # One that ends at 0 is as good; where nothing was told, it counts as constant.
    rows[-1] = dataclasses.replace(rows[-1], lr=0.0)
    assert Doses.of(config, rows).rates[-2:] == pytest.approx([0.9, 0.0])
    untold = [dataclasses.replace(row, lr=0.0) for row in rows]
    assert Doses.of(config, untold).rates == (1.0,) * 10


@pytest.mark.parametrize("schedule", ["one-cycle", "step", "constant"])
def test_the_rates_of_other_schedules_are_theirs(schedule: str) -> None:
    optimizer = OptimizerConfig(lr=0.1, lr_schedule=schedule, lr_warmup_epochs=2)
    found = Doses.of(TrainConfig(optimizer=optimizer, epochs=12)).rates
    steps = np.array(
        [learning_rate(optimizer, step, steps_per_epoch=32, epochs=12) for step in range(12 * 32)]
    )
    assert found == pytest.approx(np.sqrt((steps.reshape(12, 32) ** 2).mean(axis=1)))
