"""Evaluate a weights file on a test set: what ``noise-test`` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import nn

from study.checks import changed_since, check_train, with_present_code
from study.records.register import Register, new_entry, note_reading
from study.run.results import SHARPNESS_DRAWS, SHARPNESS_EPSILON, per_class
from study.run.weights_file import Weights, load_into
from trainables.classifier_metrics import Measures
from trainables.config import TrainConfig
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset, resolve_data
from trainables.device import set_up_torch
from trainables.evaluation import EvalResult, Sharpness, evaluate, sharpness
from trainables.frames import as_html, frame
from trainables.models.registry import build_configured, to_memory_format

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_CLASSES = 5

# The same steps for every run, so that two runs differ by their weights only.
_SHARPNESS_SEED = 0


@dataclass(frozen=True)
class Evaluation:
    """What a checkpoint achieves on a test set; ``config`` is resolved, and may ask for metrics."""

    checkpoint: Path
    config: TrainConfig
    classes: tuple[str, ...]
    test: EvalResult
    sharpness: Sharpness | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types: accuracies in [0, 1], losses as means over samples."""
        test = self.test
        values: dict[str, Any] = {
            "loss": test.loss,
            "accuracy": test.accuracy,
            "correct": test.correct,
            "total": test.total,
            "per_class": per_class(self.classes, test.per_class_accuracy, test.per_class_loss),
        }
        if test.further:
            values["metrics"] = dict(test.further)
        if self.sharpness is not None:
            values |= {
                "sharpness": self.sharpness.mean_drop,
                "sharpness_epsilon": self.sharpness.epsilon,
                "sharpness_draws": self.sharpness.draws,
            }
        return values

    def to_frame(self) -> "pd.DataFrame":
        """A row a class, and one of all of them."""
        figures = self.to_dict()["per_class"]
        whole = {"class": "all", "accuracy": self.test.accuracy, "loss": self.test.loss}
        by_class = [{"class": name, **row} for name, row in figures.items()]
        return frame([whole, *by_class])

    def _repr_html_(self) -> str:
        title = f"{self.checkpoint.name}: {self.test.correct} of {self.test.total} images right"
        said = {**self.test.further}
        if self.sharpness is not None:
            said["sharpness"] = self.sharpness.mean_drop
        return as_html(title, self.to_frame(), [f"{name} {said[name]:.4g}" for name in said])


def evaluate_checkpoint(
    path: Path,
    weights: Weights,
    config: TrainConfig,
    *,
    batch_size: int | None = None,
    with_sharpness: bool = False,
    log: Console,
) -> Evaluation:
    """Evaluate ``weights``, read from ``path``, with the model and the data set of ``config``.

    ``batch_size`` None: as in training.
    """
    notice = changed_since(config)
    if notice:
        log.print(notice, soft_wrap=True, markup=False, highlight=False)
    config = check_train(with_present_code(config), trains=False)
    dataset = load_dataset(config.data)
    config = config.model_copy(update={"data": resolve_data(config.data, dataset)})
    device = torch.device(config.device)
    set_up_torch(config.threads, config.device, config.precision, config.deterministic)
    model = build_configured(config, len(dataset.classes))
    load_into(model, weights, path=path, classifier=config.model.classifier)
    log.print(
        f"{path.name}: {config.model.classifier} on {config.data.what}, {device}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    if weights.classes is not None and weights.classes != dataset.classes:
        log.print(_other_classes(weights.classes, dataset.classes), soft_wrap=True, markup=False)
    entry = new_entry(dataset.test_set, what="read", by="noise-test", name=path.name)
    note_reading(
        Register.near(path.parent),
        entry,
        lambda line: log.print(line, soft_wrap=True, markup=False, highlight=False),
    )
    model = to_memory_format(model.to(device), device)
    data = DeviceData(dataset, device)
    test = evaluate_test_set(model, data, config, batch_size)
    flatness = measure_sharpness(model, data, config, batch_size) if with_sharpness else None
    return Evaluation(path, config, dataset.classes, test, flatness)


def _other_classes(trained: Sequence[str], found: Sequence[str]) -> str:
    """Figures mean little where the n-th class is another one; what people mean, they decide."""

    def some(names: Sequence[str]) -> str:
        return ", ".join(names[:_SHOWN_CLASSES]) + (" …" if len(names) > _SHOWN_CLASSES else "")

    return (
        f"the checkpoint was trained on the classes {some(trained)}, and this data set has "
        f"{some(found)}: its n-th class counts as the checkpoint's n-th"
    )


def evaluate_test_set(
    model: nn.Module, data: DeviceData, config: TrainConfig, batch_size: int | None = None
) -> EvalResult:
    batches = data.eval_batches("test", batch_size)
    return evaluate(
        model,
        batches,
        len(data.classes),
        precision=config.precision,
        measures=Measures(config.measured),
    )


def measure_sharpness(
    model: nn.Module, data: DeviceData, config: TrainConfig, batch_size: int | None = None
) -> Sharpness:
    """The model's sharpness on the test set, by the same steps for every run."""
    return sharpness(
        model,
        lambda: data.eval_batches("test", batch_size),
        len(data.classes),
        epsilon=SHARPNESS_EPSILON,
        draws=SHARPNESS_DRAWS,
        seed=_SHARPNESS_SEED,
        precision=config.precision,
    )
