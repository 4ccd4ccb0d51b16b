"""A study's folder: its lock, its stored configuration, and the names of its files."""

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import RunsConfig, StudyConfig, differences
from study.ledger import read_ledger
from study.store import redact_uri
from trainables.config import parse_config, read_mapping
from trainables.errors import InputError
from trainables.files import write_atomically

log = logging.getLogger(__name__)

_REMOVED = "***"


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study under ``STORAGE/NAME``."""

    path: Path

    @classmethod
    def of(cls, storage: str | Path, name: str) -> "StudyFolder":
        """The folder of a study, as an absolute path; it need not exist."""
        return cls(Path(storage).expanduser().resolve() / name)

    @property
    def config(self) -> Path:
        """The study's whole configuration."""
        return self.path / "study.json"

    @property
    def experiment(self) -> Path:
        """An experiment's whole configuration; it has no ``study.json``."""
        return self.path / "experiment_config.json"

    @property
    def ledger(self) -> Path:
        """Everything that happened, in order."""
        return self.path / "ledger.jsonl"

    @property
    def journal(self) -> Path:
        """Optuna's storage."""
        return self.path / "optuna.journal"

    @property
    def summary(self) -> Path:
        """The result."""
        return self.path / "summary.json"

    @property
    def best_config(self) -> Path:
        """The winner's run configuration."""
        return self.path / "best_config.json"

    @property
    def space(self) -> Path:
        """The search space as it was fixed when the search began."""
        return self.path / "space.json"

    @property
    def checkpoints(self) -> Path:
        """The trials' checkpoints."""
        return self.path / "checkpoints"

    @property
    def mlflow_offset(self) -> Path:
        """How much of the ledger has been sent to MLflow."""
        return self.path / "mlflow.offset"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the study."""
        return self.path / "lock"

    def stored_config(self) -> StudyConfig | None:
        """The configuration that the study has by now; None if there is no study.

        If its file is damaged, what the ledger has of it is used.

        Raises:
            InputError: if it is damaged in both places.
        """
        if not self.config.exists():
            return None
        try:
            return parse_config(StudyConfig, read_mapping(self.config), where=str(self.config))
        except InputError as error:
            study = read_ledger(self.ledger).study
            if study is None:
                raise
            log.warning("%s; the configuration in %s is used", error, self.ledger)
            return parse_config(StudyConfig, dict(study.config), where=str(self.ledger))

    def check_same_study(self, wanted: StudyConfig) -> None:
        """Refuse a name that is taken by a study with other settings.

        Raises:
            InputError: naming each setting that differs.
        """
        if self.experiment.exists():
            raise InputError(
                f"name = {wanted.name!r}: taken by an experiment in {self.path}; "
                "give another --name"
            )
        stored = self.stored_config()
        if stored is None:
            return
        # What the data set filled in is no setting that anyone gave.
        unresolved = {"mean": None, "std": None, "classes": None}
        lines = differences(
            _with_data(stored, unresolved, wanted), _with_data(wanted, unresolved, wanted)
        )
        if lines:
            raise InputError(
                f"name = {wanted.name!r}: taken by a study with other settings in {self.path}:\n  "
                + "\n  ".join(lines)
                + "\ngive another --name, or the same settings to go on with that study"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study; a second process is refused. A dead holder's lock is free by itself.

        Raises:
            InputError: naming the holder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = self.lock.open("a+", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"storage = {self.path.parent}: can't be written ({error.strerror}); "
                "give another folder (--storage)"
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise InputError(
                    f"name = {self.path.name!r}: the study is being run by "
                    f"{file.read().strip() or 'another process'}; wait for it, or stop it"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield
            file.truncate(0)

    def write_config(self, config: StudyConfig) -> None:
        """Store the study's configuration, without the secrets that its URIs may hold."""
        write_json(self.config, public_values(config))


def public_values(config: RunsConfig) -> dict[str, Any]:
    """The configuration as JSON types, without the secrets that its URIs may hold."""
    values = config.model_dump(mode="json")
    for name in ("storage", "tracking_uri", "address"):
        if values[name] is not None:
            values[name] = redact_uri(values[name])
    return values


def has_secrets_removed(uri: str | None) -> bool:
    """Whether ``public_values`` took something out of this URI, so that it can't be used."""
    return uri is not None and _REMOVED in uri


def _with_data(config: StudyConfig, update: dict[str, None], wanted: StudyConfig) -> StudyConfig:
    given = wanted.train.data
    update = {key: None for key in update if getattr(given, key) is None}
    data = config.train.data.model_copy(update=update)
    return config.model_copy(update={"train": config.train.model_copy(update={"data": data})})


def write_json(path: Path, value: object) -> None:
    """Write strict JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def find_studies(storage: str | Path) -> list[StudyFolder]:
    """All studies under a storage folder, by name."""
    root = Path(storage).expanduser().resolve()
    return [StudyFolder(path.parent) for path in sorted(root.glob("*/study.json"))]
