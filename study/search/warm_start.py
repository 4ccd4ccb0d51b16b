"""A warm start: what another study found, told to the sampler as differences to its baseline.

Two studies differ in their baselines, so that values of one say nothing in the other. A paired
difference, added to this study's own baseline, is a value that one of its trials could have had.
What is told is fixed when the search begins, and kept beside the space.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from search_spaces.calibration import CalibratedSpace
from search_spaces.conditions import build_point, path_of
from study.config import StudyConfig
from study.records.folder import StudyFolder, open_study, storage_of
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState, TrialRecord, read_ledger
from study.records.own_code import present
from study.search.optuna_parts import contains
from trainables.documents import read_mapping
from trainables.errors import InputError


@dataclass(frozen=True)
class WarmPoint:
    """A trial of another study as a point of this one's space.

    ``differences``: to its own baseline, one for each objective of this study.
    """

    trial: str
    params: Mapping[str, Any]
    differences: tuple[float, ...]


@dataclass(frozen=True)
class WarmStart:
    """What another study gives, and how many of its trials give nothing.

    Attributes:
        outside: complete trials that are no point of this study's space.
        without: trials that did not complete, or that have no difference in these objectives.
    """

    study: str
    points: tuple[WarmPoint, ...]
    outside: int
    without: int

    @property
    def note(self) -> str:
        total = len(self.points) + self.outside + self.without
        left_out = [
            f"{count} {what}"
            for count, what in (
                (self.outside, "outside of this study's ranges"),
                (self.without, "without a difference to a baseline"),
            )
            if count
        ]
        text = (
            f"warm start: the sampler knows {len(self.points)} of the {total} trials of "
            f"{self.study}, as differences to its baseline"
        )
        return f"{text}; left out: {', '.join(left_out)}" if left_out else text


def check_source(config: StudyConfig, folder: StudyFolder) -> None:
    """Refuse a warm start from what is no study, or has nothing to give; once begun, it is kept."""
    if config.warm_start is None:
        return
    if folder.warm_start.exists():
        read_warm_start(folder)
    elif not any(_differences(config, record) for record in _trials_of(config)):
        raise InputError(
            f"warm_start (--warm-start) = {config.warm_start!r}: it has no complete trial with a "
            f"difference in {' and '.join(config.objective)}; give another study"
        )


def warm_start(
    config: StudyConfig, folder: StudyFolder, space: CalibratedSpace
) -> WarmStart | None:
    """What the sampler is told besides the study's own trials; None where nothing is."""
    if config.warm_start is None:
        return None
    if folder.warm_start.exists():
        return read_warm_start(folder)
    begun = translated(config, _trials_of(config), space)
    write_json(folder.warm_start, asdict(begun))
    return begun


def translated(
    config: StudyConfig, records: Sequence[TrialRecord], space: CalibratedSpace
) -> WarmStart:
    """The other study's trials as points of this one's space.

    A dimension that the other did not search has the value with which its trials were trained.
    """
    points, outside, without = [], 0, 0
    for record in records:
        differences = _differences(config, record)
        if not differences:
            without += 1
            continue
        params = _point(record, space)
        if params is None:
            outside += 1
        else:
            points.append(WarmPoint(record.key, params, differences))
    return WarmStart(str(config.warm_start), tuple(points), outside, without)


def told_values(
    point: WarmPoint, objectives: Sequence[str], baseline: TrialRecord
) -> tuple[float, ...]:
    """What the trial would have come to beside this study's baseline, by objective."""
    return tuple(
        baseline.values[name] + difference
        for name, difference in zip(objectives, point.differences, strict=True)
    )


def _trials_of(config: StudyConfig) -> tuple[TrialRecord, ...]:
    name = str(config.warm_start)
    try:
        other = open_study(storage_of(config), name)
    except InputError as error:
        raise InputError(f"warm_start (--warm-start) = {name!r}: {error}") from None
    stored = other.stored_config()
    assert stored is not None
    # What another source was trained with is no result of that study any more.
    state: LedgerState = present(stored, read_ledger(other.ledger))
    # Not by when they began, which depends on the workers.
    return tuple(sorted(state.by_role("trial"), key=lambda record: record.key))


def _differences(config: StudyConfig, record: TrialRecord) -> tuple[float, ...]:
    """Empty where there is none in one of the objectives."""
    known = record.paired_difference if record.state == "complete" else {}
    values = tuple(float(known.get(name, math.nan)) for name in config.objective)
    return values if all(map(math.isfinite, values)) else ()


def _point(record: TrialRecord, space: CalibratedSpace) -> dict[str, Any] | None:
    def value(name: str) -> Any:
        given = _setting(record, path_of(name))
        if not contains(space.distributions[name], given):
            raise ValueError(name)
        return given

    try:
        return build_point(space.distributions, space.conditions, value)
    except (ValueError, TypeError, LookupError):
        return None


def _setting(record: TrialRecord, path: str) -> Any:
    """What a trial was trained with; LookupError if its version knew no such setting."""
    if path in record.overrides:
        return record.overrides[path]
    value: Any = record.config
    for part in path.split("/"):
        value = value[part]
    return value


def read_warm_start(folder: StudyFolder) -> WarmStart:
    """What the study's folder has of it; refused where the file is damaged."""
    try:
        values = read_mapping(folder.warm_start)
        points = [
            WarmPoint(str(p["trial"]), dict(p["params"]), tuple(map(float, p["differences"])))
            for p in values["points"]
        ]
        counts = int(values["outside"]), int(values["without"])
        return WarmStart(str(values["study"]), tuple(points), *counts)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder.warm_start}: damaged ({error}); it says what the sampler was told at the "
            "start. Take it from a copy, or start a study under another name"
        ) from None
