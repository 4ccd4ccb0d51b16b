"""What the subcommands of ``noise-analysis`` share: options, and how they are read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from study.commands.places import Name, StorageOptions
from study.commands.settings import option
from study.errors import StudyFailedError
from trainables.paths import check_writable, given_path

if TYPE_CHECKING:
    from analysis.reading import StudyView

PROG = "noise-analysis"

BaselineSeed = Annotated[
    int | None,
    option(
        "--baseline-seed",
        help="seed of the study's baseline",
        value="INT",
        default="the trials' seed",
    ),
]


@dataclass(frozen=True)
class StoreOptions(StorageOptions):
    tracking_uri: Annotated[
        str,
        option(
            "--tracking-uri",
            help="MLflow tracking URI: reports and models go there, figures come from the study's "
            "own files",
            value="URI",
            default="the study's own",
        ),
    ] = ""

    def load(self, name: str) -> "StudyView":
        from analysis.reading import load_study

        return load_study(self.where, name)


@dataclass(frozen=True)
class StudyOptions(StoreOptions):
    name: Name = ""
    out: Annotated[
        str,
        option(
            "--out",
            help="folder for the files",
            value="DIR",
            default="STORAGE/NAME; export: STORAGE/NAME/export",
        ),
    ] = ""

    def folder(self, default: Path) -> Path:
        """Where the files go; refused where nothing can be written."""
        path = given_path(self.out, "--out") if self.out else default
        check_writable(path, "--out")
        return path


@contextmanager
def writing() -> Iterator[None]:
    """What can't be written is told in a line, with exit code 1."""
    try:
        yield
    except OSError as error:
        raise StudyFailedError(f"can't be written: {error}") from error


def tell(line: str) -> None:
    """Say what is no result."""
    print(f"{PROG}: {line}", file=sys.stderr)
