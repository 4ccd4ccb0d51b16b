"""The space of the settings of adaptive noise that matter most."""

from optuna.distributions import BaseDistribution, IntDistribution

from search_spaces.adaptive import SignalSet, fit, signal_choices, thresholds, with_effect
from search_spaces.ranges import magnitudes
from trainables.config import TrainConfig

POLICY = "on_stagnation"
DESCRIPTION = "the five settings of adaptive noise that matter most"

_SIGNAL_SETS: tuple[SignalSet, ...] = (
    ("low_weight_update",),
    ("val_loss_plateau",),
    ("low_weight_update", "val_loss_plateau"),
)
"""Gradient noise, weight noise, and both: each by the signal that has the smoothest statistic."""


def distributions(base: TrainConfig) -> dict[str, BaseDistribution]:
    """How strong, of which kind, on which thresholds, and for how long.

    The kind follows from the signals, each the one with the smoothest statistic of its kind. The
    timing is the base's where noise can begin in the first half of the budget; where it can't, the
    space fixes a timing that fits (distributions of a single value, which nothing is spent on).
    """
    timing, sets = fit("adaptive_noise_small", base, _SIGNAL_SETS)
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


def _only(value: int) -> IntDistribution:
    return IntDistribution(value, value)
