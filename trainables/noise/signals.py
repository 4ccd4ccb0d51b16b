"""The five signals that say training looks stuck or overfits (METHOD, section 3).

One pure function per signal, on plain floats; each returns a ``Reading``. The two conditions that
hold for all of them (the warm-up is over, a window of epochs is complete) are ``listening``;
``evaluate_signals`` puts both together for a configuration.
"""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from trainables.metrics import EpochMetrics
from trainables.noise_config import NoiseConfig, SignalName

GRAD_NORM_FLOOR = 1e-9
"""A gradient norm at or below this at the window's start has no relative change worth the name."""

OVERFIT_DIVISOR = 10
"""Signal overfitting: changes count that are larger than ``plateau_delta`` divided by this."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one signal measured before an epoch.

    Attributes:
        name: the signal.
        value: what was measured, in the threshold's unit; always finite. None if the signal could
            not be evaluated (too few epochs, a non-finite statistic, a vanishing gradient).
        threshold: what ``value`` was compared with.
        raised: whether the signal is raised.
    """

    name: SignalName
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
        update_norms: ``weight_update_norm`` of the window's epochs.
        threshold: smallest mean L2 norm that counts as movement.
    """
    if not _all_finite(update_norms):
        return Reading("low_weight_update", None, threshold, raised=False)
    try:
        mean = statistics.fmean(update_norms)
    except OverflowError:  # the sum of finite norms need not be finite
        mean = math.fsum(norm / len(update_norms) for norm in update_norms)
    # Rounding must not push a mean out of its data: equal norms at the threshold are not below it.
    mean = min(max(mean, min(update_norms)), max(update_norms))
    return _below("low_weight_update", mean, threshold)


def stuck(epochs_without_best: int, last_loss: float, patience: int) -> Reading:
    """Raised when ``train_loss`` has not beaten its best for more than ``patience`` epochs.

    Args:
        epochs_without_best: completed epochs in a row, up to the last, without a new best (see
            ``count_without_best``).
        last_loss: ``train_loss`` of the last epoch; if it is not finite nothing is raised.
        patience: epochs without a new best that are borne.
    """
    if not math.isfinite(last_loss):
        return Reading("stuck", None, float(patience), raised=False)
    count = float(epochs_without_best)
    return Reading("stuck", count, float(patience), raised=epochs_without_best > patience)


def count_without_best(count: int, best: float, loss: float) -> tuple[int, float]:
    """Fold one more epoch's ``train_loss`` into the count that ``stuck`` is judged on.

    A new best is strictly lower than every finite loss before it; a non-finite loss is none.

    Args:
        count: epochs without a new best so far (start with 0).
        best: the best loss so far (start with ``math.inf``).
        loss: the next epoch's loss.

    Returns:
        The new count and the new best.
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


def listening(noise: NoiseConfig, epoch: int) -> bool:
    """Whether signals are evaluated before ``epoch``: warm-up over and a whole window complete."""
    return epoch >= noise.warmup_epochs and epoch >= noise.window


def evaluate_signals(
    noise: NoiseConfig, history: Sequence[EpochMetrics], epoch: int, epochs_without_best: int
) -> tuple[Reading, ...]:
    """Evaluate the signals that ``noise`` listens to before ``epoch``, in METHOD's order.

    Args:
        noise: the settings.
        history: at least ``epoch`` completed epochs; later ones are not looked at.
        epoch: the epoch that is about to begin.
        epochs_without_best: the count for ``stuck`` over epochs 0 … ``epoch`` − 1.

    Returns:
        One reading for each listened signal; none while ``listening`` is false. ``stuck`` has no
        reading where ``patience`` is None.
    """
    if not listening(noise, epoch):
        return ()
    window = history[epoch - noise.window : epoch]

    def read_stuck() -> Reading | None:
        if noise.patience is None:
            return None
        return stuck(epochs_without_best, window[-1].train_loss, noise.patience)

    def read_overfitting() -> Reading:
        tolerance = noise.plateau_delta / OVERFIT_DIVISOR
        start = epoch - noise.overfit_epochs - 1
        if start < 0:
            return Reading("overfitting", None, tolerance, raised=False)
        rows = history[start:epoch]
        return overfitting(
            [row.val_loss for row in rows], [row.train_loss for row in rows], tolerance
        )

    read: dict[SignalName, Callable[[], Reading | None]] = {
        "grad_norm_plateau": lambda: grad_norm_plateau(
            [row.grad_norm for row in window], noise.grad_plateau_threshold
        ),
        "low_weight_update": lambda: low_weight_update(
            [row.weight_update_norm for row in window], noise.weight_update_threshold
        ),
        "stuck": read_stuck,
        "val_loss_plateau": lambda: val_loss_plateau(
            [row.val_loss for row in window], noise.plateau_delta
        ),
        "overfitting": read_overfitting,
    }
    readings = (read[name]() for name in noise.signals)
    return tuple(reading for reading in readings if reading is not None)


def _below(name: SignalName, value: float, threshold: float) -> Reading:
    return Reading(name, _clamp(value), threshold, raised=value < threshold)


def _all_finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _clamp(value: float) -> float:
    """The nearest finite number: differences of finite numbers can overflow, JSON can't."""
    return min(max(value, -sys.float_info.max), sys.float_info.max)
