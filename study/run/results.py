"""What comes of a single run: its files, and the figures at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.run.files import RunFiles
from trainables.config import TrainConfig
from trainables.frames import as_html, frame
from trainables.metrics import EpochMetrics, objective_value

if TYPE_CHECKING:
    import pandas as pd

    from trainables.evaluation import Sharpness

SHARPNESS_EPSILON = 0.2
"""Size of the random steps of the weights, relative to each tensor."""

SHARPNESS_DRAWS = 5
"""Steps that the drop of accuracy is averaged over."""


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        config: as it was trained, device and data set resolved.
        files: where everything is.
        weights: the weights file of the best epoch; those of the last are among ``files``.
        metrics: the content of ``final_metrics.json``.
        per_class: class → accuracy and loss on the test set.
        diverged: the epoch in which training gave a number that is not finite, if it did.
    """

    config: TrainConfig
    files: RunFiles
    weights: Path
    metrics: Mapping[str, Any]
    per_class: Mapping[str, Mapping[str, float | None]]
    diverged: int | None = None

    def to_frame(self) -> "pd.DataFrame":
        """A row a figure of ``metrics``."""
        return frame([{"figure": name, "value": value} for name, value in self.metrics.items()])

    def _repr_html_(self) -> str:
        return as_html(f"{self.files.name}: {self.config.what}", self.to_frame())


def per_class(
    classes: Sequence[str],
    accuracies: Sequence[float | None],
    losses: Sequence[float | None],
) -> dict[str, dict[str, float | None]]:
    """Class name → accuracy in [0, 1] and mean loss; None for a class without images."""
    return {
        name: {"accuracy": accuracy, "loss": loss}
        for name, accuracy, loss in zip(classes, accuracies, losses, strict=True)
    }


def final_metrics(
    history: Sequence[EpochMetrics],
    best: EpochMetrics,
    tests: Mapping[str, float],
    sharpness: "Sharpness",
    seconds: float,
) -> dict[str, float | int]:
    """The result of a run, flat: METHOD's final evaluation of the best epoch, gaps, and cost.

    ``tests``: ``TEST_FIGURES``, those of the final weights as far as there are any.
    Accuracies lie in [0, 1]; gaps are training − validation accuracy; ``epochs_to_best`` counts
    epochs from 1; ``seconds`` is the wall time of training and evaluation.
    """
    last = history[-1]
    return {
        **tests,
        "best_val_accuracy": best.val_accuracy,
        "best_val_loss": best.val_loss,
        "best_epoch": best.epoch,
        "epochs_to_best": best.epoch + 1,
        "final_val_accuracy": last.val_accuracy,
        "final_val_loss": last.val_loss,
        "final_train_accuracy": last.train_accuracy,
        "final_train_loss": last.train_loss,
        "generalization_gap_final": last.train_accuracy - last.val_accuracy,
        "generalization_gap_at_best": best.train_accuracy - best.val_accuracy,
        "generalization_gap_last_ten": objective_value("generalization_gap", history),
        "sharpness": sharpness.mean_drop,
        "sharpness_epsilon": sharpness.epsilon,
        "sharpness_draws": sharpness.draws,
        "epochs": len(history),
        "noisy_epochs": sum(row.injected for row in history),
        "seconds": seconds,
    }
