"""The space of all noise: adaptive or static, of which kind, how strong, how timed."""

import math
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.adaptive import SignalSet, fit, signal_choices, signal_sets, thresholds
from search_spaces.conditions import Condition, Conditions, build_point
from search_spaces.opening import SCHEDULE, half_decades, preferred
from search_spaces.ranges import magnitudes, schedules
from trainables.config import TrainConfig
from trainables.noise.kinds import NOISE_KINDS
from trainables.noise.signals import SIGNALS

POLICY = "on_stagnation"
DESCRIPTION = "noise, adaptive or static: which kind, how strong, on which signals, how timed"

_KINDS = {
    kind: tuple(name for name, signal in SIGNALS.items() if signal.asks_for == kind)
    for kind in NOISE_KINDS
}
"""The signals that ask for each kind."""

_SIGNAL_SETS: tuple[SignalSet, ...] = tuple(
    dict.fromkeys([*((name,) for name in SIGNALS), *(names for names in _KINDS.values() if names)])
)
"""Each signal alone, and all that ask for one kind: so the signals say the kind."""

_MAGNITUDES = (
    *(("magnitude_min", unit) for unit in ("step", *(kind for kind in _KINDS if _KINDS[kind]))),
    *(("magnitude", unit) for unit in ("step", *_KINDS)),
)
"""The settings of the magnitude, each with the units that it is searched in. All but ``step`` are
kinds of noise, of scaling ``relative`` where that means something; else it is a probability."""

_LARGEST_PROBABILITY = 0.5

_ONLY_ADAPTIVE = (
    *("magnitude_extra", "weight_ratio", "warmup_epochs", "window", "trigger_epochs"),
    *("max_injection_epochs", "cooldown_min", "cooldown_extra"),
)

_LONGEST = "noise/max_injection_epochs"

_OPENING = tuple(
    (policy, kind)
    for kind, names in _KINDS.items()
    for policy in (("on_stagnation", "always") if names else ("always",))
)
"""Policy and kind of the trials that a search opens with, for each magnitude in turn."""


