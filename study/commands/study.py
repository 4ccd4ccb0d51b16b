"""``noise-study``: run a study, look at it, tidy up after it. The work is in ``study.api``."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console

from study.commands.options import (
    SettingOptions,
    option,
    read_arguments,
    read_command_line,
    run_command,
)
from study.config import MAY_CHANGE, StudyConfig
from study.preflight import read_configs
from study.presets import PRESETS, get_preset, quickstart, with_one_cosine
from study.records.folder import StudyFolder, storage_of
from study.records.remote import DATABASE
from study.records.storage import Storage
from study.resume import resumed
from trainables.errors import InputError, nearest
from trainables.settings import merge, nest, parse_config, read_mapping
from trainables.uris import redact_uri

PROG = "noise-study"

STUDY_OPTIONS = SettingOptions(
    StudyConfig, quickstart(), omit=("train/noise/policy", "train/noise/kind"), title="study"
)
"""The options of ``run``, generated from the configuration of a study."""


@dataclass(frozen=True)
class RunOptions:
    """Options of ``run`` that are no settings."""

    preset: Annotated[
        str, option("--preset", help="where to start from: " + ", ".join(PRESETS), value="NAME")
    ] = "quickstart"
    config: Annotated[
        str,
        option(
            "--config",
            help="a study's configuration (JSON or YAML), as each study writes it to "
            "STORAGE/NAME/study.json; options given beside it win",
            value="FILE",
            default="none",
        ),
    ] = ""
    configs: Annotated[
        str,
        option(
            "--configs",
            help="a JSON list of overrides, run exactly instead of a search, "
            'e.g. [{"noise/patience": 3}]',
            value="FILE",
            default="none",
        ),
    ] = ""


def study_config(arguments: Sequence[str]) -> StudyConfig:
    """The configuration that a command line of ``noise-study run`` means.

    Preset < configuration file < single options, wherever they stand on the line.

    Raises:
        InputError: naming the field, its value and what is allowed.
    """
    line = read_command_line(
        arguments,
        STUDY_OPTIONS,
        RunOptions,
        prog=f"{PROG} run",
        description="Search for noise settings that beat the same training without noise, beside "
        "a pinned baseline.",
    )
    if str(line.given.get("trials", "")).startswith("+"):
        raise InputError(
            f"trials (--trials) = {line.given['trials']}: {PROG} resume NAME --trials +N adds to "
            "a study; here give how many there shall be"
        )
    preset = get_preset(line.extra.preset).model_dump(mode="json")
    from_file = read_mapping(line.extra.config) if line.extra.config else {}
    given = nest(line.given)
    values = with_one_cosine(merge(merge(preset, from_file), given), from_file, given)
    if line.extra.configs:
        values["configs"] = read_configs(line.extra.configs)
    return parse_config(
        StudyConfig,
        values,
        where=line.extra.config,
        options=STUDY_OPTIONS.names_of(line.given),
    )


RESUME_OPTIONS = SettingOptions(
    StudyConfig, quickstart(), only=MAY_CHANGE - {"storage", "work_dir"}, title="changes"
)
"""The options of ``resume``, generated from the configuration of a study."""


def resumed_config(arguments: Sequence[str]) -> StudyConfig:
    """The configuration that a command line of ``noise-study resume`` means.

    Raises:
        InputError: naming the field, its value and what is allowed.
    """
    line = read_command_line(
        arguments,
        RESUME_OPTIONS,
        ResumeOptions,
        prog=f"{PROG} resume",
        description="Go on with a study that was interrupted, or extend one that is finished "
        "(--trials +50). Where an option is not given, the study's own setting holds.",
    )
    given = dict(line.given)
    more = 0
    trials = given.get("trials", "")
    if trials.startswith("+"):
        more = _more_trials(given.pop("trials"))
    return resumed(line.extra.where, line.extra.name, given, more_trials=more)


def _more_trials(text: str) -> int:
    if not text[1:].isdecimal():
        raise InputError(f"trials (--trials) = {text!r}: a whole number, or +N for N more")
    return int(text)


def run(arguments: Sequence[str]) -> int:
    """``noise-study run``."""
    return _run_to_the_end(study_config(arguments))


def resume(arguments: Sequence[str]) -> int:
    """``noise-study resume NAME``."""
    return _run_to_the_end(resumed_config(arguments))


def _run_to_the_end(config: StudyConfig) -> int:
    from study.preflight import check_study

    # Before Ray and MLflow are imported, so that a mistake is answered at once.
    checked = check_study(config)
    StudyFolder.fetched(storage_of(config), config.name).check_same_study(checked)
    from study.api import run_study
    from study.console import print_result

    console = Console()
    summary = run_study(config, console=console)
    print_result(console, config, summary)
    return 0


@dataclass(frozen=True)
class StorageOptions:
    """Where studies are."""

    storage: Annotated[
        str,
        option(
            "--storage",
            help="folder that holds the studies, or a place in an object store, e.g. "
            "s3://BUCKET/FOLDER",
            value="DIR",
        ),
    ] = "studies"
    work_dir: Annotated[
        str,
        option(
            "--work-dir",
            help="local folder for the records where --storage is a URI",
            value="DIR",
            default="one in ~/.cache/noise-study",
        ),
    ] = ""

    @property
    def where(self) -> Storage:
        """Where the studies are."""
        return Storage.of(self.storage, self.work_dir or None)


Name = tyro.conf.Positional[Annotated[str, tyro.conf.arg(help="the study's name", metavar="NAME")]]


@dataclass(frozen=True)
class ResumeOptions(StorageOptions):
    """Options of ``resume`` that are no settings."""

    name: Name = ""


@dataclass(frozen=True)
class SyncOptions(StorageOptions):
    """Options of ``sync``."""

    name: Name = ""
    tracking_uri: Annotated[
        str,
        option(
            "--tracking-uri",
            help="MLflow tracking URI",
            value="URI",
            default="the study's own",
        ),
    ] = ""


def sync(arguments: Sequence[str]) -> int:
    """``noise-study sync NAME``: send to MLflow what it could not take while the study ran."""
    options = read_arguments(
        SyncOptions,
        arguments,
        prog=f"{PROG} sync",
        description="Send to MLflow what it could not take while the study ran.",
    )
    from study.api import sync_study

    report = sync_study(options.where, options.name, options.tracking_uri or None)
    if report.error is not None:
        print(
            f"{PROG}: MLflow can't be written to ({report.error}); {report.behind} bytes and "
            f"{report.files_left} files wait to be sent. Try again later",
            file=sys.stderr,
        )
        return 1
    print(f"{options.name}: {report.events} records sent, MLflow has everything")
    return 0


@dataclass(frozen=True)
class UiOptions(StorageOptions):
    """Options of ``ui``."""

    tracking_uri: Annotated[
        str,
        option(
            "--tracking-uri",
            help="MLflow tracking URI",
            value="URI",
            default="STORAGE/mlflow.db",
        ),
    ] = ""
    port: Annotated[int, option("--port", help="port on 127.0.0.1", value="INT")] = 5000


def ui(arguments: Sequence[str]) -> int:
    """``noise-study ui``: MLflow on 127.0.0.1 with the studies' store."""
    options = read_arguments(
        UiOptions,
        arguments,
        prog=f"{PROG} ui",
        description="Open MLflow on 127.0.0.1 with the studies' store.",
    )
    from study.tracking.addresses import resolve_uri
    from study.tracking.ui import serve_ui

    where = options.where
    storage = where.folder
    uri = resolve_uri(options.tracking_uri or None, storage)
    if where.remote is not None and not (options.tracking_uri or (storage / DATABASE).exists()):
        words = shlex.join([PROG, "sync", "NAME", *where.words])
        raise InputError(
            f"storage = {where.shown}: MLflow on this machine knows no study of it yet; fill it "
            f"from a study's records with: {words}"
        )
    if not options.tracking_uri and not storage.is_dir():
        raise InputError(
            f"storage = {where.shown}: there is no such folder, so no study; give another "
            "(--storage)"
        )
    print(f"MLflow with {redact_uri(uri)} on http://127.0.0.1:{options.port} (Ctrl-C ends it)")
    return serve_ui(uri, storage, port=options.port)


