"""Metrics of classifiers besides loss and accuracy, on logits and labels: built in, or one's own.

A metric is a function of all samples at once: logits (N, classes) in fp32 and labels (N,), both on
the CPU. It returns a number. Nothing is computed unless a run's configuration asks for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.code_identity import code_identity
from trainables.errors import FOREIGN, InputError, shortened
from trainables.metric_config import BUILT_IN, MetricConfig
from trainables.metrics import TaskMetric
from trainables.own_import import check_unchanged, import_own
from trainables.random_streams import stream_seed

Measure = Callable[[Tensor, Tensor], Any]

_PROBE = 64


def _recalls(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True positives, samples and predictions of each class, fp64."""
    classes = logits.shape[1]
    predicted = logits.argmax(1)
    hits = torch.bincount(labels[predicted == labels], minlength=classes)
    samples = torch.bincount(labels, minlength=classes)
    return hits.double(), samples.double(), torch.bincount(predicted, minlength=classes).double()


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """The mean over the classes of 2·TP / (2·TP + FP + FN).

    A class that has no sample and is never predicted is left out.
    """
    hits, samples, predicted = _recalls(logits, labels)
    there = samples + predicted > 0
    return float((2 * hits[there] / (samples + predicted)[there]).mean())


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """The mean over the classes that have samples of the share of them that is right."""
    hits, samples, _ = _recalls(logits, labels)
    there = samples > 0
    return float((hits[there] / samples[there]).mean())


def auc(logits: Tensor, labels: Tensor) -> float:
    """The area under the ROC curve, each class against the rest, by its probability; the mean.

    By the rank sum of Mann and Whitney, ties counted half. A class without a sample, or without a
    sample of another class, is left out; NaN where none is left.
    """
    scores = logits.double().softmax(1)
    found = []
    for label in labels.unique().tolist():
        inside = labels == label
        positive, negative = int(inside.sum()), int((~inside).sum())
        if not negative:
            continue
        _, which, counts = scores[:, label].unique(return_inverse=True, return_counts=True)
        # The mean rank of equal scores, counted from 1.
        ranks = (counts.cumsum(0) - (counts - 1) / 2)[which]
        above = float(ranks[inside].sum()) - positive * (positive + 1) / 2
        found.append(above / (positive * negative))
    return math.fsum(found) / len(found) if found else math.nan


_FUNCTIONS: Mapping[str, Measure] = {
    "macro_f1": macro_f1,
    "balanced_accuracy": balanced_accuracy,
    "auc": auc,
}
assert _FUNCTIONS.keys() == BUILT_IN.keys()


def described(config: MetricConfig) -> MetricConfig:
    """A metric's configuration with what its function says of itself; its code is run."""
    if config.function is None:
        return config
    where = f"metric (--metric) = {config.function!r}"
    try:
        check_unchanged("metric (--metric)", config.function, config.code)
    except InputError as error:
        raise InputError(f"{error}. Restore it, or begin anew under another --name") from None
    function = import_own("metric", config.function, "a function of logits and labels")
    said = getattr(function, "metric", None)
    if not isinstance(said, TaskMetric) or said.mode not in ("max", "min") or not said.unit:
        raise InputError(
            f'{where}: it declares no direction and unit; put @metric("max", "UNIT") above it '
            "(from trainables.metric_config import metric)"
        )
    for name in ("worst", "margin"):
        value = getattr(said, name)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
            raise InputError(f"{where}: its {name} = {value!r}: give a finite number, or None")
    if said.margin is not None and said.margin <= 0:
        raise InputError(f"{where}: its margin = {said.margin!r}: give a number above 0")
    changed = {
        "mode": said.mode,
        "unit": str(said.unit),
        "worst": said.worst,
        "margin": said.margin,
        "code": code_identity(config.function) or None,
    }
    return config.model_copy(update=changed)


class Measures:
    """A run's further metrics, ready to be computed."""

    def __init__(self, measured: Sequence[MetricConfig]) -> None:
        self._functions: dict[str, tuple[str, Measure]] = {}
        for each in measured:
            if each.function is None:
                self._functions[each.name] = (each.name, _FUNCTIONS[each.name])
                continue
            check_unchanged("metric", each.function, each.code)
            function = import_own("metric", each.function, "a function of logits and labels")
            self._functions[each.name] = (each.function, function)

    def __bool__(self) -> bool:
        return bool(self._functions)

    def of(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Each metric of all samples, by name. Where a logit is not finite they are all NaN."""
        if not bool(logits.isfinite().all()):
            return dict.fromkeys(self._functions, math.nan)
        return {
            name: _number(shown, function, logits, labels)
            for name, (shown, function) in self._functions.items()
        }


def _number(name: str, function: Measure, logits: Tensor, labels: Tensor) -> float:
    samples, classes = logits.shape
    where = f"metric (--metric) = {name!r}: on {samples} samples of {classes} classes it"
    try:
        # What it changes in them is its own.
        told = function(logits.clone(), labels.clone())
    except FOREIGN as error:
        words = shortened(str(error), 200)
        raise InputError(f"{where} raised {type(error).__name__}: {words}") from error
    if isinstance(told, Tensor) and told.numel() != 1:
        raise InputError(f"{where} returned a tensor of shape {tuple(told.shape)}; give one number")
    try:
        value = float(told)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{where} returned {shortened(told)}, which is no number") from None
    if not math.isfinite(value):
        raise InputError(f"{where} returned {value}; give a finite number")
    return value


def check_measures(measured: Sequence[MetricConfig], classes: int) -> None:
    """Try metrics on logits that are drawn, twice each, before anything is trained."""
    generator = torch.Generator().manual_seed(stream_seed(0, "init"))
    samples = max(_PROBE, 2 * classes)
    logits = torch.randn(samples, classes, generator=generator)
    labels = torch.arange(samples) % classes
    measures = Measures(measured)
    first, second = (measures.of(logits, labels) for _ in range(2))
    for each in measured:
        if first[each.name] != second[each.name]:
            raise InputError(
                f"metric (--metric) = {each.function!r}: on the same logits and labels it returned "
                f"{first[each.name]:g}, then {second[each.name]:g}; let it follow from them alone"
            )
