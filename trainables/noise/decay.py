"""How the noise's magnitude decays over the epoch budget (METHOD, section 5)."""

import math
from collections.abc import Callable

DECAYS: dict[str, Callable[[float, int], float]] = {
    "constant": lambda progress, epoch: 1.0,
    "linear": lambda progress, epoch: 1.0 - progress,
    "cosine": lambda progress, epoch: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "exponential": lambda progress, epoch: float(0.95**epoch),
}
"""Setting ``schedule`` → the factor D, from the progress through the budget and the epoch."""


def decay(schedule: str, epoch: int, epochs: int) -> float:
    """The factor D on magnitudes in ``epoch`` of a budget of ``epochs``.

    Past the budget the factor of its end holds; ``exponential`` does not refer to the budget.
    """
    return DECAYS[schedule](min(1.0, epoch / epochs), epoch)
