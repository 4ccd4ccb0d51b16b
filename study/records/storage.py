"""Where studies are kept: a folder, or an object store beside a local folder for their records.

Ledger, journal, lock and MLflow's database are files that grow and are locked, which an object
store has not. So with a URI they live in a work folder on the driver's machine and are copied to
the store (``study.records.remote``), while checkpoints, which workers write and read, lie in the
store itself.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from trainables.errors import InputError
from trainables.object_store import ObjectPath
from trainables.paths import cache_folder, given_path
from trainables.uris import is_uri, redact_uri


@dataclass(frozen=True)
class Storage:
    """Where studies are.

    Attributes:
        given: the folder or URI, as the user gave it, with its secrets.
        work_dir: what was given for a URI; None: the default one.
        folder: the local folder of the studies' records, absolute.
    """

    given: str
    work_dir: str | None
    folder: Path
    remote: ObjectPath | None = None

    @classmethod
    def of(cls, storage: "str | Path | Storage", work_dir: str | None = None) -> "Storage":
        """The storage that ``--storage`` and ``--work-dir`` mean; nothing is contacted."""
        if isinstance(storage, Storage):
            return storage
        given = str(storage)
        if not is_uri(given):
            if work_dir is not None:
                raise InputError(
                    f"work_dir = {work_dir!r}: the storage {given!r} is a folder, which holds the "
                    "records itself; leave --work-dir away, or give a URI for --storage"
                )
            return cls(given, None, given_path(given, "storage").resolve())
        try:
            given.encode()
        except UnicodeEncodeError:
            shown = redact_uri(given)
            raise InputError(f"storage = {shown!a}: holds what is no character") from None
        folder = default_work_dir(given) if work_dir is None else given_path(work_dir, "work_dir")
        return cls(given, work_dir, folder.resolve(), ObjectPath(given))

    @property
    def shown(self) -> str:
        return redact_uri(self.given)

    @property
    def words(self) -> list[str]:
        """The options that mean this storage, without secrets: for commands that are shown."""
        work_dir = [] if self.work_dir is None else ["--work-dir", self.work_dir]
        return ["--storage", self.shown, *work_dir]


Where = str | Path | Storage
"""What functions take that need to know where studies are."""


def default_work_dir(uri: str) -> Path:
    """A folder of this user's cache; one for each place, whatever credentials lead to it."""
    base, _, query = uri.partition("?")
    # What stands before the @ is a user, but of abfs:// a container.
    user = r"\1@" if base.startswith("abfs") else ""
    place = re.sub(r"(?<=://)([^/?#:@]*)(:[^/?#]*)?@", user, base).rstrip("/")
    endpoint = parse_qs(query).get("endpoint_override", [""])[0]
    place = f"{place}?{endpoint}" if endpoint else place
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", place)[-60:].strip("-")
    digest = hashlib.sha256(place.encode()).hexdigest()[:8]
    return cache_folder() / f"{readable}-{digest}"
