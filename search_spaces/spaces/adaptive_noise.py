"""The space of adaptive noise: everything about it."""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from search_spaces.adaptive import SIGNAL_SETS, fit, signal_choices, thresholds, with_effect
from search_spaces.ranges import magnitudes, noise_distributions, schedules
from trainables.config import TrainConfig

POLICY = "on_stagnation"
DESCRIPTION = "adaptive noise: how strong, which signals, their thresholds, timing and cooldown"

_WEIGHT_RATIO = (0.01, 1.0)


def distributions(base: TrainConfig) -> dict[str, BaseDistribution]:
    """Settings without effect, as those of signals not in ``base``, are left out."""
    timing, sets = fit("adaptive_noise", base, SIGNAL_SETS)
    epochs = base.epochs
    shortest_warmup = min(epochs // 20, timing.warmup)
    return with_effect(
        {
            "noise/magnitude_min": magnitudes(base.noise.scaling),
            "noise/magnitude_extra": magnitudes(base.noise.scaling),
            "noise/weight_ratio": FloatDistribution(*_WEIGHT_RATIO, log=True),
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
