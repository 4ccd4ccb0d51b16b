"""The signals that say training looks stuck or overfits (METHOD, section 3).

``SIGNALS`` has one record of each, from which everything else about it follows: when noise can
begin, calibration, the spaces, colours. Each is read by a pure function on plain floats. The two
conditions that hold for all of them (the warm-up is over, a window is complete) are ``listening``.
"""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from trainables.metrics import EpochMetrics

if TYPE_CHECKING:  # the configuration takes the signals' names from here
    from trainables.noise_config import NoiseConfig

GRAD_NORM_FLOOR = 1e-9
"""A gradient norm at or below this at the window's start has no relative change worth the name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one signal measured before an epoch.

    Attributes:
        value: what was measured, in the threshold's unit; always finite. None if the signal could
            not be evaluated (too few epochs, a non-finite statistic, a vanishing gradient).
    """

    name: str
    value: float | None
    threshold: float
    raised: bool


def grad_norm_plateau(grad_norms: Sequence[float], threshold: float) -> Reading:
    """Raised when the gradient norm fell by less than the share ``threshold`` over the window.

    Args:
        grad_norms: ``grad_norm`` of the window's epochs, oldest first.
        threshold: smallest relative fall, (g_first − g_last) / g_first, that counts as progress.
    """
    first, last = grad_norms[0], grad_norms[-1]
    if not _all_finite(grad_norms) or first <= GRAD_NORM_FLOOR:
        return Reading("grad_norm_plateau", None, threshold, raised=False)
    return _below("grad_norm_plateau", (first - last) / first, threshold)


def low_weight_update(update_norms: Sequence[float], threshold: float) -> Reading:
    """Raised when the weights moved by less than ``threshold`` per epoch, on the window's mean.

    Args:
        threshold: smallest mean L2 norm that counts as movement.
    """
    if not _all_finite(update_norms):
        return Reading("low_weight_update", None, threshold, raised=False)
    try:
        mean = statistics.fmean(update_norms)
    except OverflowError:  # the sum of finite norms need not be finite, nor that of their shares
        mean = sum(norm / len(update_norms) for norm in update_norms)
    # Rounding must not push a mean out of its data: equal norms at the threshold are not below it.
    mean = min(max(mean, min(update_norms)), max(update_norms))
    return _below("low_weight_update", mean, threshold)


def stuck(epochs_without_best: int, last_loss: float, patience: int) -> Reading:
    """Raised when ``train_loss`` has not beaten its best for more than ``patience`` epochs.

    Args:
        epochs_without_best: completed epochs in a row, up to the last, without a new best (see
            ``count_without_best``).
        last_loss: ``train_loss`` of the last epoch; if it is not finite nothing is raised.
    """
    if not math.isfinite(last_loss):
        return Reading("stuck", None, float(patience), raised=False)
    count = float(epochs_without_best)
    return Reading("stuck", count, float(patience), raised=epochs_without_best > patience)


def count_without_best(count: int, best: float, loss: float) -> tuple[int, float]:
    """Fold one more epoch's ``train_loss`` into the count that ``stuck`` is judged on.

    A new best is strictly lower than every finite loss before it; a non-finite loss is none. The
    count starts with 0, the best with ``math.inf``.
    """
    if math.isfinite(loss) and loss < best:
        return 0, loss
    return count + 1, best


def val_loss_plateau(val_losses: Sequence[float], delta: float) -> Reading:
    """Raised when the validation loss fell by less than ``delta`` over the window.

    Args:
        val_losses: ``val_loss`` of the window's epochs, oldest first.
        delta: smallest fall, v_first − v_last, that counts as progress.
    """
    if not _all_finite(val_losses):
        return Reading("val_loss_plateau", None, delta, raised=False)
    return _below("val_loss_plateau", val_losses[0] - val_losses[-1], delta)


def overfitting(
    val_losses: Sequence[float], train_losses: Sequence[float], tolerance: float
) -> Reading:
    """Raised when every change of ``val_loss`` is a rise and every one of ``train_loss`` a fall.

    The reading's value is the smallest of these rises and falls.

    Args:
        val_losses: ``val_loss`` of the last ``overfit_epochs`` + 1 epochs, oldest first.
        train_losses: ``train_loss`` of the same epochs.
        tolerance: how large a change must be to count: ``plateau_delta`` / 10.
    """
    if not (_all_finite(val_losses) and _all_finite(train_losses)):
        return Reading("overfitting", None, tolerance, raised=False)
    rises = [after - before for before, after in pairwise(val_losses)]
    falls = [before - after for before, after in pairwise(train_losses)]
    smallest = min(*rises, *falls)
    return Reading("overfitting", _clamp(smallest), tolerance, raised=smallest > tolerance)


def listening(noise: "NoiseConfig", epoch: int) -> bool:
    """Whether signals are evaluated before ``epoch``: warm-up over and a whole window complete."""
    return epoch >= noise.warmup_epochs and epoch >= noise.window


