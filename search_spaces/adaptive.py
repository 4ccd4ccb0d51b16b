"""What the spaces of adaptive noise share: sets of signals, timing, settings without effect.

Whatever depends on time follows the epoch budget: at every point of a space the first noisy epochs
can both begin and end within it, and at least one clean epoch is left after them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.conditions import path_of
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.noise.kinds import NOISE_KINDS
from trainables.noise.signals import SIGNALS, severity_signals
from trainables.noise_config import NoiseConfig

SignalSet = tuple[str, ...]

_OF_ONE_KIND = (
    tuple(name for name, signal in SIGNALS.items() if signal.asks_for == kind)
    for kind in NOISE_KINDS
)

SIGNAL_SETS: tuple[SignalSet, ...] = (
    *((name,) for name in SIGNALS),
    ("low_weight_update", "stuck"),
    *(names for names in _OF_ONE_KIND if names),
    ("low_weight_update", "val_loss_plateau"),
    ("stuck", "overfitting"),
    tuple(SIGNALS),
)
"""The sets of signals that are tried: each alone, those of one kind of noise together, one of each
kind together, and all. All 31 subsets would be more choices than a study has trials."""


@dataclass(frozen=True)
class Timing:
    """The largest values of the settings that decide when the first noise begins and ends.

    Attributes:
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


def thresholds() -> dict[str, BaseDistribution]:
    """The uncalibrated ranges of the thresholds, log, in the order of the configuration."""
    ranges = {each.setting: each.search_range for each in SIGNALS.values() if each.search_range}
    return {
        f"noise/{name}": FloatDistribution(*ranges[name], log=True)
        for name in NoiseConfig.model_fields
        if name in ranges
    }


def signal_choices(sets: Iterable[SignalSet]) -> CategoricalDistribution:
    """The categories of ``noise/signals``: names joined by ``+``, as the configuration reads."""
    return CategoricalDistribution(tuple("+".join(names) for names in sets))


def signal_sets(choices: Iterable[Any]) -> tuple[SignalSet, ...]:
    """The inverse of ``signal_choices``, for its choices."""
    return tuple(
        tuple(name for name in SIGNALS if name in str(choice).split("+")) for choice in choices
    )


def listening_only_to(sets: Iterable[SignalSet], kept: Iterable[str]) -> list[SignalSet]:
    """The sets without the signals that are not kept; empty and doubled ones fall away."""
    wanted = frozenset(kept)
    reduced = (tuple(name for name in names if name in wanted) for names in sets)
    return list(dict.fromkeys(names for names in reduced if names))


_BY_SEVERITY: Mapping[str, list[str]] = {
    # Without a signal that measures how severe it is the severity is 0.5: the minimum and the
    # extra then say the same thing. The cooldown asks the gradient's severity alone.
    "noise/magnitude_extra": [name for name, each in SIGNALS.items() if each.measures_severity],
    "noise/cooldown_extra": severity_signals("gradient"),
}
"""Settings that act through certain signals only, besides the signals' own."""


def with_effect(
    space: Mapping[str, BaseDistribution], noise: NoiseConfig
) -> dict[str, BaseDistribution]:
    """A space without what has no effect; ``noise`` has the signals if it searches none."""
    choices = space.get("noise/signals")
    listened = (
        {name for names in signal_sets(choices.choices) for name in names}
        if isinstance(choices, CategoricalDistribution)
        else set(noise.signals)
    )
    idle = {path for path, names in _BY_SEVERITY.items() if listened.isdisjoint(names)}
    if len({NOISE_KINDS[SIGNALS[name].asks_for].ratio for name in listened}) < 2:
        # The ratio scales nothing, or everything, as the magnitude does.
        idle.add("noise/weight_ratio")
    # What a space fixes, the base may have otherwise.
    idle = {path for path in idle if path in space and not space[path].single()}
    idle |= {signal.path for signal in SIGNALS.values()} - {SIGNALS[name].path for name in listened}
    return {path: distribution for path, distribution in space.items() if path not in idle}


def earliest_of(
    space: Mapping[str, BaseDistribution],
    base: TrainConfig,
    sometimes: Collection[str] = (),
) -> int:
    """The earliest epoch in which noise could begin at any point of an adaptive space.

    ``sometimes``: dimensions that only some points have; the others have the base's value.
    """
    lowest: dict[str, int] = {}
    for name, distribution in space.items():
        field = path_of(name).removeprefix("noise/")
        values = [*_whole_numbers(distribution), *([lowest[field]] if field in lowest else [])]
        own = getattr(base.noise, field) if values and name in sometimes else None
        if values:
            lowest[field] = min([*values, *([own] if isinstance(own, int) else [])])
    choices = space.get("noise/signals")
    sets = (
        signal_sets(choices.choices)
        if isinstance(choices, CategoricalDistribution)
        else (base.noise.signals,)
    )
    # A lower value of a setting in epochs never lets noise begin later.
    found = (
        base.noise.model_copy(
            update={**lowest, "policy": "on_stagnation", "signals": names}
        ).earliest_injection()
        for names in sets
    )
    return min((epoch for epoch in found if epoch is not None), default=base.epochs)


def _whole_numbers(distribution: BaseDistribution) -> list[int]:
    """The whole numbers that a dimension may be, as far as the lowest is among them."""
    if isinstance(distribution, IntDistribution):
        return [distribution.low]
    choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
    return [each for each in choices if isinstance(each, int) and not isinstance(each, bool)]


def fit(name: str, base: TrainConfig, sets: Iterable[SignalSet]) -> tuple[Timing, list[SignalSet]]:
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
    # As early as a space lets them: no window is shorter, and the patience is searched from 0.
    noise = base.noise.model_copy(
        update={"window": 2, "patience": None if base.noise.patience is None else 0}
    )
    needs = {name: SIGNALS[name].earliest(noise) for name in noise.signals}
    return listening_only_to(
        sets, [name for name, n in needs.items() if n is not None and n <= timing.begin]
    )


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
