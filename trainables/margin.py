"""The smallest difference worth having in a metric, which a confirmation decides by."""

from collections.abc import Mapping
from dataclasses import dataclass

from trainables.errors import InputError
from trainables.metrics import ACCURACY_MARGIN, LOSS_MARGIN, METRICS, SHARE, Metric

_FEWEST_IMAGES = 2


@dataclass(frozen=True, slots=True)
class Margin:
    """The smallest difference worth having in a metric; ``words`` say it with its reason."""

    value: float
    words: str


def effective_margin(
    metric: str,
    wanted: float | None,
    test_images: int | None,
    metrics: Mapping[str, Metric] | None = None,
) -> Margin:
    """The margin that holds: as ``wanted`` (None: the default), but no finer than test images tell.

    A difference of accuracies is at least ``_FEWEST_IMAGES`` images of the test set, where their
    number is known. ``metrics``: those of a task (None: of classifiers).
    """
    if metrics is not None and metrics[metric] is not METRICS.get(metric):
        return _declared_margin(metrics[metric], wanted)
    unit = METRICS[metric].unit
    share = unit == SHARE
    value = (ACCURACY_MARGIN if share else LOSS_MARGIN) if wanted is None else wanted
    if share and test_images and value < _FEWEST_IMAGES / test_images:
        value = _FEWEST_IMAGES / test_images
        return Margin(value, f"{value:.4g} ({_FEWEST_IMAGES} of the {test_images:,} test images)")
    return Margin(value, f"{value:.4g}" if share else f"{value:.4g} nats")


def _declared_margin(metric: Metric, wanted: float | None) -> Margin:
    value = metric.margin if wanted is None else wanted
    if value is None:
        raise InputError(
            f"margin (--margin) = None: none is declared for {metric.name}; give the smallest "
            f"difference worth having, in {metric.unit}, or declare it with the metric"
        )
    return Margin(value, f"{value:.4g} {metric.unit}")
