"""Cosine annealing with restarts whose peak decays (METHOD, section 7)."""

import math
from typing import TYPE_CHECKING

from trainables.config import OptimizerConfig

if TYPE_CHECKING:  # drawing a schedule needs no torch
    from torch.optim import Optimizer

PEAK_FLOOR = 1e-5
"""The peak of the last cycle, which the peaks fall to linearly."""

LR_FLOOR = 1e-6
"""The learning rate at the bottom of every cycle."""


def learning_rate(
    config: OptimizerConfig, step: int, *, steps_per_epoch: int, epochs: int
) -> float:
    """The learning rate of optimiser step ``step``, t, counted from 0.

    With lr the peak of the first cycle, R = ``lr_restart_period`` the epochs of a cycle, S the
    steps of an epoch, E the epoch budget, T0 = R·S and T_decay = (⌈E/R⌉ − 1)·R·S, the start of the
    last cycle: η_max(t) = lr − min(1, t/T_decay)·(lr − 1e-5) and
    η(t) = 1e-6 + ½(η_max(t) − 1e-6)(1 + cos(π·(t mod T0)/T0)).
    The peak does not decay if there is one cycle only (E ≤ R) or lr is below 1e-5.

    Raises:
        ValueError: if ``epochs`` or ``steps_per_epoch`` is less than 1.
    """
    if epochs < 1 or steps_per_epoch < 1:
        raise ValueError(
            f"epochs = {epochs}, steps_per_epoch = {steps_per_epoch}: both must be at least 1"
        )
    cycle = config.lr_restart_period * steps_per_epoch
    decay_steps = (epochs - 1) // config.lr_restart_period * cycle  # ⌈E/R⌉ − 1 = ⌊(E − 1)/R⌋
    peak = config.lr
    if decay_steps > 0 and peak >= PEAK_FLOOR:
        peak -= min(1.0, step / decay_steps) * (peak - PEAK_FLOOR)
    return LR_FLOOR + 0.5 * (peak - LR_FLOOR) * (1.0 + math.cos(math.pi * (step % cycle) / cycle))


def set_learning_rate(
    optimizer: "Optimizer", config: OptimizerConfig, step: int, *, steps_per_epoch: int, epochs: int
) -> float:
    """Give every parameter group the rate of the step that follows; returns it."""
    rate = learning_rate(config, step, steps_per_epoch=steps_per_epoch, epochs=epochs)
    # As torch's LambdaLR rounds, which set it in the runs that are recorded.
    rate = config.lr * (rate / config.lr)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
