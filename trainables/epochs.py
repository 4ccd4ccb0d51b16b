"""How epochs are counted: from 0 in what is recorded and computed, from 1 where people read."""

from collections.abc import Iterable


def epoch_number(index: int) -> int:
    """The number that people see of an epoch; ``index`` counts from 0, as records do."""
    return index + 1


def epoch_numbers(indices: Iterable[int]) -> list[int]:
    return [epoch_number(index) for index in indices]
