"""``noise-analysis``: look at studies and single runs. Nothing here trains."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from analysis.commands.options import PROG
from analysis.commands.preview import preview, shares
from analysis.commands.results import compare, confirm, export, report
from study.commands.dispatch import dispatch
from study.commands.options import run_command

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "preview": (preview, "what settings would do on a recorded baseline, without training"),
    "report": (report, "everything about a study in one HTML file, and its pictures"),
    "confirm": (confirm, "is the gain real? the verdict on the fresh seeds of a confirmation"),
    "compare": (compare, "studies side by side"),
    "export": (export, "configurations for noise-train, and tables of all trials"),
    "shares": (shares, "how a space's configurations fork, before and after calibration"),
}


def main(arguments: Any = None) -> int:
    """The command line; returns the exit code."""
    return run_command(PROG, lambda words: dispatch(PROG, COMMANDS, words), arguments)


if __name__ == "__main__":
    sys.exit(main())
