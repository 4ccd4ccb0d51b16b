"""Samples of paired differences."""

from collections.abc import Sequence

from study.statistics.comparison import Verdict, compare
from study.statistics.paired import Paired, pair
from study.statistics.sequential import SequentialDesign, look_schedule

ONE_TO_FIVE = [1.0, 2.0, 3.0, 4.0, 5.0]


DESIGN = SequentialDesign(look_schedule(5, 20))


def sample(differences: Sequence[float]) -> Paired:
    """Differences of seeds 0, 1, …; the baseline's value is 0 on every seed."""
    return pair(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))


def verdict(differences: Sequence[float], higher_is_better: bool = True) -> Verdict:
    """The verdict on a single configuration."""
    samples = {"only": sample(differences)}
    return compare(samples, higher_is_better=higher_is_better, resamples=0)["only"].verdict
