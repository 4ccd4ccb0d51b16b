"""The spaces of adaptive noise (policy ``on_stagnation``).

Whatever depends on time follows the epoch budget: at every point of a space the first noisy epochs
can both begin and end within it, and at least one clean epoch is left after them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.ranges import magnitudes, noise_distributions, schedules
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.noise_config import ALL_SIGNALS, GRADIENT_SIGNALS, NoiseConfig, SignalName

SignalSet = tuple[SignalName, ...]

SIGNAL_SETS: tuple[SignalSet, ...] = (
    ("grad_norm_plateau",),
    ("low_weight_update",),
    ("stuck",),
    ("val_loss_plateau",),
    ("overfitting",),
    ("low_weight_update", "stuck"),
    ("grad_norm_plateau", "low_weight_update", "stuck"),
    ("val_loss_plateau", "overfitting"),
    ("low_weight_update", "val_loss_plateau"),
    ("stuck", "overfitting"),
    ALL_SIGNALS,
)
"""The sets of signals that are tried: each alone, those of one kind of noise together, one of each
kind together, and all. All 31 subsets would be more choices than a study has trials."""

SMALL_SIGNAL_SETS: tuple[SignalSet, ...] = (
    ("low_weight_update",),
    ("val_loss_plateau",),
    ("low_weight_update", "val_loss_plateau"),
)
"""Gradient noise, weight noise, and both: each by the signal that has the smoothest statistic."""

THRESHOLDS: dict[str, tuple[float, float]] = {
    "noise/plateau_delta": (1e-5, 0.1),
    "noise/grad_plateau_threshold": (5e-3, 0.5),
    "noise/weight_update_threshold": (1e-4, 1.0),
}
"""Ranges that one would write down without knowing the training; ``calibrate`` knows it."""

WEIGHT_RATIO = (0.01, 1.0)

USED_BY: dict[str, frozenset[SignalName]] = {
    "noise/patience": frozenset({"stuck"}),
    "noise/grad_plateau_threshold": frozenset({"grad_norm_plateau"}),
    "noise/weight_update_threshold": frozenset({"low_weight_update"}),
    "noise/plateau_delta": frozenset({"val_loss_plateau", "overfitting"}),
    # Only these two measure how severe it is; for the others severity is 0.5, so that the minimum
    # and the extra say the same thing. The cooldown asks the gradient's severity alone.
    "noise/magnitude_extra": frozenset({"grad_norm_plateau", "val_loss_plateau"}),
    "noise/cooldown_extra": frozenset({"grad_norm_plateau"}),
}
"""Settings that act through certain signals only."""


@dataclass(frozen=True)
class Timing:
    """The largest values of the settings that decide when the first noise begins and ends.

    Attributes:
        warmup, window, trigger, injection: in epochs.
        patience: epochs; negative if signal ``stuck`` could not be raised in time.
        begin: the last epoch before which the first signal is raised.
    """

    warmup: int
    window: int
    trigger: int
    injection: int
    patience: int
    begin: int


def _timing(epochs: int) -> Timing | None:
    """How a budget is divided; None if it is too small for any noise to begin and end within it."""
    trigger = _clamp(epochs // 10, 1, 5)
    injection = max(1, epochs // 4)
    begin = epochs - 1 - injection - (trigger - 1)
    if begin < 2:  # no window is shorter than two epochs
        return None
    return Timing(
        warmup=_clamp(epochs // 5, 1, begin),
        window=_clamp(epochs // 5, 2, min(begin, 20)),
        trigger=trigger,
        injection=injection,
        # Epoch 0 is always a new best, and patience + 1 epochs must follow it.
        patience=min(begin - 2, max(1, epochs // 5)),
        begin=begin,
    )


def adaptive_noise(base: TrainConfig) -> dict[str, BaseDistribution]:
    """Everything about adaptive noise: strength, signals, thresholds, timing, cooldown.

    The settings of signals that ``base`` does not listen to, and other settings without effect,
    are left out.

    Raises:
        InputError: if the epoch budget is too small.
    """
    timing, sets = _fit("adaptive_noise", base, SIGNAL_SETS)
    epochs = base.epochs
    shortest_warmup = min(epochs // 20, timing.warmup)
    return with_effect(
        {
            "noise/magnitude_min": magnitudes(base.noise.scaling),
            "noise/magnitude_extra": magnitudes(base.noise.scaling),
            "noise/weight_ratio": FloatDistribution(*WEIGHT_RATIO, log=True),
            "noise/distribution": noise_distributions(),
            "noise/schedule": schedules(),
            "noise/signals": signal_choices(sets),
            "noise/patience": IntDistribution(0, max(0, timing.patience)),
            "noise/warmup_epochs": IntDistribution(shortest_warmup, timing.warmup),
            "noise/window": IntDistribution(2, timing.window),
            **thresholds(),
            "noise/trigger_epochs": IntDistribution(1, timing.trigger),
            "noise/max_injection_epochs": IntDistribution(1, timing.injection),
            "noise/cooldown_min": IntDistribution(0, max(1, epochs // 10)),
            "noise/cooldown_extra": IntDistribution(0, max(1, epochs // 5)),
        },
        base.noise,
    )


def adaptive_noise_small(base: TrainConfig) -> dict[str, BaseDistribution]:
    """How strong, of which kind, on which thresholds, and for how long.

    The kind follows from the signals, each the one with the smoothest statistic of its kind. The
    timing is the base's where noise can begin in the first half of the budget; where it can't, the
    space fixes a timing that fits (distributions of a single value, which nothing is spent on).

    Raises:
        InputError: if the epoch budget is too small.
    """
    timing, sets = _fit("adaptive_noise_small", base, SMALL_SIGNAL_SETS)
    noise = base.noise
    begin = max(noise.warmup_epochs, noise.window) + noise.trigger_epochs - 1
    fixed: dict[str, BaseDistribution] = {}
    longest = min(timing.injection, base.epochs - 1 - begin)
    if begin > base.epochs // 2 or longest < 1:
        longest = timing.injection
        fixed = {
            "noise/warmup_epochs": _only(min(base.epochs // 10, timing.warmup)),
            "noise/window": _only(min(noise.window, timing.window)),
            "noise/trigger_epochs": _only(min(noise.trigger_epochs, timing.trigger)),
        }
    ranges = thresholds()
    return with_effect(
        {
            "noise/magnitude_min": magnitudes(noise.scaling),
            "noise/signals": signal_choices(sets),
            "noise/weight_update_threshold": ranges["noise/weight_update_threshold"],
            "noise/plateau_delta": ranges["noise/plateau_delta"],
            "noise/max_injection_epochs": IntDistribution(1, longest),
            **fixed,
        },
        noise,
    )


def thresholds() -> dict[str, BaseDistribution]:
    """The uncalibrated ranges of the thresholds, log."""
    return {path: FloatDistribution(*ends, log=True) for path, ends in THRESHOLDS.items()}


def signal_choices(sets: Iterable[SignalSet]) -> CategoricalDistribution:
    """The categories of ``noise/signals``: names joined by ``+``, as the configuration reads."""
    return CategoricalDistribution(tuple("+".join(names) for names in sets))


def signal_sets(choices: Iterable[Any]) -> tuple[SignalSet, ...]:
    """The inverse of ``signal_choices``, for its choices."""
    return tuple(
        tuple(name for name in ALL_SIGNALS if name in str(choice).split("+")) for choice in choices
    )


def listening_only_to(sets: Iterable[SignalSet], kept: Iterable[SignalName]) -> list[SignalSet]:
    """The sets without the signals that are not kept; empty and doubled ones fall away."""
    wanted = frozenset(kept)
    reduced = (tuple(name for name in names if name in wanted) for names in sets)
    return list(dict.fromkeys(names for names in reduced if names))


def with_effect(
    space: Mapping[str, BaseDistribution], noise: NoiseConfig
) -> dict[str, BaseDistribution]:
    """A space without the settings that have no effect at any of its points.

    Args:
        space: distributions by path.
        noise: the base's settings, for the signals if the space does not search them.
    """
    choices = space.get("noise/signals")
    listened = (
        {name for names in signal_sets(choices.choices) for name in names}
        if isinstance(choices, CategoricalDistribution)
        else set(noise.signals)
    )
    idle = {path for path, users in USED_BY.items() if users.isdisjoint(listened)}
    if listened <= GRADIENT_SIGNALS or listened.isdisjoint(GRADIENT_SIGNALS):
        # Noise of one kind: the ratio scales nothing, or everything, as the magnitude does.
        idle.add("noise/weight_ratio")
    return {path: distribution for path, distribution in space.items() if path not in idle}


def earliest_of(space: Mapping[str, BaseDistribution], base: TrainConfig) -> int:
    """The earliest epoch in which noise could begin at any point of an adaptive space."""
    lowest: dict[str, Any] = {}
    for path in ("warmup_epochs", "window", "trigger_epochs", "patience"):
        distribution = space.get(f"noise/{path}")
        if isinstance(distribution, IntDistribution):
            lowest[path] = distribution.low
    choices = space.get("noise/signals")
    sets = (
        signal_sets(choices.choices)
        if isinstance(choices, CategoricalDistribution)
        else (base.noise.signals,)
    )
    # A lower value of any of these settings never lets noise begin later.
    found = (
        base.noise.model_copy(
            update={**lowest, "policy": "on_stagnation", "signals": names}
        ).earliest_injection()
        for names in sets
    )
    return min((epoch for epoch in found if epoch is not None), default=base.epochs)


def _fit(name: str, base: TrainConfig, sets: Iterable[SignalSet]) -> tuple[Timing, list[SignalSet]]:
    """The division of the budget, and the sets of signals that can be raised in time."""
    sets = tuple(sets)
    timing = _timing(base.epochs)
    usable = _usable(base, sets, timing)
    if timing is not None and usable:
        return timing, usable
    if not _usable(base, sets, _timing(10**6)):
        raise InputError(
            f"noise.signals = {'+'.join(base.noise.signals)}, noise.patience = "
            f"{base.noise.patience}: space {name} has no signal left to listen to; "
            f"it knows {', '.join(sorted({signal for names in sets for signal in names}))}"
        )
    least = next(epochs for epochs in count(1) if _usable(base, sets, _timing(epochs)))
    raise InputError(
        f"epochs = {base.epochs}: space {name} needs at least {least}, "
        "so that noise can begin and end within the budget"
    )


def _usable(base: TrainConfig, sets: Iterable[SignalSet], timing: Timing | None) -> list[SignalSet]:
    if timing is None:
        return []
    noise = base.noise
    impossible: set[SignalName] = set()
    if noise.patience is None or timing.patience < 0:
        impossible.add("stuck")
    if noise.overfit_epochs + 1 > timing.begin:
        impossible.add("overfitting")
    return listening_only_to(sets, set(noise.signals) - impossible)


def _only(value: int) -> IntDistribution:
    return IntDistribution(value, value)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
