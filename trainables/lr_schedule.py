"""The learning rate as a pure function of the step (METHOD, section 7).

A name's function of what ``Step`` says gives the rate; the warm-up multiplies it. Nothing here
imports torch: a schedule is drawn without it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.code_identity import is_own
from trainables.errors import FOREIGN, InputError
from trainables.optimizer_config import OptimizerConfig
from trainables.own_import import import_own

if TYPE_CHECKING:
    from torch.optim import Optimizer

PEAK_FLOOR = 1e-5
"""The peak of the last cosine cycle, which the peaks fall to linearly."""

LR_FLOOR = 1e-6
"""The learning rate at the bottom of every cosine cycle."""

_RISE = 25.0
"""One-cycle begins with this part of the peak."""

_FALL = 1e4
"""One-cycle ends with this part of what it began with. Both as in torch's OneCycleLR."""


@dataclass(frozen=True)
class Step:
    """Optimiser step ``number``, counted from 0, of a budget."""

    number: int
    steps_per_epoch: int
    epochs: int

    @property
    def total(self) -> int:
        return self.steps_per_epoch * self.epochs


def _cosine(config: OptimizerConfig, step: Step) -> float:
    """Cosine annealing with restarts whose peak decays.

    With lr the peak of the first cycle, R = ``lr_restart_period`` the epochs of a cycle, S the
    steps of an epoch, E the epoch budget, T0 = R·S and T_decay = (⌈E/R⌉ − 1)·R·S, the start of the
    last cycle: η_max(t) = lr − min(1, t/T_decay)·(lr − 1e-5) and
    η(t) = 1e-6 + ½(η_max(t) − 1e-6)(1 + cos(π·(t mod T0)/T0)).
    The peak does not decay if there is one cycle only (E ≤ R) or lr is below 1e-5.
    """
    cycle = config.lr_restart_period * step.steps_per_epoch
    # ⌈E/R⌉ − 1 = ⌊(E − 1)/R⌋
    decay_steps = (step.epochs - 1) // config.lr_restart_period * cycle
    peak = config.lr
    if decay_steps > 0 and peak >= PEAK_FLOOR:
        peak -= min(1.0, step.number / decay_steps) * (peak - PEAK_FLOOR)
    position = math.pi * (step.number % cycle) / cycle
    return LR_FLOOR + 0.5 * (peak - LR_FLOOR) * (1.0 + math.cos(position))


def _one_cycle(config: OptimizerConfig, step: Step) -> float:
    """Up to ``lr`` and down to nearly nothing, each half a cosine, as torch's OneCycleLR.

    Of T steps the peak is step ``lr_peak_at``·T − 1, the end step T − 1.
    """
    low, end = config.lr / _RISE, step.total - 1
    peak = min(max(config.lr_peak_at * step.total - 1.0, 0.0), float(end))
    if step.number < peak:
        return _half_cosine(low, config.lr, step.number / peak)
    share = (step.number - peak) / (end - peak) if end > peak else 0.0
    return _half_cosine(config.lr, low / _FALL, min(share, 1.0))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))


def _constant(config: OptimizerConfig, step: Step) -> float:
    return config.lr


def _steps(config: OptimizerConfig, step: Step) -> float:
    """Every ``lr_step_epochs`` epochs the rate is multiplied with ``lr_step_factor``."""
    period = config.lr_step_epochs or math.ceil(step.epochs / 3)
    exponent: int = step.number // step.steps_per_epoch // period
    return config.lr * config.lr_step_factor**exponent


_SCHEDULES: dict[str, Callable[[OptimizerConfig, Step], float]] = {
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "constant": _constant,
    "step": _steps,
}
"""By the names of ``optimizer_config.SCHEDULES``."""


