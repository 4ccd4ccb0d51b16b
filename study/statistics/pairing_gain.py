"""What pairing by seed was worth: how many times the seeds an unpaired comparison would need."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from study.statistics.estimate import Interval

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class PairingGain:
    """How many times the seeds an unpaired comparison would need for the same precision.

    Attributes:
        seeds: seeds on which both have a value.
        gain: (variance of the configuration + variance of the reference) / variance of their
            differences; None where ``why_not`` says why there is no number.
        interval: its 95 % interval, exact for values that are jointly normal; None below 3 seeds.
        why_not: the reason in words.
    """

    seeds: int
    gain: float | None = None
    interval: Interval | None = None
    why_not: str | None = None

    def sentence(self) -> str:
        if self.gain is None:
            return f"what pairing by seed was worth can't be said: {self.why_not}"
        text = f"pairing by seed was worth {times(self.gain, self.interval)}"
        return f"{text}: so many would be needed without pairs"

    def columns(self) -> dict[str, float | None]:
        """As they stand in a table: the gain and the ends of its interval."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return {"pairing_gain": self.gain, "pairing_low": low, "pairing_high": high}


def times(gain: float, interval: Interval | None) -> str:
    text = f"{rounded(gain)} times the seeds"
    if interval is None:
        return text
    return f"{text} ({100 * CONFIDENCE:.0f} % {rounded(interval.low)} to {rounded(interval.high)})"


def rounded(factor: float) -> str:
    """A factor to three digits, without powers of ten."""
    short = f"{factor:.3g}"
    return f"{float(short):,.0f}" if factor >= 1000 else short


def pairing_gain(
    values: Mapping[int, float | None], reference: Mapping[int, float | None]
) -> PairingGain:
    """Compare a configuration's values with its reference's, by seed.

    With S and D the sum and the difference of a seed's values the gain is ½ (1 + var S / var D).
    The interval of that ratio of variances is Pitman's and Morgan's (1939, Biometrika 31, 9–19),
    which allows for the correlation of S and D.
    """
    both = [
        (value, other)
        for seed, value in sorted(values.items())
        if value is not None
        and (other := reference.get(seed)) is not None
        and math.isfinite(value)
        and math.isfinite(other)
    ]
    n = len(both)
    if n < 2:
        return PairingGain(n, why_not="fewer than two seeds have both values")
    a, b = np.array(both).T
    if np.ptp(b) == 0:
        return PairingGain(n, why_not="the baseline does not vary from seed to seed")
    size = float(np.abs(both).max())
    if np.ptp(a - b) <= 1e-12 * size:
        return PairingGain(n, why_not="the differences do not vary from seed to seed")
    (var_sum, between), (_, var_difference) = np.cov(a + b, a - b)
    ratio = float(var_sum / var_difference)
    gain = (1 + ratio) / 2
    if n < 3:
        return PairingGain(n, gain)
    unexplained = max(0.0, 1 - float(between) ** 2 / float(var_sum * var_difference))
    quantile = float(scipy.stats.t.isf((1 - CONFIDENCE) / 2, n - 2))
    half = 1 + 2 * quantile**2 * unexplained / (n - 2)
    factor = half + math.sqrt(half**2 - 1)
    return PairingGain(n, gain, Interval((1 + ratio / factor) / 2, (1 + ratio * factor) / 2))
