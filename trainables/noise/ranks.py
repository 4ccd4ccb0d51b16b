"""One training in several processes (DDP): one decision, the same noise on what they share."""

import math
from typing import Any

import torch
from torch import distributed as dist

from trainables.random_streams import generator, stream_seed

_OWN = frozenset({"input", "label"})
"""Kinds that perturb what each process has for itself. Gradients and weights are the same in all,
and must stay so."""


def generator_of_rank(seed: int, epoch: int, device: torch.device, kind: str) -> torch.Generator:
    """The noise's stream in one epoch; the first process's is that of ``noise-train``."""
    rank = dist.get_rank() if _several() and kind in _OWN else 0
    if rank == 0:
        return generator(seed, "noise", epoch, device)
    return generator(stream_seed(seed, "noise", epoch), "noise", rank, device)


def over_ranks(**figures: float | None) -> dict[str, Any]:
    """Means over the processes that know a figure, the same in all; NaN where none does."""
    gathered: list[dict[str, float | None]] = [figures]
    if _several():
        gathered = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(gathered, figures)
    return {name: _mean([each[name] for each in gathered]) for name in figures}


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
