"""Accuracy by class and sharpness of a study's best trial beside its baseline, from their weights.

A search records neither, since both would cost every trial time. They are computed afterwards from
the checkpoints that the study keeps: on validation data, and once a confirmation has read the test
set, on that, over its fresh seeds. Results are kept beside the report, by checkpoint.
"""

import hashlib
import json
import statistics as stats
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from analysis.reading import StudyView, weights_that_decide
from study.campaigns.confirm_plan import confirm_folder, run_key
from study.campaigns.confirm_register import register_of
from study.campaigns.confirmation import Confirmation, confirmation_of
from study.records.json_files import write_json
from study.records.planned_run import baseline_key
from study.records.register import new_entry, note_reading
from study.run.evaluation import SHARPNESS_DRAWS, SHARPNESS_EPSILON
from study.statistics.paired import paired_differences
from trainables.checkpoint import CheckpointError, decode_run
from trainables.config import TrainConfig
from trainables.data.dataset import KnownImages
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.errors import InputError
from trainables.evaluation import evaluate, sharpness
from trainables.loop import weights_of
from trainables.metrics import WhichWeights
from trainables.models.registry import build_configured, to_memory_format
from trainables.object_store import Location

Part = Literal["val", "test"]
Say = Callable[[str], None]

CACHE_FILE = "evaluation.json"

_PATIENCE = 60.0
"""Seconds that one model's sharpness may take; it is left out where it would take longer."""


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
    wanted = _wanted(view)
    if isinstance(wanted, str):
        return wanted
    try:
        return _Evaluator(cache, say, view).pairs(wanted)
    except CheckpointError as error:
        return f"Accuracy by class and sharpness need the runs' final weights: {error}."
    except InputError as error:
        return f"Accuracy by class and sharpness are left out: {error}."


@dataclass(frozen=True)
class _Wanted:
    """What is to be evaluated: for each seed the checkpoints of baseline and trial."""

    config: TrainConfig
    key: str
    part: Part
    weights: WhichWeights
    checkpoints: Mapping[int, tuple[Location, Location]]


def _wanted(view: StudyView) -> _Wanted | str:
    confirmation = confirmation_of(view.folder, view.config, view.state)
    confirmed = None if confirmation is None else _wanted_confirmed(confirmation)
    if confirmed is not None:
        return confirmed
    best = view.best_noisy
    if best is None:
        return "No trial is complete yet: there is nothing to compare by class."
    baseline = baseline_key(best.seed, view.config.code_changes)
    root = view.folder.checkpoints
    # What never injected keeps no checkpoint: it is its baseline.
    key = best.key if best.first_injection_epoch is not None else baseline
    pair = (root / baseline / "final.ckpt", root / key / "final.ckpt")
    which = weights_that_decide(view.config)
    return _Wanted(view.train_config(best.key), best.key, "val", which, {best.seed: pair})


def _wanted_confirmed(found: Confirmation) -> _Wanted | None:
    root = confirm_folder(found.folder).checkpoints
    chosen = found.config.trials[0]
    pairs: dict[int, tuple[Location, Location]] = {}
    for seed in found.config.fresh_seeds:
        baseline, record = found.record("baseline", "", seed), found.record("confirm", chosen, seed)
        if baseline is None or record is None:
            continue
        if baseline.state != "complete" or record.state != "complete":
            continue
        own = run_key("confirm", chosen, seed)
        key = own if record.first_injection_epoch is not None else baseline.key
        pairs[seed] = (root / baseline.key / "final.ckpt", root / key / "final.ckpt")
    if not pairs:
        return None
    which = weights_that_decide(found.study)
    return _Wanted(found.train_config(chosen), chosen, "test", which, pairs)


class _Evaluator:
    """Evaluates checkpoints, each once; the data set is read when it is first needed."""

    def __init__(self, cache: Path, say: Say, view: StudyView) -> None:
        self._path = cache
        self._say = say
        self._view = view
        self._test_set: KnownImages | None = None
        self._registered = False
        self._known = _read_cache(cache)
        self._data: DeviceData | None = None

    def pairs(self, wanted: _Wanted) -> PairedFigures:
        """All figures that are wanted; or CheckpointError, for one missing or damaged."""
        runs = tuple(
            (self._figures(baseline, wanted), self._figures(trial, wanted))
            for baseline, trial in wanted.checkpoints.values()
        )
        classes = wanted.config.data.classes or self._dataset(wanted.config).classes
        return PairedFigures(
            wanted.key, wanted.part, tuple(wanted.checkpoints), tuple(classes), runs
        )

    def _dataset(self, config: TrainConfig) -> DeviceData:
        if self._data is None:
            cuda = config.device.startswith("cuda") and torch.cuda.is_available()
            device = torch.device(config.device if cuda else "cpu")
            dataset = load_dataset(config.data)
            self._test_set = dataset.test_set
            self._data = DeviceData(dataset, device)
        return self._data

    def _register_reading(self, wanted: _Wanted) -> None:
        """Register that a report reads the test set: once, however many runs it is read for."""
        if wanted.part == "val" or self._registered:
            return
        assert self._test_set is not None
        entry = new_entry(
            self._test_set,
            what="read",
            by="noise-analysis report",
            name=self._view.name,
            trials=(wanted.key,),
            seeds=tuple(wanted.checkpoints),
        )
        note_reading(register_of(self._view.folder), entry, self._say)
        self._registered = True

    def _figures(self, path: Location, wanted: _Wanted) -> RunFigures:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} can't be read ({error.strerror or error})") from None
        # What earlier versions kept is that of the best weights.
        which = "" if wanted.weights == "best" else f"{wanted.weights}-"
        key = f"{which}{wanted.part}-{hashlib.sha256(content).hexdigest()[:16]}"
        if key not in self._known:
            self._say(f"evaluating {path} ({'test' if wanted.part == 'test' else 'validation'})")
            self._known[key] = self._evaluate(decode_run(content, where=str(path)), wanted)
            write_json(self._path, self._known)
        values = self._known[key]
        return RunFigures(tuple(values["per_class"]), values["sharpness"])

    def _evaluate(self, state: Mapping[str, Any], wanted: _Wanted) -> dict[str, Any]:
        weights = weights_of(state, wanted.weights)
        if weights is None:
            raise CheckpointError("no epoch with finite statistics was complete")
        config, data = wanted.config, self._dataset(wanted.config)
        self._register_reading(wanted)
        model = build_configured(config.model, len(data.classes))
        model.load_state_dict(dict(weights[0]))
        model = to_memory_format(model.to(data.device), data.device)
        began = time.monotonic()
        found = evaluate(
            model, data.eval_batches(wanted.part), len(data.classes), precision=config.precision
        )
        took = (time.monotonic() - began) * (SHARPNESS_DRAWS + 1)
        drop = None
        if took <= _PATIENCE:
            drop = sharpness(
                model,
                lambda: data.eval_batches(wanted.part),
                len(data.classes),
                epsilon=SHARPNESS_EPSILON,
                draws=SHARPNESS_DRAWS,
                seed=0,
                precision=config.precision,
            ).mean_drop
        return {"per_class": list(found.per_class_accuracy), "sharpness": drop}


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
