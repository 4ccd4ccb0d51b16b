"""``noise-study run`` and ``resume``."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from study.campaigns.confirm_plan import ConfirmConfig, parse_seeds, stored_confirmation
from study.campaigns.resume import resumed
from study.checks import read_configs
from study.commands.dispatch import NOISE_STUDY
from study.commands.first_line import say_starting
from study.commands.metric_options import FurtherMetrics, with_metrics
from study.commands.options import read_command_line
from study.commands.own_code import AcceptChangedCode, Trust
from study.commands.places import StudyName
from study.commands.settings import THE_STUDYS, SettingOptions, option
from study.commands.space_options import Range, with_space
from study.commands.task_options import with_task
from study.config import MAY_CHANGE, StudyConfig
from study.config_changes import asked_values, with_stored_decoding
from study.presets import (
    PRESETS,
    get_preset,
    standard,
    with_equal_budgets,
    with_one_cosine,
    with_photos_as_now,
)
from study.records.folder import StudyFolder, storage_of
from study.records.own_code import EXCLUDED
from trainables.data.registry import is_photos
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.optimizer_config import check_read
from trainables.settings import merge, nest, parse_config

if TYPE_CHECKING:
    from rich.console import Console

    from study.records.summary import Summary

STUDY_OPTIONS = SettingOptions(
    StudyConfig, standard(), omit=("train/noise/policy", "train/noise/kind"), title="study"
)
"""The options of ``run``, generated from the configuration of a study."""


@dataclass(frozen=True)
class SearchOptions:
    """What the study starts from."""

    preset: Annotated[
        str, option("--preset", help="where to start from: " + ", ".join(PRESETS), value="NAME")
    ] = "standard"
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
    task: Annotated[
        str,
        option(
            "--task",
            help="a training of your own, as package.module:Class (docs/own-task.md)",
            value="TASK",
            default="classifying images",
        ),
    ] = ""
    task_option: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        option(
            "--task-option",
            help="settings of your own task, as NAME=VALUE (JSON, or a text)",
            value="NAME=VALUE",
            default="none",
        ),
    ] = ()
    range: Range = ()
    metric: FurtherMetrics = ()
    trust: Trust = ""
    accept_changed_code: AcceptChangedCode = False


@dataclass(frozen=True)
class ResumeOptions(StudyName):
    """Which study, and whose code may run."""

    trust: Trust = ""
    accept_changed_code: AcceptChangedCode = False


def study_config(arguments: Sequence[str]) -> StudyConfig:
    """The configuration that a command line of ``noise-study run`` means.

    Preset < configuration file < single options, wherever they stand on the line.
    """
    return _read_run(arguments)[0]


def _read_run(arguments: Sequence[str]) -> tuple[StudyConfig, bool]:
    """The configuration, and whether a changed source is accepted."""
    line = read_command_line(
        arguments,
        STUDY_OPTIONS,
        SearchOptions,
        prog=f"{NOISE_STUDY} run",
        description="Search for noise settings that beat the same training without noise, beside "
        "a pinned baseline.",
    )
    if str(line.given.get("trials", "")).startswith("+"):
        raise InputError(
            f"trials (--trials) = {line.given['trials']}: {NOISE_STUDY} resume NAME --trials +N "
            "adds to a study; here give how many there shall be"
        )
    preset = get_preset(line.extra.preset).model_dump(mode="json")
    from_file = asked_values(read_mapping(line.extra.config)) if line.extra.config else {}
    given = nest(line.given)
    values = with_one_cosine(merge(merge(preset, from_file), given), from_file, given)
    values = with_photos_as_now(values, from_file, given)
    values = with_equal_budgets(values, preset, from_file, given)
    values = with_task(
        values, line.extra.task, line.extra.task_option, line.given, merge(from_file, given)
    )
    values = with_space(values, line.extra.range, line.given)
    values = with_metrics(values, line.extra.metric)
    if line.extra.configs:
        values["configs"] = read_configs(line.extra.configs)
    config = parse_config(
        StudyConfig, values, where=line.extra.config, options=STUDY_OPTIONS.names_of(line.given)
    )
    check_read(config.train.optimizer, line.given)
    if is_photos(config.train.data.dataset):
        stored = StudyFolder.of(storage_of(config), config.name).stored_config()
        config = with_stored_decoding(config, stored, from_file, given)
    return config, line.extra.accept_changed_code


RESUME_OPTIONS = SettingOptions(
    StudyConfig, THE_STUDYS, only=MAY_CHANGE - {"storage", "work_dir"}, title="changes"
)
"""The options of ``resume``, generated from the configuration of a study."""


def resumed_config(arguments: Sequence[str]) -> StudyConfig:
    return _read_resume(arguments)[0]


def _read_resume(arguments: Sequence[str]) -> tuple[StudyConfig, bool]:
    line = read_command_line(
        arguments,
        RESUME_OPTIONS,
        ResumeOptions,
        prog=f"{NOISE_STUDY} resume",
        description="Go on with a study that was interrupted, or extend one that is finished "
        "(--trials +50). Where an option is not given, the study's own setting holds.",
    )
    given, more = dict(line.given), 0
    if given.get("trials", "").startswith("+"):
        text = given.pop("trials")
        if not text[1:].isdecimal():
            raise InputError(f"trials (--trials) = {text!r}: a whole number, or +N for N more")
        more = int(text)
    config = resumed(line.extra.where, line.extra.name, given, more_trials=more)
    return config, line.extra.accept_changed_code


def run(arguments: Sequence[str]) -> int:
    config, accept = _read_run(arguments)
    return _run_to_the_end(config, accept=accept)


def resume(arguments: Sequence[str]) -> int:
    config, accept = _read_resume(arguments)
    return _run_to_the_end(config, accept=accept, fetched=True)


def wanted_confirmation(config: StudyConfig) -> ConfirmConfig | None:
    """The confirmation that follows a study (``--confirm``); None if none does."""
    if config.confirm is None:
        return None
    try:
        seeds, first_look = parse_seeds(config.confirm, sequential=".." in config.confirm)
        return parse_config(ConfirmConfig, {"seeds": seeds, "first_look": first_look})
    except InputError as error:
        raise InputError(f"confirm (--confirm) = {config.confirm}: {error}") from None


def _run_to_the_end(config: StudyConfig, *, accept: bool, fetched: bool = False) -> int:
    from rich.console import Console

    confirm, console = wanted_confirmation(config), Console()
    train = config.train
    trials = f"{config.wanted} trials of {train.what}, {train.epochs} epochs each"
    say_starting(console, config.name, trials)
    with _one_ray(confirm):
        summary = _search(config, console, accept=accept, fetched=fetched)
        if confirm is not None:
            _confirm(_as_begun(config), confirm, summary, console)
    return 0


def _one_ray(confirm: ConfirmConfig | None) -> AbstractContextManager[None]:
    """What lets the confirmation have the search's Ray, and workers that start before it does."""
    if confirm is None:
        return nullcontext()
    from study.tune.connect import ray_kept

    return ray_kept()


