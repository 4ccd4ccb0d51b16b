"""The log of a single run: one line of JSON an epoch."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.records.json_files import json_line
from study.run.files import RunFiles
from study.run.results import per_class
from trainables.metrics import EpochMetrics
from trainables.noise.controller import Injection

if TYPE_CHECKING:
    from trainables.epoch_details import EpochDetails


class EpochLog:
    """The files with a line for each epoch; opening cuts off the epochs from ``start`` on.

    ``per_layer``: whether ``noise.jsonl`` has the norms of every layer.
    """

    NAMES = ("epoch_metrics", "signals", "noise", "optimizer")

    def __init__(
        self, files: RunFiles, classes: Sequence[str], *, start: int, per_layer: bool = False
    ) -> None:
        self._classes = tuple(classes)
        self._per_layer = per_layer
        self._files = {}
        for name in self.NAMES:
            path = files.metrics / f"{name}.jsonl"
            _keep_epochs_before(path, start)
            self._files[name] = path.open("a", encoding="utf-8")

    def write(self, row: EpochMetrics, injection: Injection, details: "EpochDetails") -> None:
        self._append("epoch_metrics", [self._metrics(row, details)])
        readings = [asdict(reading) for reading in injection.readings]
        lines = [{"epoch": row.epoch, "signal": known.pop("name"), **known} for known in readings]
        self._append("signals", lines)
        self._append("noise", [self._noise(row, injection, details)])
        self._append("optimizer", [{"epoch": row.epoch, "lr": row.lr, **details.optimizer_norms}])

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _append(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        file = self._files[name]
        file.writelines(json_line(line) + "\n" for line in lines)
        file.flush()

    def _metrics(self, row: EpochMetrics, details: "EpochDetails") -> dict[str, Any]:
        validation = details.validation
        line = row.to_dict()
        line["val_per_class"] = per_class(
            self._classes, validation.per_class_accuracy, validation.per_class_loss
        )
        if details.train_per_class is not None:
            known = [pair or (None, None) for pair in details.train_per_class]
            line["train_per_class"] = per_class(
                self._classes, [pair[0] for pair in known], [pair[1] for pair in known]
            )
        return line

    def _noise(
        self, row: EpochMetrics, injection: Injection, details: "EpochDetails"
    ) -> dict[str, Any]:
        norms = details.noise
        line: dict[str, Any] = {
            "epoch": row.epoch,
            "kind": injection.kind,
            "magnitude": injection.magnitude,
            "severity": injection.severity,
            "phase": injection.phase,
            "signals": list(injection.signals),
            "raised_streak": injection.raised_streak,
            "injection_streak": injection.injection_streak,
            "cooldown_remaining": injection.cooldown_remaining,
            "norm_before": norms.before if norms else None,
            "norm_after": norms.after if norms else None,
        }
        if self._per_layer:
            layers = norms.layers if norms else {}
            line["layers"] = {
                name: {"norm_before": before, "norm_after": after}
                for name, (before, after) in layers.items()
            }
        return line


def _keep_epochs_before(path: Path, start: int) -> None:
    """Cut off the lines from epoch ``start`` on, and a last line that a kill left unfinished."""
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or json.loads(line)["epoch"] >= start:
                break
            kept += len(line)
    os.truncate(path, kept)
