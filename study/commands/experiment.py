"""``noise-study experiment``: a grid of runs, each group beside its pinned baseline."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console

from study.campaigns.experiment_grid import (
    AXES,
    PRESETS,
    ExperimentConfig,
    experiment_preset,
    size,
    small,
    stored_experiment,
)
from study.commands.dispatch import NOISE_STUDY
from study.commands.first_line import say_starting
from study.commands.options import read_command_line
from study.commands.own_code import Trust
from study.commands.settings import SettingOptions, option
from study.config_changes import with_stored_decoding
from study.presets import with_one_cosine, with_photos_as_now
from study.records.folder import StudyFolder, storage_of
from trainables.data.registry import is_photos
from trainables.documents import read_mapping
from trainables.settings import merge, nest, parse_config

EXPERIMENT_OPTIONS = SettingOptions(
    ExperimentConfig,
    small(),
    # What the grid varies is given by its axes.
    omit=tuple(f"train/{path}" for path in AXES.values()),
    title="experiment",
)
"""The options of ``experiment``, generated from the configuration of an experiment."""


@dataclass(frozen=True)
class ExperimentOptions:
    """What the grid starts from, and what is done with it."""

    preset: Annotated[
        str, option("--preset", help="where to start from: " + ", ".join(PRESETS), value="NAME")
    ] = "small"
    config: Annotated[
        str,
        option(
            "--config",
            help="an experiment's configuration (JSON or YAML), as each writes it to "
            "STORAGE/NAME/experiment_config.json; options given beside it win",
            value="FILE",
            default="none",
        ),
    ] = ""
    retry_failed: Annotated[
        bool, option("--retry-failed", help="also run again what has failed earlier")
    ] = False
    print_config: Annotated[
        bool, option("--print-config", help="print the resulting configuration as JSON, and end")
    ] = False
    trust: Trust = ""


def read_experiment(arguments: Sequence[str]) -> tuple[ExperimentConfig, ExperimentOptions]:
    """The experiment that a command line means: preset < configuration file < single options."""
    line = read_command_line(
        arguments,
        EXPERIMENT_OPTIONS,
        ExperimentOptions,
        prog=f"{NOISE_STUDY} experiment",
        description="Train a grid of classifiers, optimizers, momenta, learning rates and subsets "
        "with each distribution of the noise, each group beside its pinned baseline, on each seed. "
        "An interrupted experiment is continued by the same command.",
    )
    preset = experiment_preset(line.extra.preset)
    from_file = read_mapping(line.extra.config) if line.extra.config else {}
    given = nest(line.given)
    values = merge(merge(preset.model_dump(mode="json"), from_file), given)
    train = preset.train
    if train.optimizer.lr_restart_period == train.epochs:
        values = with_one_cosine(values, from_file, given)
    values = with_photos_as_now(values, from_file, given)
    config = parse_config(
        ExperimentConfig,
        values,
        where=line.extra.config,
        options=EXPERIMENT_OPTIONS.names_of(line.given),
    )
    if is_photos(config.train.data.dataset):
        stored = stored_experiment(StudyFolder.of(storage_of(config), config.name))
        config = with_stored_decoding(config, stored, from_file, given)
    return config, line.extra


def run(arguments: Sequence[str]) -> int:
    config, options = read_experiment(arguments)
    if options.print_config:
        print(f"{NOISE_STUDY}: {config.name}: {size(config)}", file=sys.stderr)
        print(config.model_dump_json(indent=2))
        return 0
    console = Console()
    say_starting(console, config.name, size(config))
    from study.campaigns.experiment import run_experiment
    from study.campaigns.experiment_result import result_files
    from study.campaigns.experiment_tables import print_experiment
    from study.campaigns.search_result import print_next

    result = run_experiment(config, console=console, retry_failed=options.retry_failed)
    print_experiment(console, result)
    where = storage_of(config)
    print_next(console, [NOISE_STUDY, "ui", config.name, *where.words])
    for path in result_files(StudyFolder.of(where, config.name)):
        console.print(f"  {path}", soft_wrap=True, highlight=False)
    if len(result.failed) == len(result.runs):
        print(
            f"{NOISE_STUDY}: every run failed, the first: {result.failed[0].reason}",
            file=sys.stderr,
        )
        return 1
    return 0
