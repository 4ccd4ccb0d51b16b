"""``noise-study confirm``: the best configurations on fresh seeds, beside baseline and controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.markup import escape

from study.api import run_confirm
from study.campaigns.confirm_plan import ConfirmConfig, parse_seeds
from study.campaigns.confirmation import Confirmation, by_verdict
from study.campaigns.resume import resumed
from study.campaigns.search_result import print_next
from study.commands.dispatch import NOISE_STUDY
from study.commands.options import read_command_line
from study.commands.own_code import Trust
from study.commands.places import StudyName
from study.commands.settings import THE_STUDYS, SettingOptions, option
from study.config import MAY_CHANGE, StudyConfig
from study.records.folder import storage_of
from study.records.summary import study_notes
from trainables.settings import parse_config

CONFIRM_SETTINGS = SettingOptions(
    StudyConfig,
    THE_STUDYS,
    only=MAY_CHANGE - {"storage", "work_dir", "trials", "race_seeds", "confirm", "time_budget"},
    title="resources",
)
"""The generated options of ``confirm``: where the study's own setting need not hold."""


@dataclass(frozen=True)
class ConfirmOptions(StudyName):
    """Which trials of which study, on how many seeds."""

    top: Annotated[int, option("--top", help="how many of the best complete trials", value="K")] = 3
    seeds: Annotated[
        str,
        option(
            "--seeds",
            help="fresh seeds; FIRST..LAST with --sequential",
            value="N",
            default="5; with --sequential 5..20",
        ),
    ] = ""
    sequential: Annotated[
        bool,
        option(
            "--sequential",
            help="add seeds a few at a time and stop when the question is decided, the error level "
            "kept by alpha spending (Lan and DeMets 1983)",
        ),
    ] = False
    trust: Trust = ""


def read_confirm(arguments: Sequence[str]) -> tuple[StudyConfig, ConfirmConfig]:
    line = read_command_line(
        arguments,
        CONFIRM_SETTINGS,
        ConfirmOptions,
        prog=f"{NOISE_STUDY} confirm",
        description="Train the best configurations of a study, the baseline and two controls of "
        "each configuration on fresh seeds, and evaluate them on the test set. The controls have "
        "exactly its noise: the placebo at random epochs after the warm-up, the clock from the "
        "warm-up's end on, whatever the signals say. Timing is claimed of what beats both only. A "
        "clock that is the configuration itself is not trained again. An interrupted confirmation "
        "is continued by the same command; one begun by a version without clocks stays without.",
    )
    options = line.extra
    study = resumed(options.where, options.name, line.given)
    text = options.seeds or ("5..20" if options.sequential else "5")
    seeds, first_look = parse_seeds(text, sequential=options.sequential)
    values = {"top": options.top, "seeds": seeds, "first_look": first_look}
    return study, parse_config(ConfirmConfig, values)


def run(arguments: Sequence[str]) -> int:
    study, wanted = read_confirm(arguments)
    console = Console()
    print_verdicts(console, run_confirm(study, wanted, console=console, fetched=True))
    return 0


def print_verdicts(console: Console, found: Confirmation) -> None:
    console.print("[bold]test accuracy, beside the baseline of the same seed:[/]")
    for trial, comparison in by_verdict(found).items():
        console.print(f"  {trial} {escape(comparison.sentence())}", soft_wrap=True, highlight=False)
    for record in found.failed():
        console.print(f"[red]{record.key} failed[/]: {escape(record.reason)}", soft_wrap=True)
    for note in study_notes(found.state):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    where = storage_of(found.study).words
    verdict = ["noise-analysis", "confirm", found.study.name, *where]
    print_next(console, verdict, [NOISE_STUDY, "ui", *where])
