"""Classifiers that fail, or wait, when their weights are noisy enough.

Their files are in the folder that the environment variable ``FAULTS`` names.
"""

import os
import signal
import time
from collections import defaultdict
from pathlib import Path

import ray
import torch
from torch import Tensor, nn

KILLS_ITS_WORKER, IS_A_BUG, NEEDS_TOO_MUCH = 20.0, 1e3, 1e5
"""Magnitudes of relative weight noise that make it fail in one way or the other."""

KILLS_LATER, FAILS_LATER = 45.0, 100.0
"""Magnitudes at which nothing happens before ``LATE`` noisy steps."""

KILL_AT = 40
"""Training steps, noisy ones, before the worker is killed, once."""
LATE = 40

HOLD_AT = 1.5
"""Magnitude above which the one that waits waits."""
HOLD_AFTER = 40
"""Training steps before it does."""


class Faulty(nn.Module):
    """One linear layer on small images; how it fails follows from how noisy it is."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.fc = nn.Linear(3 * 8 * 8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            magnitude = self._magnitude()
            if magnitude > 1e4:
                _record("memory")
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")
            if magnitude > 200:
                _record("bug")
                raise ZeroDivisionError("a bug that is always there")
            if magnitude > 60:
                _record("late bug")
                if recorded("late bug") > LATE:
                    raise ZeroDivisionError("a bug that comes late")
            elif magnitude > 30:
                _kill_once("late step", LATE)
            elif magnitude > 5:
                _kill_once("step", KILL_AT)
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits

    def _magnitude(self) -> float:
        # Drawn from ±1/√192, the clean weights have a root mean square of 0.042.
        return float(self.fc.weight.detach().square().mean().sqrt()) / 0.042


class Held(Faulty):
    """Says where it trains; with noise it waits, after some steps, until it is let go."""

    def __init__(self, num_classes: int, after: int = HOLD_AFTER) -> None:
        super().__init__(num_classes)
        self.steps, self.after = 0, after

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            _note_place()
            self.steps += 1
            if self.steps > self.after and self._magnitude() > HOLD_AT:
                while not _file("go").exists():
                    time.sleep(0.02)
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class Slow(Faulty):
    """Takes a quarter of a second for a step, until it is let go."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not _file("go").exists():
            time.sleep(0.25)
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def slow(num_classes: int) -> nn.Module:
    """The classifier that is slow."""
    return Slow(num_classes)


def faulty(num_classes: int) -> nn.Module:
    """The classifier that fails."""
    return Faulty(num_classes)


def held(num_classes: int) -> nn.Module:
    """The classifier that waits."""
    return Held(num_classes)


def gathered(num_classes: int) -> nn.Module:
    """The classifier that waits as soon as its weights are noisy."""
    return Held(num_classes, after=0)


def let_go() -> None:
    """From now on nothing waits."""
    _file("go").touch()


def places() -> dict[tuple[str, str], dict[int, list[float]]]:
    """When each process trained, by node and GPU."""
    found: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    path = _file("places")
    for line in path.read_text().splitlines() if path.exists() else ():
        node, gpu, pid, when = line.split()
        found[node, gpu][int(pid)].append(float(when))
    return found


def _note_place() -> None:
    if ray.is_initialized():
        node = ray.get_runtime_context().get_node_id()
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        with _file("places").open("a") as file:
            file.write(f"{node} {gpu} {os.getpid()} {time.time()}\n")


def recorded(kind: str) -> int:
    """How often something happened."""
    path = _file(kind)
    return path.stat().st_size if path.exists() else 0


def _record(kind: str) -> None:
    with _file(kind).open("ab") as file:
        file.write(b".")


def _kill_once(kind: str, step: int) -> None:
    _record(kind)
    if recorded(kind) == step:
        os.kill(os.getpid(), signal.SIGKILL)


def _file(kind: str) -> Path:
    return Path(os.environ["FAULTS"]) / kind
