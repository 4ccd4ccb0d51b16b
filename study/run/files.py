"""The files of a single run, written as it happens.

Under a folder (``./checkpoints``), for the run NAME: the weights of the best epoch in a ``.pth``
file, and in ``metrics/NAME/`` those of the last epoch, its configuration, how many images each part
of its data has, one JSON line an epoch for the metrics, the noise and the optimiser, one for each
signal measured, the checkpoint to go on from, and at the end the result. A line that describes an
epoch is written before the checkpoint that contains the epoch: so a killed run never lacks one, and
going on cuts off those that are to be written again.
"""

import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.records.file_lock import LockHeldError, take
from study.records.json_files import plain, write_json
from study.records.named_file import NamedFile
from trainables.code_identity import changed_modules
from trainables.config import TrainConfig, without_later
from trainables.data_config import FOUND
from trainables.documents import read_mapping
from trainables.epochs import epoch_number
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.paths import given_path
from trainables.settings import parse_config

if TYPE_CHECKING:
    from torch import Tensor


UNNAMED = "none.pth"
"""The reference's default for ``--save-as``: the run gets a name of its own."""

_SUFFIXES = (".pth", ".pt")
_LONGEST = 200
"""Bytes of a given file name: others are made of it, which a file system must take, too."""

# None of them changes a run's numbers, or they follow from the data set: a run may go on with
# others, and they are no part of its name.
_FREE_DATA = ("workers", "stream_workers", "download", *FOUND)


