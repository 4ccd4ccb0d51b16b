"""The learning-rate schedule against METHOD's formula, written out independently here."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainables.config import OptimizerConfig
from trainables.errors import InputError
from trainables.lr_schedule import Schedule, check_schedule, learning_rate
from trainables.optimizer_config import SCHEDULES


def formula(t: int, lr: float, s: int, e: int, r: int) -> float:
    """Section 7, symbol by symbol."""
    t0 = r * s
    cycles = 0
    while cycles * r < e:
        cycles += 1
    t_decay = (cycles - 1) * t0
    eta_max = lr if t_decay == 0 or lr < 1e-5 else lr - min(1, t / t_decay) * (lr - 1e-5)
    position = t / t0 - math.floor(t / t0)
    return 1e-6 + (eta_max - 1e-6) * (1 + math.cos(math.pi * position)) / 2


def rate_of(t: int, lr: float, steps: int, epochs: int, period: int) -> float:
    config = OptimizerConfig(lr=lr, lr_restart_period=period)
    return learning_rate(config, t, steps_per_epoch=steps, epochs=epochs)


@pytest.mark.parametrize(
    ("epochs", "period"), [(1, 1), (20, 50), (50, 50), (70, 50), (100, 50), (149, 50), (7, 2)]
)
@pytest.mark.parametrize("lr", [0.1, 1e-4, 1e-5, 5e-6, 1e-7])
def test_every_step_follows_the_formula(epochs, period, lr):
    steps = 3
    for t in range(epochs * steps):
        value = rate_of(t, lr, steps, epochs, period)
        # The reference's floating-point remainder is what limits this near a cycle's end.
        assert value == pytest.approx(formula(t, lr, steps, epochs, period), rel=1e-9, abs=1e-15)


@given(
    lr=st.floats(1e-7, 10.0),
    steps=st.integers(1, 500),
    epochs=st.integers(1, 400),
    period=st.integers(1, 400),
    share=st.floats(0, 1),
)
def test_formula_and_bounds_for_any_setting(lr, steps, epochs, period, share):
    t = int(share * (epochs * steps - 1))
    value = rate_of(t, lr, steps, epochs, period)
    assert value == pytest.approx(formula(t, lr, steps, epochs, period), rel=1e-7, abs=1e-13)
    assert min(lr, 1e-6) * (1 - 1e-12) <= value <= max(lr, 1e-6) * (1 + 1e-12)


def at(epoch: float, epochs: int, period: int, steps: int = 10) -> float:
    return rate_of(round(epoch * steps), 0.1, steps, epochs, period)


def test_budget_shorter_than_the_period_trains_at_the_real_rate():
    # 20 epochs of a 50-epoch cosine: ½(1 + cos(π·20/50)) = 0.6545 of the rate at the end.
    # The reference trains at 1e-5 here.
    assert at(0, 20, 50) == 0.1
    assert at(20, 20, 50) == pytest.approx(0.1 * 0.6545085, rel=1e-4)
    assert min(at(e, 20, 50) for e in range(20)) > 0.065


def test_budget_between_one_and_two_periods_decays_until_the_last_cycle_starts():
    # E = 70, R = 50: T_decay = 50 epochs, not the reference's 20. Half way down, in epoch 25, the
    # peak is (0.1 + 1e-5)/2 and the cosine at one half.
    assert at(25, 70, 50) == pytest.approx(1e-6 + 0.5 * ((0.1 + 1e-5) / 2 - 1e-6))
    assert at(20, 70, 50) > 0.03
    # The last cycle starts at its floor peak, and stays there.
    assert at(50, 70, 50) == pytest.approx(1e-5)
    assert at(60, 70, 50) < 1e-5


def test_restarts_when_the_period_divides_the_budget():
    # E = 150, R = 50: T_decay = 100 epochs, so the second cycle starts half way between the peaks.
    assert at(0, 150, 50) == 0.1
    assert at(50, 150, 50) == pytest.approx((0.1 + 1e-5) / 2)
    assert at(100, 150, 50) == pytest.approx(1e-5)
    assert at(49.9, 150, 50) < at(50, 150, 50)


def test_one_cycle_is_a_plain_cosine():
    reference = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=200, eta_min=1e-6)
    for t in range(200):
        assert at(t / 10, 20, 20) == pytest.approx(reference.param_groups[0]["lr"], rel=1e-6)
        reference.step()
        cosine.step()


def test_a_cycle_of_a_single_step_decays_too():
    """Two epochs of one step, restarted after each: the peak falls from lr to the floor at once."""
    config = OptimizerConfig(lr=0.1, lr_restart_period=1)
    rates = [learning_rate(config, t, steps_per_epoch=1, epochs=2) for t in (0, 1)]
    assert rates == pytest.approx([0.1, 1e-5])


def test_the_rate_of_every_step_is_set_in_every_group():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    config = OptimizerConfig(lr=0.05, lr_restart_period=2)
    optimizer = torch.optim.SGD(
        [{"params": first.parameters()}, {"params": second.parameters()}], lr=config.lr
    )
    for t in range(20):
        rate = Schedule(config, epochs=5, steps_per_epoch=4).set(optimizer, t)
        expected = formula(t, 0.05, 4, 5, 2)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(expected, rel=1e-9)
            assert group["lr"] == rate


def test_the_rates_are_those_of_torchs_lambda_lr_bit_for_bit():
    config = OptimizerConfig(lr=0.07, lr_restart_period=3)
    ours = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=config.lr)
    theirs = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=config.lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        theirs,
        lambda step: learning_rate(config, step, steps_per_epoch=7, epochs=10) / config.lr,
    )
    for t in range(70):
        Schedule(config, epochs=10, steps_per_epoch=7).set(ours, t)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
        theirs.step()
        scheduler.step()


@pytest.mark.parametrize(("epochs", "steps"), [(0, 4), (4, 0)])
def test_an_empty_run_has_no_learning_rate(epochs, steps):
    with pytest.raises(ValueError, match="must be at least 1"):
        learning_rate(OptimizerConfig(), 0, steps_per_epoch=steps, epochs=epochs)


HERE = "tests.support.own_recipes"


def rates_of(steps: int, epochs: int, **settings: Any) -> list[float]:
    config = OptimizerConfig(**settings)
    schedule = Schedule(config, steps_per_epoch=steps, epochs=epochs)
    return [schedule(t) for t in range(steps * epochs)]


def torchs(kind: Any, lr: float, count: int, **settings: Any) -> list[float]:
    """The rates of one of torch's schedulers, a step at a time."""
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=lr)
    scheduler = kind(optimizer, **settings)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("steps", "epochs", "peak"), [(7, 10, 0.3), (1, 12, 0.5), (30, 2, 0.1)])
