"""Paired differences: configuration − reference of the same seed."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

_DIGITS = 12

Key = TypeVar("Key")


def paired_differences(
    values: Mapping[Key, float | None], reference: Mapping[Key, float | None]
) -> dict[Key, float]:
    """``values`` − ``reference`` by key (a seed, or a figure's name); only where both are there."""
    pairs = ((key, value, reference.get(key)) for key, value in values.items())
    return {key: a - b for key, a, b in pairs if a is not None and b is not None}


@dataclass(frozen=True, slots=True)
class Paired:
    """Paired differences of a configuration and its reference, by seed.

    Attributes:
        seeds: every seed that either was trained on, ascending.
        differences: configuration − reference; None where either is missing or not finite.
    """

    seeds: tuple[int, ...]
    differences: tuple[float | None, ...]

    @property
    def complete(self) -> tuple[float, ...]:
        """The differences that exist."""
        return tuple(value for value in self.differences if value is not None)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Seeds without a difference: a run failed, diverged or is missing."""
        pairs = zip(self.seeds, self.differences, strict=True)
        return tuple(seed for seed, value in pairs if value is None)


def pair(values: Mapping[int, float | None], reference: Mapping[int, float | None]) -> Paired:
    """Pair a metric of a configuration with that of its reference, by seed.

    Differences lose the noise of subtracting nearly equal doubles: they are rounded at about 1e-12
    of the values' size, lest 0.9 − 0.8 and 0.8 − 0.7 be taken for different, which would break a
    Wilcoxon test's ties and give equal ones a spread. A failed run's value is None or not finite.
    """
    # A difference is finite only if both values are.
    found = {s: d for s, d in paired_differences(values, reference).items() if math.isfinite(d)}
    sizes = [max(abs(side[seed] or 0.0) for side in (values, reference)) for seed in found]
    size = statistics.median(sizes) if sizes else 0.0
    if size > 0:
        digits = _DIGITS - math.ceil(math.log10(size))
        found = {seed: round(difference, digits) for seed, difference in found.items()}
    seeds = tuple(sorted(values.keys() | reference.keys()))
    return Paired(seeds, tuple(map(found.get, seeds)))
