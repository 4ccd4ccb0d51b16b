"""Calibrated spaces: the ranges of the thresholds, read off the baseline's own statistics.

A threshold in absolute units means nothing across models: most of a box that one would write down
is settings that never inject, or that inject as soon as they may. Until its noise begins a trial
equals its baseline, so that the baseline's recorded statistics say of any threshold when noise
would begin. Only what is sampled changes; given configurations are left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
    json_to_distribution,
)

from search_spaces.adaptive import (
    SignalSet,
    listening_only_to,
    signal_choices,
    signal_sets,
    with_effect,
)
from search_spaces.conditions import Conditions
from search_spaces.registry import SpaceSpec
from search_spaces.thresholds import View
from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics
from trainables.noise.signals import SIGNALS


@dataclass(frozen=True)
class CalibratedSpace:
    """A space as it stays for the whole study.

    ``notes`` say for people what was set and left out; ``dropped`` has signals, and why.
    ``conditions`` and ``opening`` are as in ``SpaceSpec``.
    """

    distributions: Mapping[str, BaseDistribution]
    notes: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=dict)
    opening: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        optional: dict[str, Any] = {"conditions": self.conditions, "opening": list(self.opening)}
        return {
            "distributions": {
                path: distribution_to_json(distribution)
                for path, distribution in self.distributions.items()
            },
            "notes": list(self.notes),
            "dropped": dict(self.dropped),
            **{name: part for name, part in optional.items() if part},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CalibratedSpace":
        return cls(
            distributions={
                path: json_to_distribution(text) for path, text in values["distributions"].items()
            },
            notes=tuple(values["notes"]),
            dropped=dict(values["dropped"]),
            conditions=dict(values.get("conditions", {})),
            opening=tuple(values.get("opening", ())),
        )


def as_written(
    space: SpaceSpec,
    box: Mapping[str, BaseDistribution],
    notes: Sequence[str] = (),
    dropped: Mapping[str, str] | None = None,
) -> CalibratedSpace:
    """A space with these distributions, and the conditions and the opening that they have."""
    conditions, opening = space.conditions(box), space.opening(box)
    return CalibratedSpace(box, tuple(notes), dropped or {}, conditions, tuple(opening))


def calibrate(
    space: SpaceSpec, base: TrainConfig, history: Sequence[EpochMetrics]
) -> CalibratedSpace:
    """Set a space's thresholds from the baseline's statistics, and leave out what says nothing.

    For each signal alone, with the space's own windows, warm-ups and triggers, each candidate
    threshold (between quantiles of the statistic over the windows past the warm-up) gives the
    epochs at which noise would begin. The range kept is the one that spreads them widest while few
    enough settings never inject, or inject at once; early forks, which cost most, count against it.
    A signal without such a range is left out. A range that a user gave stays as it is.
    """
    box = space.distributions(base)
    choices = box.get("noise/signals")
    if space.policy != "on_stagnation" or not isinstance(choices, CategoricalDistribution):
        return as_written(space, box, [f"space {space.name} has no thresholds to calibrate"])
    sets = signal_sets(choices.choices)
    listened = dict.fromkeys(name for names in sets for name in names)
    view = View(box, base, history)
    ranges: dict[str, BaseDistribution] = {}
    notes: list[str] = []
    dropped: dict[str, str] = {}
    for path in dict.fromkeys(SIGNALS[name].path for name in listened):
        if path not in box or path in space.ranged:
            continue
        found = view.find(path, [name for name in listened if SIGNALS[name].path == path])
        ranges |= found.ranges
        dropped |= found.dropped
        notes += found.notes
    notes += [f"{name}: the range you gave is kept as it is" for name in sorted(space.ranged)]
    kept: Sequence[SignalSet] = listening_only_to(sets, listened.keys() - dropped.keys())
    if "noise/signals" in space.ranged:
        kept, dropped = sets, {}
        stays = "stays in the range you gave, though calibration would leave it out"
        notes = [note.replace("is left out", stays) for note in notes]
    if not kept:
        why = "no signal has a range of thresholds that works; the space stays as it is"
        return as_written(space, box, [*notes, why])
    replaced = {path: ranges.get(path, distribution) for path, distribution in box.items()}
    narrowed = {**replaced, "noise/signals": signal_choices(kept)}
    effective = with_effect(narrowed, base.noise)
    # A user's range is searched even where it can have no effect.
    wanted = {n: d for n, d in narrowed.items() if n in effective or n in space.ranged}
    return as_written(space, wanted, notes, dropped)