def _search(config: StudyConfig, console: "Console", *, accept: bool, fetched: bool) -> "Summary":
    from study.campaigns.search_result import print_result
    from study.campaigns.search_study import run_study
    from study.records.chance import chance_sentence
    from study.records.ledger_view import read_ledger
    from study.records.own_code import present

    summary = run_study(config, console=console, fetched=fetched, accept_changed_code=accept)
    config = _as_begun(config)
    state = read_ledger(StudyFolder.of(storage_of(config), config.name).ledger)
    baselines = present(config, state).by_role("baseline")
    print_result(console, config, summary, chance_sentence(baselines, summary.validation_images))
    return summary


def _as_begun(config: StudyConfig) -> StudyConfig:
    """A study with what code of one's own said when it began: a task, a metric, a space."""
    stored = StudyFolder.of(storage_of(config), config.name).stored_config()
    if stored is None:
        return config
    train = config.train.model_copy(update={"measured": stored.train.measured})
    if train.task.name is not None:
        train = stored.train
    changed = {"train": train, "fork": stored.fork, "own_space": stored.own_space}
    return config.model_copy(update=changed)


def _confirm(
    config: StudyConfig, confirm: ConfirmConfig, summary: "Summary", console: "Console"
) -> None:
    from study.campaigns.confirm import run_confirm
    from study.commands.confirm import print_verdicts

    ended = sum(trial.state != EXCLUDED for trial in summary.trials)
    if ended < config.wanted or not summary.best:
        console.print("nothing is confirmed yet: the study lacks trials, or a complete one")
        return
    if summary.race_complete is False:
        console.print("nothing is confirmed yet: the race is not over")
        return
    begun = stored_confirmation(StudyFolder.of(storage_of(config), config.name))
    if begun is not None and begun.judged == "as_before" and begun.looks and confirm.looks:
        # The presets of earlier versions had other looks.
        looks = {"first_look": begun.first_look, "seeds": begun.seeds}
        confirm = confirm.model_copy(update=looks)
    print_verdicts(console, run_confirm(config, confirm, console=console, fetched=True))
