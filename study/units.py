"""Figures in their unit: accuracies in percent, differences of them in points, losses in nats.

A share of images has as many digits as its images can tell apart; what is not 0 is never shown as
0.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from study.formats import DASH
from trainables.metrics import METRICS, Metric

_SHARE = "share of images"
_PERCENT = 100
EQUAL = 1e-12
"""Means of the same images may differ in their last bit."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How a metric's values and their differences are written.

    Attributes:
        share: whether values are shares of images, which are shown in percent.
        word: what a difference is counted in.
        digits: after the point, of shares.
    """

    share: bool
    word: str
    digits: int = 2

    @property
    def scale(self) -> int:
        return _PERCENT if self.share else 1

    def value(self, value: float | None) -> str:
        """``61.5 %``, ``0.4321 nats``."""
        if value is None:
            return DASH
        if self.share:
            return f"{_PERCENT * value:.{self.digits}f} %"
        return f"{value:.4g} {self.word}".rstrip()

    def bare(self, difference: float | None, sign: str = "+") -> str:
        """A difference without its unit: ``+1.8``, ``−0.3``, ``0``."""
        if difference is None:
            return DASH
        if abs(difference) <= EQUAL:
            return "0"
        scaled = self.scale * difference
        form = f".{self.digits}f" if self.share else "#.3g"
        text = f"{scaled:{sign}{form}}".removesuffix(".")
        if not any(digit in text for digit in "123456789"):
            text = f"{scaled:{sign}.1g}"
        return text.replace("-", "−", 1) if text.startswith("-") else text

    def difference(self, difference: float | None, sign: str = "+") -> str:
        """``+1.8 points``, ``−0.12 nats``."""
        if difference is None:
            return DASH
        return f"{self.bare(difference, sign)} {self.word}".rstrip()

    def size(self, difference: float | None) -> str:
        """``1.8 points``: a difference without its sign."""
        return self.difference(None if difference is None else abs(difference), "")

    def bounds(self, interval: Iterable[float] | None, to: str = " to ") -> str:
        return DASH if interval is None else to.join(self.bare(value) for value in interval)

    def scaled(self, values: Iterable[float | None]) -> list[float | None]:
        """Values as they are drawn; None, a gap, for what is not finite."""
        return [
            self.scale * value if value is not None and math.isfinite(value) else None
            for value in values
        ]

    def axis(self, words: str) -> str:
        """An axis of values."""
        unit = "%" if self.share else self.word
        return f"{words} ({unit})" if unit else words

    def limits(self) -> tuple[float, float] | None:
        """What values can't leave."""
        return (0.0, float(_PERCENT)) if self.share else None


def unit_of(metric: str, images: int | None, metrics: Mapping[str, Metric] = METRICS) -> Unit:
    """The unit of a metric; ``images``: how many its shares are counted on, where that is known.

    ``metrics``: those of a study, which may be of a task of its own.
    """
    known = metrics[metric]
    if known.unit != _SHARE:
        return Unit(False, known.unit)
    return share_unit(images)


def share_unit(images: int | None) -> Unit:
    """The unit of an accuracy: one digit of a percent tells 359 images apart, two tell 5,000."""
    digits = 2 if not images else max(1, math.ceil(math.log10(images)) - 2)
    return Unit(True, "points", digits)


def statistic_unit(statistic: str, images: int | None) -> Unit:
    """The unit of a statistic of an epoch: accuracies are shares, the others have none to show."""
    return share_unit(images) if statistic.endswith("accuracy") else Unit(False, "")


def is_within_an_image(difference: float, images: int) -> bool:
    """Whether a difference of shares is not 0, and no larger than one of so many images."""
    return EQUAL < abs(difference) <= (1 + 1e-6) / images


def image_worth(metric: str, difference: float | None, images: int | None, which: str) -> str:
    """What one image is worth, where a difference is no larger than that; else empty."""
    # A task of one's own says of no images, and a mean over classes counts none.
    if not images or not difference or metric not in METRICS or METRICS[metric].unit != _SHARE:
        return ""
    if not is_within_an_image(difference, images):
        return ""
    worth = share_unit(images).difference(1 / images, "")
    return f"one of the {images:,} {which} images is worth {worth}"
