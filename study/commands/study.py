"""``noise-study``: run a study, look at it, tidy up after it. ``study.api`` does the same."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from study.commands.check_data import check_data
from study.commands.dispatch import NOISE_STUDY, dispatch
from study.commands.live import set_limits, stop
from study.commands.look_after import clean, list_studies, sync, ui, verify
from study.commands.options import run_command
from study.commands.run import resume, run
from study.commands.slurm import slurm


def experiment(arguments: Sequence[str]) -> int:
    from study.commands.experiment import run

    return run(arguments)


def confirm(arguments: Sequence[str]) -> int:
    from study.commands.confirm import run

    return run(arguments)


def controls(arguments: Sequence[str]) -> int:
    from study.commands.controls import controls as run

    return run(arguments)


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "run": (run, "search for noise settings that beat the pinned baseline"),
    "experiment": (experiment, "train a grid, each group beside its pinned baseline"),
    "confirm": (confirm, "the best configurations on fresh seeds, beside baseline and controls"),
    "check-data": (check_data, "look at a data set before it is studied: what is wrong with it?"),
    "controls": (controls, "test the instrument on trainings whose answer is known"),
    "slurm": (slurm, "run one of these as a job of Slurm, which outlives time limits"),
    "resume": (resume, "go on with an interrupted study, or extend a finished one"),
    "set": (set_limits, "change limits of a study while it runs"),
    "stop": (stop, "stop a study that runs, or one of its trials"),
    "sync": (sync, "send to MLflow what it could not take while a study ran"),
    "verify": (verify, "hold a study's records against each other: is anything lost or doubled?"),
    "ui": (ui, "open MLflow on 127.0.0.1 with the studies' store"),
    "list": (list_studies, "list the studies"),
    "clean": (clean, "remove checkpoints that nothing needs"),
}


def main(arguments: Any = None) -> int:
    return run_command(NOISE_STUDY, lambda words: dispatch(NOISE_STUDY, COMMANDS, words), arguments)


if __name__ == "__main__":
    sys.exit(main())
