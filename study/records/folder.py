"""A study's folder: its lock, its stored configuration, and the names of its files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import RunsConfig, StudyConfig
from study.config_changes import as_asked, as_tuned, differences
from study.names import check_name
from study.records.file_lock import LockHeldError, take
from study.records.folder_files import check_files, holds_something
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState, read_ledger
from study.records.named_file import NamedFile
from study.records.remote import fetch, folders
from study.records.remote_lock import remote_lock
from study.records.storage import Storage, Where
from trainables.data_config import FOUND
from trainables.documents import read_mapping
from trainables.errors import InputError, nearest
from trainables.object_store import Location, ObjectPath
from trainables.settings import parse_config
from trainables.uris import redact_uri

log = logging.getLogger(__name__)

_REMOVED = "***"
_MEANT = {"race_seeds": 1, "decide_by": "test_accuracy"}
"""What studies meant that were recorded before there were these settings."""

_ALWAYS = {"name", "train", "trials"}
"""Settings that the file of a study has in every version: without them it is damaged."""

_URIS = ("storage", "tracking_uri", "address")


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study under ``STORAGE/NAME``.

    Its records lie in the local folder ``path``; ``remote`` is its place in an object store.
    """

    path: Path
    remote: ObjectPath | None = None

    config = NamedFile("study.json")  # The whole configuration of a study,
    experiment = NamedFile("experiment_config.json")  # or of an experiment.
    ledger = NamedFile("ledger.jsonl")
    journal = NamedFile("optuna.journal")  # Optuna's storage.
    summary = NamedFile("summary.json")
    best_config = NamedFile("best_config.json")  # The winner's run configuration.
    assumed = NamedFile("best_config.assumed.json")  # What it assumed of its training.
    space = NamedFile("space.json")  # The search space as it was fixed when the search began.
    warm_start = NamedFile("warm_start.json")  # What another study gave the sampler at the start.
    mlflow_offset = NamedFile("mlflow.offset")  # How much of the ledger has been sent to MLflow.
    receipt = NamedFile("receipt.json")  # In which state of these files all was done.
    ray_log = NamedFile("ray.log")  # What Ray says of trials that failed, with tracebacks.
    lock = NamedFile("lock")  # Held by the process that runs the study.

    def check_files(self) -> None:
        """Refuse what could neither be read nor written where the study's files belong."""
        confirm = self.subfolder("confirm")
        files = [
            file
            for folder in (self, confirm)
            for file in (folder.config, folder.experiment, folder.ledger, *folder._derived())
        ]
        files += [self.receipt, self.lock, confirm.lock, confirm.path / "confirm_config.json"]
        check_files(files, [self.path, confirm.path, self.checkpoints, confirm.checkpoints])

    def left_of_ledger(self) -> list[str]:
        """The names of what is there that only follows from a ledger."""
        found = [*self._derived(), self.checkpoints]
        return [path.name for path in found if holds_something(path)]

    def _derived(self) -> tuple[Path, ...]:
        results = (self.summary, self.best_config, self.assumed)
        return (self.journal, *results, self.space, self.warm_start, self.mlflow_offset)

    @classmethod
    def of(cls, storage: Where, name: str) -> "StudyFolder":
        """The folder of a study, as an absolute path; it need not exist."""
        where = Storage.of(storage)
        remote = None if where.remote is None else where.remote / name
        return cls(where.folder / name, remote)

    @classmethod
    def fetched(cls, storage: Where, name: str) -> "StudyFolder":
        """The same, with the records that an object store has of it."""
        folder = cls.of(storage, name)
        folder.fetch()
        return folder

    def fetch(self) -> None:
        """Bring what an object store has of the study, if it is newer."""
        if self.remote is not None:
            fetch(self.path, self.remote)

    def subfolder(self, name: str) -> "StudyFolder":
        """A folder in it that has the same files, for a confirmation."""
        return StudyFolder(self.path / name, None if self.remote is None else self.remote / name)

    @property
    def checkpoints(self) -> Location:
        """The trials' checkpoints, where every worker reaches them."""
        return (self.path if self.remote is None else self.remote) / "checkpoints"

    @property
    def checkpoint_root(self) -> str:
        """The same as text, with the secrets that a URI may hold: for workers, not for files."""
        root = self.checkpoints
        return str(root) if isinstance(root, Path) else root.uri

    def stored_config(self) -> StudyConfig | None:
        """The configuration that the study has by now; None if there is no study.

        If its file is damaged, what the ledger has of it is used.
        """
        if not self.config.exists():
            return None
        try:
            values = {**_MEANT, **read_mapping(self.config)}
            if not values.keys() >= _ALWAYS:
                raise InputError(f"{self.config}: does not say {', '.join(sorted(_ALWAYS))}")
            return parse_config(StudyConfig, values, where=str(self.config))
        except InputError as error:
            state = read_ledger(self.ledger)
            if state.study is None:
                raise InputError(
                    f"{error}; it is damaged, and the ledger does not have it: take it from a copy"
                ) from None
            log.warning("%s; the configuration in %s is used", error, self.ledger)
            values = {**_MEANT, **state.study.config}
            config = parse_config(StudyConfig, values, where=str(self.ledger))
            return _tuned_by_ledger(config, state)

    def with_tuned_base(self, config: StudyConfig) -> StudyConfig:
        """The configuration with the base run that the stored study has, if it has tuned it."""
        stored, config = self.stored_config(), as_asked(config)
        if stored is None or stored.untuned is None:
            return config
        optimizer = stored.train.optimizer
        return as_tuned(config, optimizer.lr, optimizer.weight_decay)

    def check_same_study(self, wanted: StudyConfig) -> None:
        self.check_files()
        if self.experiment.exists():
            raise InputError(
                f"name = {wanted.name!r}: taken by an experiment in {self.path}; "
                "give another --name"
            )
        stored = self.stored_config()
        if stored is None:
            return
        lines = differences(_without_found(stored, wanted), wanted)
        if lines:
            raise InputError(
                f"name = {wanted.name!r}: taken by a study with other settings in {self.path}:\n  "
                + "\n  ".join(lines)
                + "\ngive another --name, or the same settings to go on with that study"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study; a second process is refused. A dead holder's lock is free by itself."""
        try:
            lock = take(self.lock)
        except LockHeldError as holder:
            raise InputError(
                f"name = {self.path.name!r}: the study is being run by {holder}; wait for it, or "
                "stop it"
            ) from None
        except OSError as error:
            raise InputError(
                f"storage = {self.path.parent}: can't be written or locked "
                f"({error.strerror}); "
                "give another folder (--storage)"
            ) from None
        try:
            with nullcontext() if self.remote is None else remote_lock(self.path, self.remote):
                yield
        finally:
            lock.release()

    def write_config(self, config: StudyConfig) -> None:
        write_json(self.config, public_values(config))


def public_values(config: RunsConfig) -> dict[str, Any]:
    """The configuration as JSON types, without the secrets that its URIs may hold."""
    values = config.model_dump(mode="json")
    for name in _URIS:
        if values[name] is not None:
            values[name] = redact_uri(values[name])
    # Where this machine keeps the records says nothing on another one.
    values["work_dir"] = None
    return values


def check_secrets(config: RunsConfig) -> None:
    """Refuse URIs out of which ``public_values`` took something, so that they can't be used."""
    for name in _URIS:
        uri = getattr(config, name)
        if uri is not None and _REMOVED in uri:
            raise InputError(
                f"{name} = {uri}: its secret was not stored; give it again "
                f"(--{name.replace('_', '-')})"
            )


def _tuned_by_ledger(config: StudyConfig, state: LedgerState) -> StudyConfig:
    """A configuration that the ledger has from before the tuning, as the baselines have it."""
    baselines = state.by_role("baseline")
    if not config.tune_baseline or config.untuned is not None or not baselines:
        return config
    optimizer = baselines[0].config["optimizer"]
    return as_tuned(config, float(optimizer["lr"]), float(optimizer["weight_decay"]))


def _without_found(config: StudyConfig, wanted: StudyConfig) -> StudyConfig:
    """What the data set filled in is no setting that anyone gave."""
    found = [key for key in FOUND if getattr(wanted.train.data, key) is None]
    data = config.train.data.model_copy(update=dict.fromkeys(found))
    return config.model_copy(update={"train": config.train.model_copy(update={"data": data})})


def find_records(storage: Where) -> list[StudyFolder]:
    """The folders of the studies and grids under a storage."""
    return _find(storage, "study.json", "experiment_config.json")


def _find(storage: Where, *files: str) -> list[StudyFolder]:
    where = Storage.of(storage)
    if where.remote is not None:
        for name in folders(where.remote):
            StudyFolder.fetched(where, name)
    found = sorted({path.parent for file in files for path in where.folder.glob(f"*/{file}")})
    return [StudyFolder.of(where, path.name) for path in found]


def storage_of(config: RunsConfig) -> Storage:
    return Storage.of(config.storage, config.work_dir)


def open_study(storage: Where, name: str) -> StudyFolder:
    """The folder of a study that exists, with what an object store has of it."""
    return _open(storage, name, "study.json")


def open_records(storage: Where, name: str) -> StudyFolder:
    """The same of a study or a grid."""
    return _open(storage, name, "study.json", "experiment_config.json")


def _open(storage: Where, name: str, *files: str) -> StudyFolder:
    where = Storage.of(storage)
    if name:
        check_name(name)
    folder = StudyFolder.fetched(where, name) if name else StudyFolder.of(where, name)
    if not name or not any((folder.path / file).exists() for file in files):
        # What is only named is not fetched.
        there = _find(where, *files) if where.remote is None else []
        names = folders(where.remote) if where.remote else [study.path.name for study in there]
        known = nearest(name, names) if names else f"there is none in {where.shown} (--storage)"
        raise InputError(f"name = {name!r}: no such study; {known}")
    folder.check_files()
    return folder
