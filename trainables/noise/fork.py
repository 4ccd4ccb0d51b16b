"""Forking: which run is a configuration's baseline, and what they share.

A trial equals the baseline of its seed until its noise begins. Both are found by content: the
baseline is the same configuration without noise, and its digest names its records and checkpoints.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from trainables.config import TrainConfig, without_later
from trainables.metrics import EpochMetrics
from trainables.noise.controller import replay
from trainables.noise_config import NoiseConfig

_NOT_NUMBERS: dict[str, Any] = {
    "data": {"workers", "stream_workers", "download", "data_dir"},
    "noise": True,
    "task": {"metrics"},
}
"""Settings that say where data come from and how they are read, not what they are; the noise, which
no baseline has; and what a task says of its metrics."""

_NO_NOISE = {
    "policy": "off",
    "kind": "gradient",
    "magnitude": 0.01,
    "magnitude_min": 0.01,
    "magnitude_extra": 0.09,
    "weight_ratio": 1.0,
    "schedule": "constant",
    "distribution": "gaussian",
    "scaling": "relative",
    "layers": [],
    "permanent": False,
    "signals": [
        *("grad_norm_plateau", "low_weight_update", "stuck", "val_loss_plateau", "overfitting")
    ],
    "patience": 5,
    "warmup_epochs": 10,
    "window": 5,
    "overfit_epochs": 3,
    "plateau_delta": 0.0001,
    "grad_plateau_threshold": 0.05,
    "weight_update_threshold": 0.0001,
    "trigger_epochs": 3,
    "max_injection_epochs": 10,
    "cooldown_min": 5,
    "cooldown_extra": 10,
}
"""What digests have in place of the noise: its settings' defaults when they were introduced. So
digests stay what they are, whatever settings and signals are added."""


def baseline_digest(config: TrainConfig) -> str:
    """16 hexadecimal digits that name the baseline of ``config``."""
    values = config.model_dump(mode="json", exclude=_NOT_NUMBERS)
    text = json.dumps({**without_later(config, values), "noise": _NO_NOISE}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def annotate(
    rows: Sequence[EpochMetrics], noise: NoiseConfig, epochs: int
) -> tuple[EpochMetrics, ...]:
    """The baseline's rows as the trial would have reported them: with its controller's view.

    Valid up to the trial's first injected epoch, where the shared part ends.
    """
    return tuple(
        dataclasses.replace(row, **injection.recorded())
        for row, injection in zip(rows, replay(rows, noise, epochs), strict=False)
    )


def kept_epochs(first: int, epochs: int, size: int, budget: int) -> tuple[int, ...]:
    """The epochs after which a baseline keeps a checkpoint that trials may fork from.

    The densest even spacing that fits: no checkpoint before ``first`` (no trial's noise begins
    earlier), none at 0 (nothing is trained yet) and none at ``epochs`` (nothing is left to train).

    Args:
        first: the first epoch at which any trial's noise may begin.
        size: bytes of one checkpoint.
        budget: bytes for all of them; if not even one fits, none is kept.
    """
    start = max(1, first)
    candidates = epochs - start
    fits = budget // max(1, size)
    if candidates <= 0 or fits <= 0:
        return ()
    spacing = math.ceil(candidates / fits)
    return tuple(range(start, epochs, spacing))
