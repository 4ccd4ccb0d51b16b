"""The report of a single run, from the folder that ``noise-train`` leaves."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.reading import read_run
from analysis.report.card import OPEN, Card
from analysis.report.epoch_pictures import signals_chart
from analysis.report.page import Page
from analysis.report.run_pictures import (
    layers_chart,
    optimizer_chart,
    strength_chart,
    training_chart,
)
from analysis.report.section import Figure, Section, Table, only, pictured
from analysis.report.versions import versions
from study.formats import duration
from study.run.files import noise_label
from study.units import Unit, statistic_unit
from trainables.config import TrainConfig
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.settings import parse_config


@dataclass(frozen=True)
class RunView:
    """A single run as its files say it is.

    Attributes:
        optimizer, noise: their logs, a mapping an epoch.
        result: ``final_metrics.json``; empty while the run goes on.
        images: how many its parts have; empty where an earlier version did not record it.
    """

    name: str
    config: TrainConfig
    rows: tuple[EpochMetrics, ...]
    optimizer: tuple[dict[str, Any], ...]
    noise: tuple[dict[str, Any], ...]
    result: dict[str, Any]
    images: dict[str, int] = field(default_factory=dict)

    def unit(self, accuracy: str) -> Unit:
        """How an accuracy is written: with the digits that the images of its part carry."""
        parts = {"train": "training", "test": "test"}
        part = next((parts[word] for word in accuracy.split("_") if word in parts), "validation")
        return statistic_unit("accuracy", self.images.get(part))


def run_settings(folder: Path) -> TrainConfig:
    """The configuration of a run that has been begun."""
    file = folder / "config.json"
    return parse_config(TrainConfig, read_mapping(file), where=str(file))


def load_run(folder: Path) -> RunView:
    config, rows = read_run(folder)
    if not rows:
        raise InputError(f"{folder}: the run has no whole epoch yet")
    final, images = folder / "final_metrics.json", folder / "images.json"
    return RunView(
        name=folder.resolve().name,
        config=config,
        rows=rows,
        optimizer=_log(folder / "optimizer.jsonl", len(rows)),
        noise=_log(folder / "noise.jsonl", len(rows)),
        result=dict(read_mapping(final)) if final.exists() else {},
        images=_counts(images) if images.exists() else {},
    )


def _counts(path: Path) -> dict[str, int]:
    found = read_mapping(path).items()
    return {part: count for part, count in found if isinstance(count, int) and count > 0}


def _log(path: Path, epochs: int) -> tuple[dict[str, Any], ...]:
    """The lines of a log up to the last whole epoch; none of one that is missing."""
    if not path.exists():
        return ()
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[:epochs], 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            raise InputError(f"{path}: line {number} is no JSON") from None
        if not isinstance(found[-1], dict) or "epoch" not in found[-1]:
            raise InputError(f"{path}: line {number} is no epoch's record")
    return tuple(found)


def run_sections(view: RunView) -> list[Section]:
    noisy = any(row.injected or row.signals for row in view.rows)
    return [
        Section("result", "Result", card=_card(view), tables=(_table(view),)),
        pictured("training", "Training", training_chart(view.rows), ""),
        Section(
            "noise",
            "Noise and signals",
            charts=only(
                signals_chart(view.rows, "Magnitude and signals") if noisy else None,
                strength_chart(view.rows, view.noise),
            ),
            missing="No signal was raised and no noise injected.",
        ),
        pictured(
            "optimizer",
            "Optimiser",
            optimizer_chart(view.rows, view.optimizer),
            "This optimiser keeps no state.",
        ),
        pictured(
            "layers",
            "Layers",
            layers_chart(view.noise),
            "Norms by layer were not recorded (--layer-norms), or no epoch had noise.",
        ),
    ]


def _card(view: RunView) -> Card:
    rows, unit = view.rows, view.unit("val_accuracy")
    best = max(rows, key=lambda row: row.val_accuracy)
    noisy = sum(row.injected for row in rows)
    said = (
        f"Validation accuracy {unit.value(rows[-1].val_accuracy)} in the end, at best "
        f"{unit.value(best.val_accuracy)}."
    )
    raised = sum(bool(row.signals) for row in rows)
    lines = (
        f"Noise in {noisy} of {len(rows)} epochs; a signal was raised before {raised} of them.",
    )
    figures = [("noise", noise_label(view.config)), ("seed", str(view.config.seed))]
    test = view.result.get("final_test_accuracy")
    if isinstance(test, float):
        figures.append(("final test accuracy", view.unit("test_accuracy").value(test)))
    chips = ("one run",) if len(rows) >= view.config.epochs else ("one run", "not finished")
    return Card(
        OPEN,
        f"{len(rows)} of {view.config.epochs} epochs",
        said,
        lines,
        tuple(figures),
        chips,
        "One run can't say whether noise helps: noise-study run searches, and noise-study confirm "
        "compares with the baseline on fresh seeds.",
    )


def _table(view: RunView) -> Table:
    rows = [*_figures(view)]
    note = "" if view.result else "Figures on the test set come at the end of the run."
    return Table("", ("figure", "value"), rows, note)


def _figures(view: RunView) -> Iterator[Sequence[object]]:
    for name, value in view.result.items():
        if name == "best_epoch":
            continue  # ``epochs_to_best`` says it as people count.
        if name == "seconds":
            yield "training and evaluation", Figure(duration(value), value)
        elif name.endswith("accuracy") and isinstance(value, float):
            yield name.replace("_", " "), Figure(view.unit(name).value(value), value)
        else:
            yield name.replace("_", " "), value


def run_page(view: RunView) -> Page:
    page = _begun(view.name, view.config)
    for part in run_sections(view):
        page.add(part)
    _reproduce(page, view.config)
    return page


def begun_page(name: str, config: TrainConfig) -> Page:
    """The page of a run that has no whole epoch yet."""
    page = _begun(name, config)
    said = "No epoch is complete yet."
    advice = "Next: wait for the first epoch; if nothing trains it, noise-train --resume goes on."
    card = Card(OPEN, "no epoch yet", said, (), (("seed", str(config.seed)),), (), advice)
    page.add(Section("result", "Result", card=card))
    _reproduce(page, config)
    return page


def _begun(name: str, config: TrainConfig) -> Page:
    said = (
        f"{config.model.classifier} on {config.data.what}, {config.epochs} epochs, "
        f"{config.optimizer.optimizer}, learning rate {config.optimizer.lr:g}."
    )
    return Page(f"Run {name}", " ".join(filter(None, (said, config.optimizer.average_words))))


def _reproduce(page: Page, config: TrainConfig) -> None:
    page.section("reproduce", "To reproduce it")
    page.text("noise-train --config with the configuration below trains it again.")
    page.code("\n".join(f"{name} {found}" for name, found in versions().items()))
    page.code(json.dumps(config.model_dump(mode="json"), indent=2), "config.json")
