"""The figures of a loop of one's own: a number a step, and rows that may lack some."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.errors import InputError
from trainables.metrics import EpochMetrics


class Series:
    """A number for each step, kept on its device until the end of the epoch."""

    def __init__(self) -> None:
        self._values: Tensor | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, value: float | Tensor) -> None:
        """``value``: a number or a tensor of one element."""
        found = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
        if self._values is None:
            self._values = torch.zeros(256, device=found.device)
        elif self._length == len(self._values):
            self._values = torch.cat([self._values, torch.zeros_like(self._values)])
        self._values[self._length] = found
        self._length += 1

    def mean(self, *, finite_only: bool) -> float:
        assert self._values is not None
        values = self._values[: self._length].double()
        if finite_only:
            values = values[values.isfinite()]
        return float(values.mean()) if len(values) else math.nan


def number(value: float | Tensor | None) -> float | None:
    """``value`` as a float; a tensor has one element."""
    if value is None:
        return None
    return float(value.detach() if isinstance(value, Tensor) else value)


def plain(row: EpochMetrics) -> dict[str, Any]:
    # Some that keep states, as JSON does, have no NaN.
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in row.to_dict().items()
    }


STATE = ("noise", "epochs", "seed", "history", "gradient_unit")
"""What a state of an ``AdaptiveNoise`` has."""


def history_of(state: object, epochs: int) -> tuple[list[EpochMetrics], float | None]:
    """The history in a state, and the unit of its gradient noise; refused if it is none."""
    if not isinstance(state, Mapping):
        raise InputError(f"state: a mapping, not {type(state).__name__}")
    lacking = [name for name in STATE if name not in state]
    if lacking:
        raise InputError(
            f"state: not that of an AdaptiveNoise: it has no {', '.join(lacking)}; give what its "
            "state_dict() returned"
        )
    try:
        rows = [_row_of(row) for row in state["history"]]
        unit = None if state["gradient_unit"] is None else float(state["gradient_unit"])
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"state: its history or gradient_unit is damaged: {error}") from None
    if [row.epoch for row in rows] != list(range(min(len(rows), epochs))):
        raise InputError(f"state: its history is not that of a part of {epochs} epochs")
    return rows, unit


def _row_of(row: Mapping[str, Any]) -> EpochMetrics:
    numbers = {field.name for field in dataclasses.fields(EpochMetrics) if field.type is float}
    return EpochMetrics.from_dict(
        {k: math.nan if v is None and k in numbers else v for k, v in row.items()}
    )
