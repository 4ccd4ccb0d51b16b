"""Options that the subcommands of ``noise-analysis`` share."""

from dataclasses import dataclass
from typing import Annotated

from study.commands.places import Name, StorageOptions
from study.commands.settings import option

PROG = "noise-analysis"


@dataclass(frozen=True)
class StoreOptions(StorageOptions):
    """Where studies are, and MLflow's store."""

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


@dataclass(frozen=True)
class StudyOptions(StoreOptions):
    """A study, and where results go."""

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
