"""What the signals measure over a whole training, which is what thresholds are compared with."""

import math
from collections.abc import Sequence

from trainables.metrics import EpochMetrics
from trainables.noise.signals import count_without_best, evaluate_signals, listening
from trainables.noise_config import NoiseConfig


def readings(
    noise: NoiseConfig, history: Sequence[EpochMetrics], epochs: int
) -> dict[str, list[float | None]]:
    """Each listened signal's reading before epochs 0 … ``epochs`` − 1; None where there is none.

    Args:
        history: at least ``epochs`` − 1 completed epochs.
    """
    found: dict[str, list[float | None]] = {name: [None] * epochs for name in noise.signals}
    count, best = 0, math.inf
    for epoch in range(1, epochs):
        count, best = count_without_best(count, best, history[epoch - 1].train_loss)
        for reading in evaluate_signals(noise, history, epoch, count):
            found[reading.name][epoch] = reading.value
    return found


def heard(noise: NoiseConfig, history: Sequence[EpochMetrics], name: str) -> list[float]:
    """A listened signal's readings in the epochs that listen to it, rising."""
    epochs = len(history) + 1
    all_of_it = readings(noise, history, epochs)[name]
    return sorted(
        value
        for epoch, value in enumerate(all_of_it)
        if value is not None and listening(noise, epoch)
    )
