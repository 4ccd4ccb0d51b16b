"""``noise-study controls``: is the instrument right where the answer is known?"""

from dataclasses import dataclass
from typing import Annotated

from study.commands.dispatch import NOISE_STUDY, subcommand
from study.commands.settings import option
from trainables.errors import InputError, nearest
from trainables.paths import check_writable, given_path


@dataclass(frozen=True)
class ControlsOptions:
    """Which controls, how thoroughly, and where."""

    quick: Annotated[
        bool,
        option(
            "--quick",
            help="smaller studies, four minutes on two cores in all; the slowest controls are left "
            "out",
        ),
    ] = False
    only: Annotated[
        str, option("--only", help="the control of this name alone", value="NAME", default="all")
    ] = ""
    seed: Annotated[int, option("--seed", help="of every study", value="INT")] = 0
    out: Annotated[
        str, option("--out", help="folder of the studies and of controls.json", value="DIR")
    ] = "controls"


@subcommand(f"{NOISE_STUDY} controls", ControlsOptions)
def controls(options: ControlsOptions) -> int:
    """Test the instrument on trainings of which it is known what noise does to them, by the same
    code as any study: stuck networks that noise frees, noise that does nothing, noise that
    destroys, and traps. Exit code 1 if one fails. The same command goes on with what was
    interrupted. docs/controls.md says what each shows.
    """
    from rich.console import Console

    from study.campaigns.controls import Room, results_table, run_controls
    from study.campaigns.known_answers import CONTROLS
    from study.config import StudyConfig
    from study.tune.connect import ray_session

    if options.only and options.only not in CONTROLS:
        raise InputError(f"--only = {options.only!r}: {nearest(options.only, CONTROLS)}")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed = {options.seed}: from 0 to 2**63 − 1")
    out = given_path(options.out, "--out")
    check_writable(out, "--out")
    console = Console()
    if options.only:
        chosen = [CONTROLS[options.only]]
    else:
        chosen = [each for each in CONTROLS.values() if each.quick or not options.quick]
        left_out = [name for name, each in CONTROLS.items() if each not in chosen]
        if left_out:
            console.print(f"left out with --quick: {', '.join(left_out)}")
    live = console if console.is_terminal else None
    with ray_session(StudyConfig()):
        room = Room(out, options.seed, options.quick, live)
        outcomes = run_controls(room, chosen, console)
    console.print(results_table(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1