def list_studies(arguments: Sequence[str]) -> int:
    """``noise-study list``: a line a study."""
    options = read_arguments(
        StorageOptions,
        arguments,
        prog=f"{PROG} list",
        description="List the studies under a storage folder.",
    )
    from study.housekeeping import studies_table

    Console().print(studies_table(options.where))
    return 0


@dataclass(frozen=True)
class CleanOptions(StorageOptions):
    """Options of ``clean``."""

    name: Name = ""


def clean(arguments: Sequence[str]) -> int:
    """``noise-study clean NAME``: remove checkpoints that nothing needs."""
    options = read_arguments(
        CleanOptions,
        arguments,
        prog=f"{PROG} clean",
        description="Remove the checkpoints that nothing needs any more, and say how much.",
    )
    from study.housekeeping import clean_study

    print(clean_study(options.where, options.name))
    return 0


def experiment(arguments: Sequence[str]) -> int:
    """``noise-study experiment``."""
    from study.commands.experiment import run

    return run(arguments)


def confirm(arguments: Sequence[str]) -> int:
    """``noise-study confirm``."""
    from study.commands.confirm import run

    return run(arguments)


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "run": (run, "search for noise settings that beat the pinned baseline"),
    "experiment": (experiment, "train a grid, each group beside its pinned baseline"),
    "confirm": (confirm, "the best configurations on fresh seeds, beside baseline and placebo"),
    "resume": (resume, "go on with an interrupted study, or extend a finished one"),
    "sync": (sync, "send to MLflow what it could not take while a study ran"),
    "ui": (ui, "open MLflow on 127.0.0.1 with the studies' store"),
    "list": (list_studies, "list the studies"),
    "clean": (clean, "remove checkpoints that nothing needs"),
}


def dispatch(
    prog: str,
    commands: dict[str, tuple[Callable[[Sequence[str]], int], str]],
    words: Sequence[str],
) -> int:
    """Hand the words after a subcommand's name to it.

    Raises:
        InputError: for a subcommand that does not exist, with the nearest one.
    """
    if not words or words[0] in {"-h", "--help"}:
        width = max(map(len, commands))
        lines = [f"  {name:{width}}  {text}" for name, (_, text) in commands.items()]
        print(f"usage: {prog} COMMAND [OPTIONS]\n\n" + "\n".join(lines))
        print(f"\n{prog} COMMAND --help explains a command.")
        return 0 if words else 2
    if words[0] not in commands:
        raise InputError(f"{words[0]!r}: no such command; {nearest(words[0], commands)}")
    return commands[words[0]][0](words[1:])


def main(arguments: Any = None) -> int:
    """The command line; returns the exit code."""
    return run_command(PROG, lambda words: dispatch(PROG, COMMANDS, words), arguments)


if __name__ == "__main__":
    sys.exit(main())