def test_one_cycle_is_torchs(steps: int, epochs: int, peak: float) -> None:
    ours = rates_of(steps, epochs, lr=0.2, lr_schedule="one-cycle", lr_peak_at=peak)
    # torch counts the step after the last one, too.
    theirs = torchs(
        torch.optim.lr_scheduler.OneCycleLR,
        0.2,
        steps * epochs - 1,
        max_lr=0.2,
        total_steps=steps * epochs,
        pct_start=peak,
        cycle_momentum=False,
    )
    assert ours[:-1] == pytest.approx(theirs, rel=1e-9)
    assert ours[-1] == pytest.approx(0.2 / 25 / 1e4)


@pytest.mark.parametrize("budget", [(1, 1), (1, 2), (2, 1), (1, 3)])
def test_one_cycle_of_next_to_no_steps_stays_within_its_peak(budget: tuple[int, int]) -> None:
    rates = rates_of(*budget, lr=0.2, lr_schedule="one-cycle")
    assert all(0 < rate <= 0.2 for rate in rates)
    assert max(rates) == pytest.approx(0.2)


def test_steps_are_torchs() -> None:
    ours = rates_of(5, 9, lr=0.2, lr_schedule="step", lr_step_epochs=2, lr_step_factor=0.5)
    theirs = torchs(torch.optim.lr_scheduler.StepLR, 0.2, 45, step_size=10, gamma=0.5)
    assert ours == pytest.approx(theirs, rel=1e-12)
    # A third of the budget, rounded up.
    thirds = rates_of(1, 10, lr=1.0, lr_schedule="step")
    assert thirds == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01] * 2)


def test_a_constant_rate() -> None:
    assert set(rates_of(3, 4, lr=0.3, lr_schedule="constant")) == {0.3}


@pytest.mark.parametrize("schedule", [*SCHEDULES, f"{HERE}:inverse_root"])
@pytest.mark.parametrize(
    "warmup", [{"lr_warmup_epochs": 2.0}, {"lr_warmup_fraction": 0.2}, {"lr_warmup_epochs": 0.5}]
)
def test_a_warmup_multiplies_any_schedule(schedule: str, warmup: dict[str, float]) -> None:
    steps, epochs = 4, 10
    without = rates_of(steps, epochs, lr=0.1, lr_schedule=schedule)
    found = rates_of(steps, epochs, lr=0.1, lr_schedule=schedule, **warmup)
    length = 2 if warmup == {"lr_warmup_epochs": 0.5} else 8
    for t in range(steps * epochs):
        factor = (t + 1) / length if t < length else 1.0
        assert found[t] == pytest.approx(without[t] * factor, rel=1e-12)
    # Restarts, peak and end stay where they are, to the bit.
    assert found[length:] == without[length:]


def test_ones_own_schedule_and_groups_in_proportion() -> None:
    config = OptimizerConfig(lr=0.1, lr_schedule=f"{HERE}:inverse_root")
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [
        {"params": first.parameters(), "initial_lr": 0.1},
        {"params": second.parameters(), "initial_lr": 0.05},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    schedule = Schedule(config, steps_per_epoch=5, epochs=3)
    for t in range(15):
        rate = schedule.set(optimizer, t)
        assert rate == pytest.approx(0.1 / math.sqrt(1 + t / 5))
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([rate, rate / 2])
    check_schedule(config, epochs=3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises_late", ["step = 20", "ZeroDivisionError"]),
        ("negative", ["returned -0.9", "not below 0"]),
        ("not_a_number", ["returned nan"]),
        ("a_text", ["returned str, which is no number"]),
        ("zero", ["0 in every step"]),
        ("counts", ["when it is asked again", "its arguments alone"]),
        ("missing", ["has no 'missing'"]),
    ],
)
def test_what_is_no_schedule_is_told_by_name(name: str, said: list[str]) -> None:
    config = OptimizerConfig(lr=0.1, lr_schedule=f"{HERE}:{name}")
    with pytest.raises(InputError) as caught:
        check_schedule(config, epochs=5)
    for part in (f"lr_schedule = '{HERE}:{name}'", *said):
        assert part in str(caught.value)
