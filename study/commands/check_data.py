"""``noise-study check-data``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from study.commands.dispatch import NOISE_STUDY
from study.commands.options import read_command_line
from study.commands.settings import SettingOptions, option
from study.presets import standard, with_photos_as_now
from trainables.config import TrainConfig
from trainables.data_config import DataConfig
from trainables.errors import InputError
from trainables.paths import check_writable, given_path
from trainables.settings import merge, nest, parse_config

if TYPE_CHECKING:
    from rich.console import Console

    from trainables.data.inspection import Inspection

DATA_OPTIONS = SettingOptions(
    TrainConfig, standard().train, only=["data"], omit=["data/batch_size"], title="data"
)
"""The options of ``check-data``, generated from the settings of the data."""


@dataclass(frozen=True)
class CheckOptions:
    """Where the picture goes."""

    sheet: Annotated[
        str,
        option(
            "--sheet",
            help="PNG file for a contact sheet: images of each of the first 20 classes, each "
            "beside what three epochs of augmentation make of it",
            value="FILE",
            default="none",
        ),
    ] = ""


def check_data(arguments: Sequence[str]) -> int:
    config, sheet = _read(arguments)
    # Only now: whatever is wrong with the command line has been answered without torch.
    from rich.console import Console

    from study.campaigns.images import inspected
    from trainables.data.augmentation import check_augmentation
    from trainables.data.contact_sheet import SHOWN_CLASSES, write_contact_sheet

    check_augmentation(config)
    found = inspected(config, Console(stderr=True))
    if sheet is not None:
        write_contact_sheet(found.dataset, config, sheet)
    _tell(Console(), config, found)
    if sheet is not None:
        classes = len(found.dataset.classes)
        left = f" (the first {SHOWN_CLASSES} of {classes} classes)"
        print(f"contact sheet: {sheet}{left if classes > SHOWN_CLASSES else ''}")
    return 1 if found.findings else 0


def _read(arguments: Sequence[str]) -> tuple[DataConfig, Path | None]:
    line = read_command_line(
        arguments,
        DATA_OPTIONS,
        CheckOptions,
        prog=f"{NOISE_STUDY} check-data",
        description="Look at a data set before it is studied: classes, counts, sizes, files that "
        "can't be read, images that are both in training and in test. Exit code 1 if something is "
        "wrong with it.",
    )
    given = nest(line.given)
    # A batch of one: how many images a batch has is no question of the data.
    base = merge(standard().train.model_dump(mode="json"), {"data": {"batch_size": 1}})
    values = with_photos_as_now({"train": merge(base, given)}, {}, {"train": given})
    config = parse_config(TrainConfig, values["train"], options=DATA_OPTIONS.names_of(line.given))
    return config.data, _sheet(line.extra.sheet)


def _sheet(text: str) -> Path | None:
    if not text:
        return None
    path = given_path(text, "--sheet")
    if path.suffix.lower() != ".png":
        raise InputError(f"--sheet = {text!r}: it is a PNG; give a name that ends in .png")
    if path.exists() and not path.is_file():
        raise InputError(f"--sheet = {text!r}: is there, and is no file; give another name")
    check_writable(path.parent, "--sheet")
    return path


def _tell(console: "Console", config: DataConfig, found: "Inspection") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{config.dataset}, split {config.split}", title_justify="left")
    table.add_column("class")
    rows = [tuple(counts.values()) for counts in found.counts.values()]
    for part in next(iter(found.counts.values())):
        table.add_column(part, justify="right")
    for name, row in zip(found.counts, rows, strict=True):
        table.add_row(Text(name), *map(str, row))
    table.add_row("all", *(str(sum(column)) for column in zip(*rows, strict=True)))
    console.print(table)
    for line in found.remarks:
        print(line)
    for line in found.findings:
        print(f"WRONG: {line}")
    if not found.findings:
        print("nothing wrong was found")
