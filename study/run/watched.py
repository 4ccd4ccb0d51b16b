"""What both views of a run draw from: the curves so far, and the time left."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics, is_better
from trainables.noise.controller import Injection


@dataclass
class Watched:
    config: TrainConfig
    title: str
    history: list[EpochMetrics] = field(default_factory=list)
    best: EpochMetrics | None = None
    injection: Injection | None = None
    done: float = 0.0
    began: float = field(default_factory=time.monotonic)
    resumed_at: int = 0

    @classmethod
    def of(cls, config: TrainConfig, title: str, history: Sequence[EpochMetrics]) -> "Watched":
        """A run that goes on after ``history``, which may be empty."""
        watched = cls(config, title, resumed_at=len(history), done=float(len(history)))
        for row in history:
            watched.add(row)
        return watched

    def add(self, row: EpochMetrics) -> None:
        self.history.append(row)
        self.done = float(len(self.history))
        if row.finite and is_better(row, self.best):
            self.best = row

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the pace since this process began; None before the first step."""
        passed = self.done - self.resumed_at
        if passed <= 0:
            return None
        return (time.monotonic() - self.began) / passed * (self.config.epochs - self.done)
