"""The history of a training without noise, as someone has it: rows, a table or a file."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.documents import read_document, read_text
from trainables.epochs import epoch_number
from trainables.errors import InputError, shortened
from trainables.metrics import STATISTICS, EpochMetrics
from trainables.noise.signals import SIGNALS
from trainables.noise_config import NoiseConfig

History = str | Path | Sequence[EpochMetrics | Mapping[str, Any]]
"""``AdaptiveNoise.history``, rows that name statistics, or a file: ``.csv``, ``.jsonl`` (as
``noise-train`` writes it) or ``.json``."""


def baseline_rows(history: History, noise: NoiseConfig) -> tuple[EpochMetrics, ...]:
    """The epochs in order, each statistic that ``noise`` reads a finite number.

    What no signal reads may be missing, and is NaN.
    """
    where = f"baseline_history ({history})" if isinstance(history, (str, Path)) else _HISTORY
    given = _read(Path(history)) if isinstance(history, (str, Path)) else history
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise InputError(f"{where}: a list of epochs, not {type(given).__name__}")
    rows = tuple(_row(row, number, where) for number, row in enumerate(given))
    if not rows:
        raise InputError(f"{where}: there is no epoch in it")
    for name in noise.signals if noise.policy == "on_stagnation" else ():
        for statistic in SIGNALS[name].statistics:
            _check_column(rows, statistic, name, where)
    return rows


_HISTORY = "baseline_history"


def _check_column(rows: Sequence[EpochMetrics], statistic: str, signal: str, where: str) -> None:
    bad = [row.epoch for row in rows if not math.isfinite(getattr(row, statistic))]
    if bad:
        raise InputError(
            f"{where}: epoch {epoch_number(bad[0])} of {len(rows)} has no finite {statistic}, "
            f"which signal {signal} reads{f'; {len(bad)} epochs are so' if len(bad) > 1 else ''}"
        )


def _read(path: Path) -> Any:
    if path.suffix == ".csv":
        return list(csv.DictReader(read_text(path).splitlines()))
    if path.suffix == ".jsonl":
        return [_parsed(line, path) for line in read_text(path).splitlines() if line.strip()]
    found = read_document(path)
    # The state of an AdaptiveNoise has it beside the settings.
    return found["history"] if isinstance(found, Mapping) and "history" in found else found


def _parsed(line: str, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: not a line of JSON: {error}") from None


def _row(row: Any, number: int, where: str) -> EpochMetrics:
    place = f"{where}: epoch {epoch_number(number)}"
    values = row.to_dict() if isinstance(row, EpochMetrics) else row
    if not isinstance(values, Mapping):
        raise InputError(f"{place} is {shortened(row)}, not a mapping of statistics")
    kind = values.get("noise_kind")
    if kind not in (None, "", "none"):
        raise InputError(
            f"{place} was trained with {kind} noise; a baseline has none: train it "
            "with the policy 'off'"
        )
    epoch = _number(values.get("epoch", number), f"{place}: epoch")
    if epoch != number:
        raise InputError(
            f"{where}: row {epoch_number(number)} has epoch = {values['epoch']} where {number} "
            "belongs: all epochs, in order, from 0"
        )
    told: dict[str, Any] = {
        name: _number(values.get(name), f"{place}: {name}") for name in STATISTICS
    }
    return EpochMetrics(epoch=number, **told)


def _number(value: Any, where: str) -> float:
    if value is None or value == "":
        return math.nan
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where} = {shortened(value)}: not a number") from None
