"""``noise-study set`` and ``stop``: what a study that runs is asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from study.commands.dispatch import NOISE_STUDY, subcommand
from study.commands.options import read_command_line
from study.commands.places import StudyName
from study.commands.settings import THE_STUDYS, SettingOptions, option
from study.config import StudyConfig
from study.records.requests import SETTABLE

SET_OPTIONS = SettingOptions(
    StudyConfig,
    THE_STUDYS,
    only=SETTABLE,
    title="changes",
)
"""The options of ``set``, generated from the configuration of a study."""


def set_limits(arguments: Sequence[str]) -> int:
    line = read_command_line(
        arguments,
        SET_OPTIONS,
        StudyName,
        prog=f"{NOISE_STUDY} set",
        description="Change limits of a study while it runs (--trials 40, or +24 for so many "
        "more); a resume keeps to them.",
    )
    from study.campaigns.ask import set_limits as ask

    names = SET_OPTIONS.names_of(line.given)
    print(f"{line.extra.name}: {ask(line.extra.where, line.extra.name, line.given, names)}")
    return 0


@dataclass(frozen=True)
class StopOptions(StudyName):
    """Which study, and what of it."""

    trial: Annotated[
        str,
        option("--trial", help="one run, e.g. trial-0007", value="KEY", default="the whole study"),
    ] = ""


@subcommand(f"{NOISE_STUDY} stop", StopOptions)
def stop(options: StopOptions) -> int:
    """Stop a study that runs, as one Ctrl-C does, or one of its runs for good."""
    from study.campaigns.ask import stop as ask

    print(f"{options.name}: {ask(options.where, options.name, options.trial or None)}")
    return 0