def evaluate_signals(
    noise: "NoiseConfig", history: Sequence[EpochMetrics], epoch: int, epochs_without_best: int
) -> tuple[Reading, ...]:
    """Evaluate the signals that ``noise`` listens to before ``epoch``, in METHOD's order.

    Args:
        history: at least ``epoch`` completed epochs; later ones are not looked at.
        epochs_without_best: the count for ``stuck`` over epochs 0 … ``epoch`` − 1.

    Returns:
        One reading for each listened signal; none while ``listening`` is false, nor of a signal
        whose setting is None.
    """
    if not listening(noise, epoch):
        return ()
    spans = {name: SIGNALS[name].span(noise) for name in noise.signals}
    last = history[max(0, epoch - max(spans.values())) : epoch]
    readings = []
    for name, span in spans.items():
        signal = SIGNALS[name]
        value = getattr(noise, signal.setting)
        if value is None:
            continue
        threshold = value / signal.divisor
        if len(last) < span:
            readings.append(Reading(name, None, threshold, raised=False))
            continue
        columns = [[getattr(row, name) for row in last[-span:]] for name in signal.statistics]
        counts = [epochs_without_best] if signal.reads_count else []
        readings.append(signal.read(*counts, *columns, threshold))
    return tuple(readings)


def _below(name: str, value: float, threshold: float) -> Reading:
    return Reading(name, _clamp(value), threshold, raised=value < threshold)


def _all_finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _clamp(value: float) -> float:
    """The nearest finite number: differences of finite numbers can overflow, JSON can't."""
    return min(max(value, -sys.float_info.max), sys.float_info.max)


def _window(noise: "NoiseConfig") -> int:
    return noise.window


@dataclass(frozen=True, slots=True)
class Signal:
    """Everything that is special about a signal.

    Attributes:
        asks_for: the kind of noise that it asks for.
        setting: the setting that decides when it is raised; where that is None, it never is.
        statistics: what it is read off.
        read: takes its statistics over its span, each a list, oldest first, and the threshold.
        reads_count: whether ``read`` first takes the epochs without a better training loss.
        span: epochs that it is read off.
        needs: completed epochs before it can be raised, if not its span; None: it never is.
        divisor: what it is compared with is the setting divided by this.
        is_above: whether it is raised above that threshold, not below it.
        measures_severity: whether its reading says how severe it is (METHOD, section 5).
        is_share: whether it measures a share, which has no unit.
        search_range: the setting's range that one would search without knowing the training.
    """

    asks_for: str
    setting: str
    statistics: tuple[str, ...]
    read: Callable[..., Reading]
    reads_count: bool = False
    span: Callable[["NoiseConfig"], int] = _window
    needs: Callable[["NoiseConfig"], int | None] | None = None
    divisor: float = 1.0
    is_above: bool = False
    measures_severity: bool = False
    is_share: bool = False
    search_range: tuple[float, float] | None = None

    @property
    def path(self) -> str:
        """Where its setting stands in a run's configuration."""
        return f"noise/{self.setting}"

    @property
    def sign(self) -> float:
        """What turns "above" into "below": −1 for a signal that is raised above its threshold."""
        return -1.0 if self.is_above else 1.0

    @property
    def factor(self) -> float:
        """It is raised if its reading times ``sign`` lies below the setting times this."""
        return self.sign / self.divisor

    def earliest(self, noise: "NoiseConfig") -> int | None:
        """Completed epochs before it can be raised; None if it never is."""
        return self.span(noise) if self.needs is None else self.needs(noise)


SIGNALS: dict[str, Signal] = {
    "grad_norm_plateau": Signal(
        asks_for="gradient",
        setting="grad_plateau_threshold",
        statistics=("grad_norm",),
        read=grad_norm_plateau,
        measures_severity=True,
        is_share=True,
        search_range=(5e-3, 0.5),
    ),
    "low_weight_update": Signal(
        asks_for="gradient",
        setting="weight_update_threshold",
        statistics=("weight_update_norm",),
        read=low_weight_update,
        search_range=(1e-4, 1.0),
    ),
    "stuck": Signal(
        asks_for="gradient",
        setting="patience",
        statistics=("train_loss",),
        read=lambda count, losses, patience: stuck(count, losses[-1], int(patience)),
        reads_count=True,
        span=lambda noise: 1,
        # Epoch 0 is always a new best: patience + 1 epochs must follow it.
        needs=lambda noise: None if noise.patience is None else noise.patience + 2,
        is_above=True,
    ),
    "val_loss_plateau": Signal(
        asks_for="weight",
        setting="plateau_delta",
        statistics=("val_loss",),
        read=val_loss_plateau,
        measures_severity=True,
        search_range=(1e-5, 0.1),
    ),
    "overfitting": Signal(
        asks_for="weight",
        setting="plateau_delta",
        statistics=("val_loss", "train_loss"),
        read=overfitting,
        span=lambda noise: noise.overfit_epochs + 1,
        divisor=10.0,
        is_above=True,
    ),
}
"""The signals by name, in METHOD's order."""


def severity_signals(kind: str) -> list[str]:
    """The signals that ask for a kind of noise and measure how severe it is, in order."""
    return [
        name
        for name, signal in SIGNALS.items()
        if signal.measures_severity and signal.asks_for == kind
    ]
