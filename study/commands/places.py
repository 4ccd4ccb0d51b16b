"""Options that say which study is meant, and where it is stored."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from study.commands.settings import option, positional
from study.records.storage import Storage

Name = tyro.conf.Positional[Annotated[str, positional("NAME", "the study's name")]]


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


@dataclass(frozen=True)
class StudyName(StorageOptions):
    """Which study, and where it is stored."""

    name: Name = ""