def run_name(config: TrainConfig) -> str:
    """A name that says model, noise and seed, and is the same for the same settings."""
    values = without_later(config, config.model_dump(mode="json"))
    for key in _FREE_DATA:
        values["data"].pop(key, None)
    del values["device"]
    values["model"].pop("code", None)
    if config.model.content is not None:
        values["model"].pop("weights", None)  # Its content says which file it is.
    values.pop("codes", None)
    text = json.dumps(values, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    model = re.sub(r"[^A-Za-z0-9_-]+", "-", config.model.classifier)
    return f"{model}_{noise_label(config)}_seed{config.seed}_{digest}"


def noise_label(config: TrainConfig) -> str:
    """The run's noise in a word: ``baseline``, ``weight-uniform``, ``adaptive-gaussian``."""
    noise = config.noise
    if noise.policy == "off":
        return "baseline"
    kind = {"always": noise.kind, "planned": "planned"}.get(noise.policy, "adaptive")
    return f"{kind}-{noise.distribution}"


@dataclass(frozen=True)
class RunFiles:
    """Where the files of one run are.

    ``folder`` holds the weights and ``metrics/``, which has a folder of the run's name. ``save_as``
    is the weights file's name; None: the run's name with epoch and accuracy.
    """

    folder: Path
    name: str
    save_as: str | None = None

    config = NamedFile("config.json", under="metrics")
    state = NamedFile("last.ckpt", under="metrics")  # The checkpoint that the run goes on from.
    ledger = NamedFile("tracking.jsonl", under="metrics")  # What goes to MLflow, if anything does.
    final = NamedFile("final_metrics.json", under="metrics")  # The result, flat.
    images = NamedFile("images.json", under="metrics")  # How many each part has.
    per_class = NamedFile("test_per_class.json", under="metrics")
    final_weights = NamedFile("final_weights.pth", under="metrics")  # Of the last epoch.
    lr_plot = NamedFile("lr_schedule.png", under="metrics")

    @classmethod
    def of(cls, folder: str | Path, config: TrainConfig, save_as: str = UNNAMED) -> "RunFiles":
        """The files of a run; nothing is written."""
        root = given_path(folder, "checkpoint_dir (--checkpoint-dir)")
        if save_as == UNNAMED:
            return cls(root, run_name(config))
        if not save_as or save_as != Path(save_as).name or save_as.startswith((".", "-")):
            raise InputError(
                f"--save-as = {save_as!r}: give a file name without a folder, e.g. mine.pth "
                "(--checkpoint-dir sets the folder)"
            )
        if len(os.fsencode(save_as)) > _LONGEST:
            raise InputError(f"--save-as = {save_as[:20]!r}…: at most {_LONGEST} bytes")
        file = save_as if save_as.endswith(_SUFFIXES) else f"{save_as}.pth"
        return cls(root, Path(file).stem, file)

    @property
    def metrics(self) -> Path:
        """The run's own folder."""
        return self.folder / "metrics" / self.name

    @property
    def finished(self) -> bool:
        return self.final.exists()

    def results(self) -> list[Path]:
        """The files that describe the run and its result, as far as they exist."""
        return sorted(
            path
            for path in self.metrics.iterdir()
            if path.suffix in {".json", ".jsonl", ".png"} and path != self.ledger
        )

    def weights_files(self) -> list[Path]:
        """The weights files of this run that exist: at most one, unless it was just killed."""
        if self.save_as is not None:
            path = self.folder / self.save_as
            return [path] if path.exists() else []
        return sorted(self.folder.glob(f"{glob.escape(self.name)}_epoch*_acc*.pth"))

    def result(self) -> tuple[Path, dict[str, Any], dict[str, Any]]:
        """Of a finished run: its weights file, its metrics, and those by class."""
        weights = self.weights_files()
        if not weights:
            raise InputError(
                f"{self.metrics}: the run is finished, but its weights are not in {self.folder}; "
                "put them back, or train anew without --resume"
            )
        return weights[0], read_mapping(self.final), read_mapping(self.per_class)

    def stored_config(self) -> TrainConfig | None:
        """The configuration that the run was started with; None if it was not."""
        if not self.config.exists():
            return None
        return parse_config(TrainConfig, read_mapping(self.config), where=str(self.config))

    def check_resumable(self, wanted: TrainConfig) -> None:
        """Refuse to go on with a run that does not exist, or has other settings."""
        stored = self.stored_config()
        if stored is None:
            others = [run.name for run in find_runs(self.folder) if not run.finished]
            known = f"unfinished runs there: {', '.join(others)}" if others else "there is none"
            raise InputError(
                f"--resume: no run {self.name} in {self.metrics.parent} ({known}); repeat the "
                "options of the run that shall go on, --save-as included"
            )
        before, now = stored.identities, wanted.identities
        both = [name for name in before if name in now]
        changed = {m for name in both for m in changed_modules(before[name], now[name])}
        if changed:
            raise InputError(
                f"--resume: run {self.name} was begun with another source of "
                f"{', '.join(sorted(changed))}; restore it, or train anew without --resume (what "
                "there is of the run is kept)"
            )
        lines = differences(stored, wanted)
        if lines:
            raise InputError(
                f"--resume: run {self.name} has other settings:\n  "
                + "\n  ".join(lines)
                + f"\nrepeat its options, or: noise-train --config {self.config} --resume"
                + ("" if self.save_as is None else f" --save-as {self.save_as}")
            )
        if self.finished:
            self.result()

    def as_begun(self, config: TrainConfig) -> TrainConfig:
        """With the source that the run was begun with: none if an earlier version began it."""
        stored = self.stored_config()
        return config.with_identities(stored.identities if stored else {})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; a second process is refused. A dead holder's lock is free by itself."""
        try:
            lock = take(self.metrics.parent / f".{self.name}.lock")
        except LockHeldError:
            raise InputError(
                f"run {self.name} in {self.metrics.parent} is being trained by another process; "
                "wait for it, or give another --save-as"
            ) from None
        except OSError as error:
            raise InputError(
                f"{self.metrics.parent}: can't be written or locked ({error.strerror}); "
                "give another --checkpoint-dir"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def begin(self, config: TrainConfig) -> str | None:
        """Start afresh: make room, and store the configuration.

        An earlier run of this name is kept under another one, and a sentence about it returned,
        unless it is finished and had the same settings, so that it would come out the same.
        """
        notice = self._make_room(config)
        self.metrics.mkdir(parents=True, exist_ok=True)
        write_json(self.config, plain(config.model_dump(mode="json")))
        return notice

    def _make_room(self, config: TrainConfig) -> str | None:
        if not self.metrics.exists():
            return None
        try:
            stored = self.stored_config()
        except InputError:
            stored = None
        if stored is not None and self.finished and not differences(stored, config):
            shutil.rmtree(self.metrics)
            return None
        number = 1
        while self.metrics.with_name(f"{self.name}~{number}").exists():
            number += 1
        kept = f"{self.name}~{number}"
        self.metrics.rename(self.metrics.with_name(kept))
        for path in self.weights_files():
            path.rename(path.with_name(f"{path.stem}~{number}{path.suffix}"))
        state = (
            "finished with other settings"
            if stored and differences(stored, config)
            else ("not finished (--resume would have gone on with it)")
        )
        return f"the earlier run {self.name}, {state}, is kept as {kept}"

    def write_weights(
        self,
        config: TrainConfig,
        classes: Sequence[str],
        row: EpochMetrics,
        weights: Mapping[str, "Tensor"],
    ) -> Path:
        """Store the weights of the best epoch so far, in place of those of an earlier one."""
        from study.run.weights_file import write_weights

        path = self.folder / (
            self.save_as
            or f"{self.name}_epoch{epoch_number(row.epoch)}_acc{row.val_accuracy:.4f}.pth"
        )
        older = [other for other in self.weights_files() if other != path]
        write_weights(path, config, classes, row, weights)
        for other in older:
            other.unlink(missing_ok=True)
        return path


def find_runs(folder: Path) -> list[RunFiles]:
    return [
        RunFiles(folder, path.parent.name)
        for path in sorted((folder / "metrics").glob("*/config.json"))
    ]


def differences(stored: TrainConfig, wanted: TrainConfig) -> list[str]:
    """Settings that change a run's numbers and differ, one line each."""
    old, new = _flat(stored), _flat(wanted)
    # Where it is read from may change; what was read may not, once it is known.
    free = {"data/data_dir", "data/workers", "data/stream_workers", "data/download"}
    free |= {path for path in (f"data/{name}" for name in FOUND) if new[path] is None}
    if None not in (old.get("model/content"), new.get("model/content")):
        free |= {"model/weights"}
    # Runs of earlier versions do not say it.
    free |= {"codes"}  # Each by itself, where it is gone on with.
    free |= {"model/code"} if None in (old.get("model/code"), new.get("model/code")) else set()
    return [
        f"{path} = {new.get(path)!r}, the run has {old.get(path)!r}"
        for path in {**old, **new}
        if path not in free and old.get(path) != new.get(path)
    ]


def _flat(config: TrainConfig) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat |= {f"{key}/{name}": item for name, item in value.items()}
        else:
            flat[key] = value
    return flat
