"""``noise-study controls``: is the instrument right where the answer is known?"""

from dataclasses import dataclass
from typing import Annotated

from study.commands.dispatch import NOISE_STUDY, subcommand
from study.commands.settings import option


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

    from study.api import run_controls
    from study.campaigns.controls import results_table

    console = Console()
    outcomes = run_controls(
        [options.only] if options.only else [],
        quick=options.quick,
        seed=options.seed,
        out=options.out,
        console=console,
    )
    console.print(results_table(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1
