"""Accuracy by class and sharpness of a study's best trial beside its baseline, from their weights.

A search records neither, since both would cost every trial time. They are computed afterwards from
the checkpoints that the study keeps: on validation data, and once a confirmation has read the test
set, on that, over its fresh seeds. Results are kept beside the report, by checkpoint: what is known
already needs neither torch nor the data set.
"""

import hashlib
import json
import statistics as stats
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.reading import StudyView
from analysis.report.wanted import Part, Wanted, wanted
from study.records.json_files import write_json
from study.run.results import SHARPNESS_DRAWS, SHARPNESS_EPSILON
from study.statistics.paired import paired_differences
from trainables.errors import CheckpointError, InputError
from trainables.object_store import Location

if TYPE_CHECKING:
    from analysis.report.weights import CheckpointReader

Say = Callable[[str], None]

CACHE_FILE = "evaluation.json"


@dataclass(frozen=True)
class RunFigures:
    """One run's figures: accuracy by class (None: no image), and the mean drop of accuracy."""

    per_class: tuple[float | None, ...]
    sharpness: float | None


@dataclass(frozen=True)
class PairedFigures:
    """The best trial beside its baseline.

    Attributes:
        runs: for each seed the baseline's figures and the trial's.
    """

    key: str
    part: Part
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    runs: tuple[tuple[RunFigures, RunFigures], ...]

    @property
    def source(self) -> str:
        """Where the figures are from, which nobody should mistake."""
        if self.part == "val":
            return (
                f"From validation data, on seed {self.seeds[0]} alone: the test set is for "
                "noise-study confirm."
            )
        return f"From the test set, over the n = {len(self.seeds)} fresh seeds of the confirmation."

    def by_class(self) -> list[tuple[str, float]]:
        """Class → mean paired difference of its accuracy; classes without an image left out."""
        found = []
        for index, name in enumerate(self.classes):
            differences = paired_differences(
                {seed: trial.per_class[index] for seed, (_, trial) in enumerate(self.runs)},
                {seed: baseline.per_class[index] for seed, (baseline, _) in enumerate(self.runs)},
            )
            if differences:
                found.append((name, stats.fmean(differences.values())))
        return found

    def sentences(self) -> list[str]:
        changes = sorted(self.by_class(), key=lambda item: item[1])
        lines = [self.source]
        if changes:
            (low, least), (high, most) = changes[0], changes[-1]
            lines.append(
                f"{self.key} − baseline by class, mean over seeds: from {100 * least:+.1f} points "
                f"({low}) to {100 * most:+.1f} points ({high})."
            )
        return [*lines, self._sharpness_sentence()]

    def _sharpness_sentence(self) -> str:
        known = [
            (b.sharpness, t.sharpness)
            for b, t in self.runs
            if b.sharpness is not None and t.sharpness is not None
        ]
        if not known:
            return "Sharpness is left out: it would take too long on this machine."
        baseline, trial = (stats.fmean(values) for values in zip(*known, strict=True))
        return (
            f"Sharpness, the mean drop of accuracy under random steps of the weights: baseline "
            f"{100 * baseline:.1f} points, {self.key} {100 * trial:.1f} points. Less is flatter. "
            f"Steps of ε = {SHARPNESS_EPSILON:g}, {SHARPNESS_DRAWS} draws, n = {len(known)}."
        )


def paired_figures(view: StudyView, cache: Path, say: Say) -> PairedFigures | str:
    """Evaluate the best trial and its baseline, or say why that can't be done.

    ``cache``: the file that keeps what was computed; ``say`` is told what takes time.
    """
    if view.config.train.task.name is not None:
        return (
            "Accuracy by class and sharpness are those of classifiers; this is a task of its own."
        )
    found = wanted(view)
    if isinstance(found, str):
        return found
    try:
        return _Evaluator(cache, say, view).pairs(found)
    except CheckpointError as error:
        return f"Accuracy by class and sharpness need the runs' final weights: {error}."
    except InputError as error:
        return f"Accuracy by class and sharpness are left out: {error}."


class _Evaluator:
    """The figures of checkpoints, each evaluated once."""

    def __init__(self, cache: Path, say: Say, view: StudyView) -> None:
        self._path = cache
        self._say = say
        self._view = view
        self._known = _read_cache(cache)

    @cached_property
    def _reader(self) -> "CheckpointReader":
        from analysis.report.weights import CheckpointReader

        return CheckpointReader(self._view, self._say)

    def pairs(self, asked: Wanted) -> PairedFigures:
        """All figures that are wanted; or CheckpointError, for one missing or damaged."""
        runs = tuple(
            (self._figures(baseline, asked), self._figures(trial, asked))
            for baseline, trial in asked.checkpoints.values()
        )
        classes = asked.config.data.classes or self._reader.classes(asked.config)
        return PairedFigures(asked.key, asked.part, tuple(asked.checkpoints), tuple(classes), runs)

    def _figures(self, path: Location, asked: Wanted) -> RunFigures:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} can't be read ({error.strerror or error})") from None
        # What earlier versions kept is that of the best weights.
        which = "" if asked.weights == "best" else f"{asked.weights}-"
        key = f"{which}{asked.part}-{hashlib.sha256(content).hexdigest()[:16]}"
        if key not in self._known:
            self._say(f"evaluating {path} ({'test' if asked.part == 'test' else 'validation'})")
            self._known[key] = self._reader.evaluate(content, str(path), asked)
            write_json(self._path, self._known)
        values = self._known[key]
        return RunFigures(tuple(values["per_class"]), values["sharpness"])


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def largest_changes(found: PairedFigures, shown: int = 20) -> Sequence[tuple[str, float]]:
    """The classes whose accuracy changed most, in the order of the classes."""
    changes = found.by_class()
    chosen = {name for name, _ in sorted(changes, key=lambda item: -abs(item[1]))[:shown]}
    return [(name, change) for name, change in changes if name in chosen]