class Schedule:
    """The learning rate of each step of a run.

    Raises:
        InputError: if one's own schedule can't be imported, or gives no rate.
    """

    def __init__(self, config: OptimizerConfig, *, steps_per_epoch: int, epochs: int) -> None:
        if epochs < 1 or steps_per_epoch < 1:
            raise ValueError(
                f"epochs = {epochs}, steps_per_epoch = {steps_per_epoch}: both must be at least 1"
            )
        self.config = config
        self.steps_per_epoch, self.epochs = steps_per_epoch, epochs
        self._warmup = warmup_steps(config, steps_per_epoch=steps_per_epoch, epochs=epochs)
        self._rate = (
            own_schedule(config.lr_schedule)
            if is_own(config.lr_schedule)
            else _SCHEDULES[config.lr_schedule]
        )

    def __call__(self, step: int) -> float:
        """The rate of optimiser step ``step``, counted from 0."""
        rate = self._rate(self.config, Step(step, self.steps_per_epoch, self.epochs))
        # The warm-up only multiplies: restarts, peak and end stay where they are.
        return rate * (step + 1) / self._warmup if step + 1 < self._warmup else rate

    def set(self, optimizer: "Optimizer", step: int) -> float:
        """Give every parameter group the rate of the step that follows; returns it."""
        lr = self.config.lr
        share = self(step) / lr
        for group in optimizer.param_groups:
            # As torch's LambdaLR rounds, which set it in the runs that are recorded. Groups of
            # one's own optimizer keep their proportions.
            group["lr"] = group.get("initial_lr", lr) * share
        return lr * share


def learning_rate(
    config: OptimizerConfig, step: int, *, steps_per_epoch: int, epochs: int
) -> float:
    """The learning rate of one step; of many, ask a ``Schedule``."""
    return Schedule(config, steps_per_epoch=steps_per_epoch, epochs=epochs)(step)


def warmup_steps(config: OptimizerConfig, *, steps_per_epoch: int, epochs: int) -> int:
    """Steps until the warm-up is over: step t < W has the factor (t + 1)/W."""
    in_epochs = config.lr_warmup_epochs or config.lr_warmup_fraction * epochs
    return round(in_epochs * steps_per_epoch)


def own_schedule(name: str) -> Callable[[OptimizerConfig, Step], float]:
    """One's own function of the step, each of its rates checked."""
    where = f"lr_schedule = {name!r}"
    function = import_own(
        "lr_schedule",
        name,
        "a function of step, steps_per_epoch, epochs and lr that returns the learning rate",
    )

    def rate(config: OptimizerConfig, step: Step) -> float:
        asked = f"called with step = {step.number}"
        try:
            told: Any = function(
                step.number,
                steps_per_epoch=step.steps_per_epoch,
                epochs=step.epochs,
                lr=config.lr,
            )
        except FOREIGN as error:
            raise InputError(
                f"{where}: {asked}, it raised {type(error).__name__}: {error}"
            ) from error
        try:
            value = float(told)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(
                f"{where}: {asked}, it returned {type(told).__name__}, which is no number"
            ) from None
        if not (math.isfinite(value) and value >= 0):
            raise InputError(
                f"{where}: {asked}, it returned {value}; a learning rate is finite, and not below 0"
            )
        return value

    return rate


_ASKED = 200
"""Steps of a run that a schedule of one's own is asked for beforehand."""


def check_schedule(config: OptimizerConfig, epochs: int) -> None:
    """Refuse a schedule of one's own that is no pure function of the step, or gives no rate."""
    if not is_own(config.lr_schedule):
        return
    schedule = Schedule(config, steps_per_epoch=10, epochs=epochs)
    total = 10 * epochs
    steps = range(0, total, math.ceil(total / _ASKED))
    first = {step: schedule(step) for step in steps}
    where = f"lr_schedule = {config.lr_schedule!r}"
    # Backwards, so that what it remembers of the steps before shows.
    for step in reversed(steps):
        again = schedule(step)
        if again != first[step]:
            raise InputError(
                f"{where}: step {step} has the rate {first[step]:g}, and {again:g} when it is "
                "asked again; it must depend on its arguments alone, or no run could be resumed"
            )
    if not any(first.values()):
        raise InputError(f"{where}: the rate is 0 in every step, so that nothing is trained")
