"""``noise-test``: evaluate a checkpoint on the test set."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from study.commands.options import read_arguments, run_command
from study.commands.own_code import Trust
from study.commands.reference_options import ReferenceOptions, ResolvedRun, combine
from study.commands.settings import option
from trainables.data.registry import DATA_SETS
from trainables.errors import InputError
from trainables.presets import readme

if TYPE_CHECKING:
    from study.run.weights_file import Weights

NOISE_TEST = "noise-test"
_DESCRIPTION = (
    "Evaluate a checkpoint on the test set: loss, accuracy, and each class. A checkpoint of "
    "noise-train knows its data set and model; a bare state dict needs --classifier."
)


@dataclass(frozen=True)
class TestOptions:
    """What is evaluated, and on what. What is not given is as the checkpoint says."""

    __test__ = False

    checkpoint: Annotated[
        str | None,
        option("--checkpoint", "-c", help="weights file to evaluate", value="PATH", default="none"),
    ] = None
    classifier: Annotated[
        str | None,
        option("--classifier", "-m", help="the model", value="NAME", default="the checkpoint's"),
    ] = None
    dataset: Annotated[
        str | None,
        option(
            "--dataset",
            help=", ".join(DATA_SETS) + ", or your own as package.module:function",
            value="NAME",
            default="the checkpoint's; cifar10 for a bare state dict",
        ),
    ] = None
    data_dir: Annotated[
        str | None,
        option(
            "--data-dir",
            "-d",
            help="where the data set is",
            value="DIR",
            default="the checkpoint's; ./data/cifar10 for a bare state dict",
        ),
    ] = None
    fit: Annotated[
        str | None,
        option(
            "--fit",
            help="how a photo becomes square",
            value="{crop,pad,stretch}",
            default="the checkpoint's; crop for a bare state dict",
        ),
    ] = None
    background: Annotated[
        str | None,
        option(
            "--background",
            help="what lies behind transparent photos, and the bars of --fit pad",
            value="COLOUR",
            default="the checkpoint's; white for a bare state dict",
        ),
    ] = None
    image_size: Annotated[
        str | None,
        option(
            "--image-size",
            help="height and width of every image in pixels",
            value="INT",
            default="the checkpoint's; 32 for a bare state dict",
        ),
    ] = None
    channels: Annotated[
        str | None,
        option(
            "--channels",
            help="values of a pixel: 3 for RGB, 1 for grey",
            value="INT",
            default="the checkpoint's; 3 for a bare state dict",
        ),
    ] = None
    decoding: Annotated[
        str | None,
        option(
            "--decoding",
            help="2: photos are upright, transparency lies on --background; 1: as was recorded "
            "before",
            value="INT",
            default="the checkpoint's; 2 for a bare state dict",
        ),
    ] = None
    stream: Annotated[
        bool,
        option(
            "--stream",
            help="read each image when a batch needs it: Hugging Face's and your own data sets",
        ),
    ] = False
    skip_broken: Annotated[
        bool, option("--skip-broken", help="leave out image files that can't be read")
    ] = False
    download: Annotated[bool, option("--download", help="download CIFAR if it is not there")] = (
        False
    )
    batch_size: Annotated[
        str | None,
        option(
            "--batch-size",
            "-b",
            help="images per batch; changes the figures in their last digits",
            value="INT",
            default="as in training: 250, fewer above 96 pixels",
        ),
    ] = None
    workers: Annotated[
        str | None,
        option(
            "--workers",
            "-w",
            help="processes that decode an image folder, once",
            value="INT",
            default="the checkpoint's",
        ),
    ] = None
    gpu: Annotated[
        str | None,
        option(
            "--gpu",
            "-g",
            help='device: "0" the first GPU (the CPU where there is none), cpu, mps, auto',
            value="GPU",
            default="auto",
        ),
    ] = None
    sharpness: Annotated[
        bool, option("--sharpness", help="also the drop of accuracy under noise on the weights")
    ] = False
    json: Annotated[bool, option("--json", help="print one JSON object on standard output")] = False
    trust: Trust = ""

    def settings(self) -> dict[str, Any]:
        named = {
            "classifier": "model/classifier",
            "dataset": "data/dataset",
            "data_dir": "data/data_dir",
            "fit": "data/fit",
            "background": "data/background",
            "image_size": "data/image_size",
            "channels": "data/channels",
            "decoding": "data/decoding",
            "workers": "data/workers",
        }
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {path: values[name] for name, path in named.items() if values[name] is not None}
        if self.skip_broken:
            # Of how many the checkpoint's run had left out says nothing here.
            given |= {"data/skip_broken": True, "data/left_out": None}
        switches = {"data/download": self.download, "data/stream": self.stream}
        return given | {path: True for path, on in switches.items() if on}

    @property
    def images_a_batch(self) -> int | None:
        """The batch size as a number; None if it was not given."""
        if self.batch_size is None:
            return None
        if not self.batch_size.isdecimal() or int(self.batch_size) < 1:
            raise InputError(f"--batch-size = {self.batch_size!r}: a whole number from 1 on")
        return int(self.batch_size)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(NOISE_TEST, _test, arguments)


def _test(arguments: Sequence[str]) -> int:
    options = read_arguments(TestOptions, arguments, prog=NOISE_TEST, description=_DESCRIPTION)
    if options.checkpoint is None:
        raise InputError("--checkpoint is missing: give the weights file to evaluate")
    batch_size = options.images_a_batch
    from rich.console import Console

    from study.run.evaluation import evaluate_checkpoint
    from study.run.report import print_evaluation
    from study.run.weights_file import read_weights

    log = Console(stderr=True)
    path = Path(options.checkpoint)
    weights = read_weights(path)
    resolved = _resolve(path, weights, options)
    for notice in resolved.notices:
        log.print(notice, soft_wrap=True, markup=False, highlight=False)
    evaluation = evaluate_checkpoint(
        path,
        weights,
        resolved.config,
        batch_size=batch_size,
        with_sharpness=options.sharpness,
        log=log,
    )
    if options.json:
        from study.records.json_files import json_line

        print(json_line(evaluation.to_dict()))
    else:
        print_evaluation(Console(), evaluation)
    return 0


def _resolve(path: Path, weights: "Weights", options: TestOptions) -> ResolvedRun:
    """What the checkpoint says, and over it what the command line does."""
    given = options.settings()
    if weights.config is None and "model/classifier" not in given:
        raise InputError(
            f"--checkpoint = {path}: a bare state dict does not say which model it is: "
            "give --classifier"
        )
    stored = dict(weights.config or {})
    # The device that it was trained on says nothing about this machine.
    stored.pop("device", None)
    return combine(readme(), stored, str(path), given, ReferenceOptions(gpu=options.gpu))


if __name__ == "__main__":
    sys.exit(main())