def distributions(base: TrainConfig) -> dict[str, BaseDistribution]:
    """Every dimension that a point may have; ``conditions`` says which it has.

    A magnitude means another thing for each kind and scaling, so each has its own range. What
    matters least is fixed: the magnitude and the cooldown do not follow the severity, and all noise
    is Gaussian.
    """
    timing, sets = fit("noise", base, _SIGNAL_SETS)
    # Whether a task of one's own knows its rate, only its trainings could say.
    by_step = base.task.name is None and base.optimizer.step_rate is not None
    return {
        "noise/policy": CategoricalDistribution(("on_stagnation", "always")),
        "noise/signals": signal_choices(sets),
        "noise/kind": CategoricalDistribution(tuple(NOISE_KINDS)),
        "noise/scaling": CategoricalDistribution(
            ("step", "relative") if by_step else ("relative",)
        ),
        "noise/scaling@relative": CategoricalDistribution(("relative",)),
        **{
            f"noise/{name}@{unit}": _magnitudes(unit)
            for name, unit in _MAGNITUDES
            if by_step or unit != "step"
        },
        "noise/magnitude_extra": FloatDistribution(0, 0),
        "noise/weight_ratio": FloatDistribution(1, 1),
        "noise/distribution": CategoricalDistribution(("gaussian",)),
        "noise/schedule": schedules(),
        "noise/patience": IntDistribution(0, max(0, timing.patience)),
        "noise/warmup_epochs": IntDistribution(0, timing.warmup),
        "noise/window": IntDistribution(2, timing.window),
        **thresholds(),
        "noise/trigger_epochs": IntDistribution(1, timing.trigger),
        "noise/max_injection_epochs": IntDistribution(1, timing.injection),
        "noise/cooldown_min": IntDistribution(0, max(1, base.epochs // 10)),
        "noise/cooldown_extra": IntDistribution(0, 0),
    }


def _magnitudes(unit: str) -> FloatDistribution:
    if unit == "step":
        return magnitudes("step")
    relative = magnitudes("relative")
    high = relative.high if NOISE_KINDS[unit].has_distribution else _LARGEST_PROBABILITY
    return FloatDistribution(relative.low, high, log=True)


def conditions(box: Mapping[str, BaseDistribution]) -> Conditions:
    """Where each dimension has an effect; ``box`` may be calibrated."""
    adaptive: Condition = {"noise/policy": ("on_stagnation",)}
    static: Condition = {"noise/policy": ("always",)}
    of_adaptive: dict[str, list[Condition]] = {
        kind: [{"noise/signals": _choices(box, names)}] for kind, names in _KINDS.items() if names
    }
    of_static: dict[str, list[Condition]] = {
        kind: [{**static, "noise/kind": (kind,)}] for kind in NOISE_KINDS
    }
    found: dict[str, list[Condition]] = {
        "noise/signals": [adaptive],
        "noise/kind": [static],
        "noise/scaling": [*of_adaptive["gradient"], *of_static["gradient"]],
        "noise/scaling@relative": [
            each
            for of_kind in (of_adaptive, of_static)
            for kind, several in of_kind.items()
            if kind != "gradient" and NOISE_KINDS[kind].has_distribution
            for each in several
        ],
        **{f"noise/{name}": [adaptive] for name in _ONLY_ADAPTIVE},
    }
    for name, unit in _MAGNITUDES:
        of_kind = of_adaptive if name == "magnitude_min" else of_static
        found[f"noise/{name}@{unit}"] = (
            [
                {**each, "noise/scaling": ("step",) if unit == "step" else _other_than_step(box)}
                for each in of_kind["gradient"]
            ]
            if unit in ("step", "gradient")
            else of_kind[unit]
        )
    for path in {signal.path for signal in SIGNALS.values()}:
        names = [name for name, signal in SIGNALS.items() if signal.path == path]
        found[path] = [{"noise/signals": _choices(box, names)}]
    return {name: found[name] for name in box if name in found}


def _other_than_step(box: Mapping[str, BaseDistribution]) -> tuple[str, ...]:
    """A user's range may have ``absolute``, whose magnitudes are searched as relative ones."""
    return tuple(each for each in _scalings(box) if each != "step")


def _scalings(box: Mapping[str, BaseDistribution]) -> tuple[str, ...]:
    return tuple(getattr(box["noise/scaling"], "choices", ()))


def _choices(box: Mapping[str, BaseDistribution], names: Iterable[str]) -> tuple[str, ...]:
    """The sets of signals that have one of ``names``, as they are written."""
    choices = box["noise/signals"]
    assert isinstance(choices, CategoricalDistribution)
    wanted = set(names)
    return tuple(
        str(choice)
        for choice, listened in zip(choices.choices, signal_sets(choices.choices), strict=True)
        if wanted & set(listened)
    )


def opening(box: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """The points that a search begins with: every kind, static and adaptive, decade by decade.

    Chance alone would leave whole kinds or decades untried in a small study. The magnitudes are the
    half decades of a range: the middle one for each kind, then those above it, which are more
    likely to do anything, then those below. The timing is the simplest: noise as early and as long
    as the space has it; thresholds are the middle of their ranges.
    """
    columns = []
    for policy, kind in _OPENING:
        signals = max(_choices(box, _KINDS[kind]), key=lambda s: s.count("+"), default=None)
        if policy == "on_stagnation" and signals is None:
            continue
        name = "noise/magnitude_min" if policy == "on_stagnation" else "noise/magnitude"
        by_step = kind == "gradient" and _scalings(box)[:1] == ("step",)
        unit = f"{name}@step" if by_step else f"{name}@{kind}"
        common = {"noise/policy": policy, "noise/kind": kind, "noise/signals": signals}
        columns.append([{**common, unit: value} for value in half_decades(box[unit])])
    return [
        _simplest(box, chosen)
        for row in zip_longest(*columns)
        for chosen in row
        if chosen is not None
    ]


def _simplest(box: Mapping[str, BaseDistribution], chosen: Mapping[str, Any]) -> dict[str, Any]:
    compared = {signal.path for signal in SIGNALS.values() if signal.search_range}

    def value(name: str) -> Any:
        if name in chosen:
            return chosen[name]
        distribution = box[name]
        if name == "noise/schedule":
            return preferred(distribution, SCHEDULE)
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[0]
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        if name in compared:
            # Raised always, noise would be as good as static, which the opening has anyway.
            low, high = distribution.low, distribution.high
            return math.sqrt(low * high) if low != high else low
        return distribution.high if name == _LONGEST else distribution.low

    return build_point(box, conditions(box), value)
