"""A classifier that fails when its weights are noisy enough; how it fails follows from how noisy.

Its files are in the folder that the environment variable ``FAULTS`` names.
"""

import os
import signal
from pathlib import Path

import torch
from torch import Tensor, nn

KILLS_ITS_WORKER, IS_A_BUG, NEEDS_TOO_MUCH = 20.0, 1e3, 1e5
"""Magnitudes of relative weight noise that make it fail in one way or the other."""

KILL_AT = 40
"""Training steps, noisy ones, before the worker is killed, once."""


class Faulty(nn.Module):
    """One linear layer on small images."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.fc = nn.Linear(3 * 8 * 8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            # Drawn from ±1/√192, the clean weights have a root mean square of 0.042.
            magnitude = float(self.fc.weight.detach().square().mean().sqrt()) / 0.042
            if magnitude > 1e4:
                _record("memory")
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")
            if magnitude > 200:
                _record("bug")
                raise ZeroDivisionError("a bug that is always there")
            if magnitude > 5:
                _kill_once()
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def faulty(num_classes: int) -> nn.Module:
    """The classifier."""
    return Faulty(num_classes)


def recorded(kind: str) -> int:
    """How often something happened."""
    path = _file(kind)
    return path.stat().st_size if path.exists() else 0


def _record(kind: str) -> None:
    with _file(kind).open("ab") as file:
        file.write(b".")


def _kill_once() -> None:
    _record("step")
    if recorded("step") == KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def _file(kind: str) -> Path:
    return Path(os.environ["FAULTS"]) / kind
