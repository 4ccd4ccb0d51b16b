"""Validation, test, accuracy per class, and sharpness."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.classifier_metrics import Measures
from trainables.config import Precision
from trainables.device import autocast

Batches = Iterable[tuple[Tensor, Tensor]]

_FIRST_SAMPLES = 16_384


@dataclass(frozen=True)
class EvalResult:
    """A model's result on a set of images.

    Attributes:
        loss: mean cross-entropy over the samples, in nats.
        accuracy: correct / total, in [0, 1].
        per_class_accuracy: by class; None for a class without a sample. Empty if not asked for.
        per_class_loss: mean cross-entropy by class, likewise.
        further: the metrics that were asked for besides, by name.
    """

    loss: float
    accuracy: float
    correct: int
    total: int
    per_class_accuracy: tuple[float | None, ...] = ()
    per_class_loss: tuple[float | None, ...] = ()
    further: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sharpness:
    """How much accuracy random steps away from the weights cost.

    Attributes:
        epsilon: size of the steps relative to each tensor's norm.
        mean_drop: mean of (accuracy − accuracy after a step); positive if steps harm.
        drops: each draw's drop.
    """

    epsilon: float
    draws: int
    mean_drop: float
    drops: tuple[float, ...]


def evaluate(
    model: nn.Module,
    batches: Batches,
    num_classes: int,
    *,
    precision: Precision = "fp32",
    per_class: bool = True,
    measures: Measures | None = None,
) -> EvalResult:
    """Evaluate ``model`` in eval mode; its modules' modes are as before afterwards.

    Args:
        model: returns logits (B, num_classes).
        batches: images (B, channels, size, size) and labels (B,) on the model's device; together
            at least one sample.
        precision: of the forward pass; the loss is computed in fp32 and summed in fp64.
        measures: further metrics; for these the logits of all samples are kept.

    Raises:
        ValueError: if there is no sample.
    """
    samples = _Samples()
    with _eval_mode(model), torch.inference_mode():
        for images, targets in batches:
            with autocast(precision, images.device):
                logits = model(images)
            logits = logits.float()
            losses = F.cross_entropy(logits, targets, reduction="none")
            kept = (logits,) if measures else ()
            samples.add(losses, logits.argmax(1) == targets, targets, *kept)
        if not samples.total:
            raise ValueError("no images to evaluate")
        # Read from the device once, at the end: reading each batch would wait for each.
        loss, hit, label, *logits_of_all = (column.cpu() for column in samples.columns())
        loss = loss.double()
    total, correct = len(loss), int(hit.sum())
    return EvalResult(
        loss=float(loss.sum()) / total,
        accuracy=correct / total,
        correct=correct,
        total=total,
        per_class_accuracy=_class_means(hit.double(), label, num_classes) if per_class else (),
        per_class_loss=_class_means(loss, label, num_classes) if per_class else (),
        further=measures.of(logits_of_all[0], label) if measures else {},
    )


def figures_on_test(best: EvalResult, final: EvalResult | None) -> dict[str, float]:
    """``TEST_FIGURES`` of a run's best and final weights; final ones only where it has any."""
    figures = {"test_accuracy": best.accuracy, "test_loss": best.loss}
    if final is not None:
        figures |= {"final_test_accuracy": final.accuracy, "final_test_loss": final.loss}
    for prefix, found in (("test_", best), ("final_test_", final)):
        further = found.further if found is not None else {}
        figures |= {f"{prefix}{name}": value for name, value in further.items()}
    return figures


class _Samples:
    """What is known of each sample, on the device, in few large pieces of memory.

    A small tensor kept from every batch would lie in the gap that the batch's activations leave
    behind, and the next one's would not fit in there any more: with each batch the process would
    grow by megabytes.
    """

    def __init__(self) -> None:
        self.total = 0
        self._columns: tuple[Tensor, ...] = ()

    def add(self, *values: Tensor) -> None:
        """Append one batch: tensors (B, …), in the same order each time."""
        end = self.total + len(values[0])
        if not self._columns:
            self._columns = tuple(
                value.new_empty((max(_FIRST_SAMPLES, end), *value.shape[1:])) for value in values
            )
        while end > len(self._columns[0]):
            self._columns = tuple(torch.cat([part, part]) for part in self._columns)
        for column, value in zip(self._columns, values, strict=True):
            column[self.total : end] = value
        self.total = end

    def columns(self) -> tuple[Tensor, ...]:
        return tuple(column[: self.total] for column in self._columns)


def sharpness(
    model: nn.Module,
    make_batches: Callable[[], Batches],
    num_classes: int,
    *,
    epsilon: float,
    draws: int,
    seed: int,
    precision: Precision = "fp32",
) -> Sharpness:
    """The mean drop of accuracy under Gaussian steps of the weights (METHOD section 8).

    Each parameter tensor w of n elements gets noise of standard deviation ε·‖w‖₂/√n, that is ε
    times its RMS. Buffers, such as BatchNorm's statistics, stay. All parameters are afterwards what
    they were, bit for bit.

    Args:
        make_batches: called once for each of the ``draws`` + 1 evaluations, see ``evaluate``.
        epsilon: ε ≥ 0.
        draws: steps to average over, at least 1.
        seed: of the steps' own generator; they are drawn on the CPU, the same for every device.

    Raises:
        ValueError: if ``epsilon`` or ``draws`` is out of bounds, or there is no sample.
    """
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"epsilon = {epsilon}: must be a finite number, at least 0")
    if draws < 1:
        raise ValueError(f"draws = {draws}: must be at least 1")

    def accuracy() -> float:
        batches = make_batches()
        return evaluate(model, batches, num_classes, precision=precision, per_class=False).accuracy

    generator = torch.Generator().manual_seed(seed)
    clean = accuracy()
    drops = []
    for _ in range(draws):
        with _stepped(model, epsilon, generator):
            drops.append(clean - accuracy())
    return Sharpness(
        epsilon=epsilon,
        draws=draws,
        mean_drop=statistics.fmean(drops),
        drops=tuple(drops),
    )


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode within; a module that was in eval mode before, such as a frozen one, stays so."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _stepped(model: nn.Module, epsilon: float, generator: torch.Generator) -> Iterator[None]:
    parameters = list(model.parameters())
    clean = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter in parameters:
                # Elements in their logical order, whatever their order in memory is.
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                std = epsilon * parameter.norm() / math.sqrt(max(parameter.numel(), 1))
                parameter.add_(noise.to(parameter) * std)
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, clean, strict=True):
                parameter.copy_(value)


def _class_means(values: Tensor, labels: Tensor, num_classes: int) -> tuple[float | None, ...]:
    """The mean of ``values`` (N,) over each class, fp64."""
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    sums = torch.bincount(labels, values, minlength=num_classes).tolist()
    return tuple(
        value / count if count else None for value, count in zip(sums, counts, strict=True)
    )
