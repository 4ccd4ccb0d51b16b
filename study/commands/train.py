"""``noise-train``: one run, with the options of the reference."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from study.commands.options import read_command_line, run_command
from study.commands.own_code import Trust
from study.commands.reference_options import (
    RUN_SETTINGS,
    ReferenceOptions,
    ResolvedRun,
    resolve_run,
)
from study.commands.settings import option
from trainables.presets import PRESETS

if TYPE_CHECKING:
    from study.run.single_run import Interrupted

NOISE_TRAIN = "noise-train"
_DESCRIPTION = (
    "Train one classifier, with noise injected when training gets stuck, all the time, or never. "
    "Settings combine as preset < configuration file < single options."
)


@dataclass(frozen=True)
class TrainOptions(ReferenceOptions):
    """What is trained, how it is shown, and where it is stored."""

    preset: Annotated[
        str, option("--preset", help="settings to start from", value="{" + ",".join(PRESETS) + "}")
    ] = "readme"
    config: Annotated[
        str | None,
        option(
            "--config",
            help="JSON or YAML file with some or all settings, e.g. a study's best_config.json",
            value="FILE",
            default="none",
        ),
    ] = None
    print_config: Annotated[
        bool, option("--print-config", help="print the resulting configuration as JSON, and end")
    ] = False
    save_as: Annotated[
        str,
        option(
            "--save-as",
            help="file name for the best weights (none.pth: one of model, noise, epoch, accuracy); "
            "also names the run",
            value="NAME",
        ),
    ] = "none.pth"
    checkpoint_dir: Annotated[
        str, option("--checkpoint-dir", help="folder for weights and metrics", value="DIR")
    ] = "./checkpoints"
    resume: Annotated[
        bool, option("--resume", help="go on with the interrupted run of the same options")
    ] = False
    visualize_lr: Annotated[
        bool, option("--visualize-lr", help="draw the learning-rate schedule to a PNG")
    ] = False
    disable_graphs: Annotated[
        bool, option("--disable-graphs", help="show no graphs in the live dashboard")
    ] = True
    detailed_metrics: Annotated[
        bool,
        option("--detailed-metrics", help="record accuracy and loss per class on training data"),
    ] = False
    layer_norms: Annotated[
        bool, option("--layer-norms", help="record each layer's norms before and after the noise")
    ] = False
    tracking_uri: Annotated[
        str | None,
        option(
            "--tracking-uri",
            help="MLflow store that the run also goes to, e.g. sqlite:///mlflow.db",
            value="URI",
            default="none",
        ),
    ] = None
    trust: Trust = ""


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(NOISE_TRAIN, _train, arguments)


def _train(arguments: Sequence[str]) -> int:
    line = read_command_line(
        arguments, RUN_SETTINGS, TrainOptions, prog=NOISE_TRAIN, description=_DESCRIPTION
    )
    options = line.extra
    resolved = resolve_run(options.preset, options.config, line.given, options)
    for notice in resolved.notices:
        print(f"{NOISE_TRAIN}: {notice}", file=sys.stderr)
    if options.print_config:
        print(resolved.config.model_dump_json(indent=2))
        return 0
    return _run(arguments, options, resolved)


def _run(arguments: Sequence[str], options: TrainOptions, resolved: ResolvedRun) -> int:
    # Only now: whatever is wrong with the command line has been answered without torch.
    from rich.console import Console

    from study.run.report import print_result
    from study.run.single_run import DivergedError, Interrupted, SingleRunOptions, train_run

    console = Console()
    try:
        result = train_run(
            resolved.config,
            SingleRunOptions(
                checkpoint_dir=options.checkpoint_dir,
                save_as=options.save_as,
                resume=options.resume,
                visualize_lr=options.visualize_lr,
                graphs=not options.disable_graphs,
                detailed_metrics=options.detailed_metrics,
                layer_norms=options.layer_norms,
                tracking_uri=options.tracking_uri,
            ),
            console,
        )
    except Interrupted as stop:
        print(_how_to_go_on(arguments, stop), file=sys.stderr)
        return 128 + stop.signal
    except (DivergedError, OSError) as error:
        print(f"{NOISE_TRAIN}: {error}", file=sys.stderr)
        return 1
    print_result(console, result)
    return 0 if result.diverged is None else 1


def _how_to_go_on(arguments: Sequence[str], stop: "Interrupted") -> str:
    words = [NOISE_TRAIN, *(word for word in arguments if word != "--resume"), "--resume"]
    kept = f"after {stop.epochs} complete epochs, kept in {stop.files.metrics}"
    return f"{NOISE_TRAIN}: interrupted {kept}; to go on:\n  {shlex.join(words)}"


if __name__ == "__main__":
    sys.exit(main())
