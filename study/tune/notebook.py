"""In a notebook Tune shows a table of its own, whatever it is told; a study shows its progress."""

import sys
from typing import Any

from ray import tune


class SilentReporter(tune.ProgressReporter):
    """Reports nothing."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: dict[str, Any]) -> None:
        """It never comes to this."""


def silent_reporter() -> SilentReporter | None:
    """What Tune is given; elsewhere than in a notebook None, since it warns of any other."""
    return SilentReporter() if "ipykernel" in sys.modules else None
