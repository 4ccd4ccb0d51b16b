"""What a configuration of noise assumed of the training that it was found in.

It stands in a file beside the configuration, ``best_config.assumed.json`` beside
``best_config.json``: a study and an export write both.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.config import TrainConfig
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.settings import FrozenConfig, parse_config, setting

Column = tuple[float | None, ...]


class BaselineColumns(FrozenConfig):
    """Of each epoch what the signals read; None where it was not a finite number."""

    train_loss: Column = ()
    val_loss: Column = ()
    grad_norm: Column = ()
    weight_update_norm: Column = ()


class Assumed(FrozenConfig):
    """The training that a configuration was found in: its budget, its scales, its baseline."""

    epochs: int = setting(..., "the epoch budget", ge=1)
    steps_per_epoch: int | None = setting(None, "optimiser's steps an epoch", ge=1)
    optimizer: str = setting("", "SGD or Adam")
    lr: float | None = setting(None, "learning rate that training begins with", gt=0)
    momentum: float | None = setting(None, "SGD's momentum", ge=0, lt=1)
    weights_rms: float | None = setting(
        None, "RMS of the perturbed parameters at the start, where scaling absolute needs it", gt=0
    )
    baseline: BaselineColumns = setting(BaselineColumns(), "the baseline of the run's seed")

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        baseline: Sequence[EpochMetrics],
        *,
        steps_per_epoch: int | None = None,
        weights_rms: float | None = None,
    ) -> "Assumed":
        """What ``config`` assumed, found beside ``baseline``."""
        columns = {
            name: tuple(_finite(getattr(row, name)) for row in baseline)
            for name in BaselineColumns.model_fields
        }
        optimizer = config.optimizer
        return cls(
            epochs=config.epochs,
            steps_per_epoch=steps_per_epoch,
            optimizer=optimizer.optimizer,
            lr=optimizer.lr,
            momentum=optimizer.momentum if optimizer.optimizer == "SGD" else None,
            weights_rms=weights_rms,
            baseline=BaselineColumns(**columns),
        )

    @property
    def rate(self) -> float | None:
        """How far a constant gradient of 1 moves a weight in a step of SGD; else None."""
        if self.optimizer != "SGD" or self.lr is None:
            return None
        return self.lr / (1.0 - (self.momentum or 0.0))

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """The baseline as epochs; NaN for what is not known of it."""
        columns = self.baseline.model_dump()
        length = max(map(len, columns.values()))
        unknown: dict[str, Any] = {
            "train_accuracy": math.nan,
            "val_accuracy": math.nan,
            "lr": math.nan,
        }
        rows = (
            unknown | {name: _value(column, epoch) for name, column in columns.items()}
            for epoch in range(length)
        )
        return tuple(EpochMetrics(epoch=epoch, **row) for epoch, row in enumerate(rows))

    def words(self) -> str:
        """It in one line."""
        steps = f" of {self.steps_per_epoch} steps" if self.steps_per_epoch else ""
        rate = f", {self.optimizer} at {self.lr:g}" if self.lr is not None else ""
        return f"{self.epochs} epochs{steps}{rate}"


AssumedBy = Assumed | str | Path | Mapping[str, Any] | None
"""What a configuration assumed, or the file that says it, or its content; None: beside it."""


def assumed_file(config: str | Path) -> Path:
    """Where it stands what the configuration in this file assumed."""
    path = Path(config)
    return path.with_name(f"{path.stem}.assumed.json")


def assumed_of(
    config: object,
    given: AssumedBy,
    epochs: int | None = None,
) -> Assumed:
    """What a configuration assumed: as ``given``, or as the file beside its own says.

    ``epochs``: its budget, where it says one; the other's must be the same.
    """
    found = _read(config, given)
    if epochs is not None and found.epochs != epochs:
        raise InputError(
            f"assumed: epochs = {found.epochs}, the configuration's are {epochs}: they do not "
            "belong together"
        )
    return found


def _read(config: object, given: AssumedBy) -> Assumed:
    if isinstance(given, Assumed):
        return given
    if isinstance(given, Mapping):
        return parse_config(Assumed, dict(given), where="assumed")
    if given is None:
        if not isinstance(config, (str, Path)):
            raise InputError(
                "assumed: what these settings assumed is not known; give the path of the "
                "configuration's file, or assumed=… with the path of its .assumed.json"
            )
        given = assumed_file(config)
        if not given.exists():
            raise InputError(
                f"{config}: what it assumed is not beside it ({given.name}). A study writes it; "
                "of one that an earlier version recorded, noise-analysis export NAME writes it "
                "beside each configuration. Or give assumed=…"
            )
    return parse_config(Assumed, read_mapping(given), where=str(given))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(column: Column, epoch: int) -> float:
    value = column[epoch] if epoch < len(column) else None
    return math.nan if value is None else value
