"""``noise-study confirm``: the best configurations on fresh seeds, beside baseline and controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.markup import escape

from study.campaigns.confirm_plan import ConfirmConfig, parse_seeds, stored_confirmation
from study.campaigns.confirm_register import standing
from study.campaigns.confirmation import Confirmation, by_verdict
from study.campaigns.resume import resumed
from study.campaigns.search_result import print_next
from study.commands.dispatch import NOISE_STUDY
from study.commands.first_line import say_starting
from study.commands.options import read_command_line
from study.commands.own_code import Trust
from study.commands.places import StudyName
from study.commands.settings import THE_STUDYS, SettingOptions, option
from study.config import MAY_CHANGE, StudyConfig
from study.records.folder import StudyFolder, storage_of
from study.records.summary import study_notes
from study.units import image_worth
from trainables.errors import InputError
from trainables.settings import parse_config

SEEDS = "6"
SEQUENTIAL = "6..20"
"""Seeds unless told otherwise: from 6 on an exact test can speak, too."""

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
            default=f"{SEEDS}; with --sequential {SEQUENTIAL}",
        ),
    ] = ""
    sequential: Annotated[
        bool,
        option(
            "--sequential",
            help="add seeds a few at a time and stop when the question is decided, or not worth "
            "going on with, the error level kept by alpha spending (Lan and DeMets 1983)",
        ),
    ] = False
    extendable: Annotated[
        bool,
        option(
            "--extendable",
            help="set a fifth of the error aside at the start, so that more seeds may be added at "
            "the end; without it the verdict is withheld once seeds are added",
        ),
    ] = False
    no_futility: Annotated[
        bool,
        option(
            "--no-futility",
            help="with --sequential: go on to the last look where better is out of reach, too; may "
            "be given later",
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
        "its noise, in the same dose: the placebo at random epochs after the warm-up, two draws a "
        "seed, the clock from the warm-up's end on, whatever the signals say. Timing is claimed of "
        "what beats both only. A clock that is the configuration itself is not trained again. An "
        "interrupted confirmation is continued by the same command, with the controls that it was "
        "begun with.",
    )
    options = line.extra
    study = resumed(options.where, options.name, line.given)
    if options.no_futility and not options.sequential:
        raise InputError("--no-futility: only with --sequential, which may end early")
    seeds, first_look = _seeds(study, options)
    values = {
        "top": options.top,
        "seeds": seeds,
        "first_look": first_look,
        "extendable": options.extendable,
        "futility": not options.no_futility,
    }
    return study, parse_config(ConfirmConfig, values)


def _seeds(study: StudyConfig, options: ConfirmOptions) -> tuple[int, int | None]:
    """Seeds, and those at a sequential first look: as given, as begun, or the default."""
    if options.seeds:
        return parse_seeds(options.seeds, sequential=options.sequential)
    begun = stored_confirmation(StudyFolder.of(storage_of(study), study.name))
    if begun is not None and (begun.first_look is not None) == options.sequential:
        return begun.seeds, begun.first_look
    return parse_seeds(SEQUENTIAL if options.sequential else SEEDS, sequential=options.sequential)


def run(arguments: Sequence[str]) -> int:
    study, wanted = read_confirm(arguments)
    console = Console()
    say_starting(console, study.name, f"its best {wanted.top} on {wanted.seeds} fresh seeds")
    from study.campaigns.confirm import run_confirm

    print_verdicts(console, run_confirm(study, wanted, console=console, fetched=True))
    return 0


def print_verdicts(console: Console, found: Confirmation) -> None:
    words = found.deciding.words
    console.print(f"[bold]{words}, beside the baseline of the same seed:[/]")
    for trial, judged in by_verdict(found).items():
        worth = image_worth(found.decide_by, judged.mean_difference, found.test_images, "test")
        more = filter(None, (found.pairing_gain(trial).sentence(), worth))
        for line in (f"{trial} {judged.sentence}", *(f"  {text}" for text in more)):
            console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)
    for record in found.failed():
        console.print(f"[red]{record.key} failed[/]: {escape(record.reason)}", soft_wrap=True)
    for note in study_notes(found.state):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(escape(standing(found)[1]), soft_wrap=True, highlight=False)
    where = storage_of(found.study).words
    verdict = ["noise-analysis", "confirm", found.study.name, *where]
    print_next(console, verdict, [NOISE_STUDY, "ui", found.study.name, *where])
