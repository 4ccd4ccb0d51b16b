"""Pareto fronts: what nothing else beats in one respect without losing in another."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key")


def front(points: Mapping[Key, Sequence[float]]) -> list[Key]:
    """The keys of the points that no other point beats; more is better in every respect."""

    def beaten(mine: Sequence[float], other: Sequence[float]) -> bool:
        pairs = list(zip(mine, other, strict=True))
        return all(b >= a for a, b in pairs) and any(b > a for a, b in pairs)

    return [
        key
        for key, mine in points.items()
        if not any(beaten(mine, other) for other in points.values())
    ]
