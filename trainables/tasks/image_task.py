"""Classifying images: the task of this project's own trainings.

All statistics of an epoch are kept as tensors on the device and read once, at its end.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F

from trainables.classifier_metrics import Measures
from trainables.config import TrainConfig
from trainables.data.augmentation import make_augmentation
from trainables.data.device_data import DeviceData, Part
from trainables.device import autocast
from trainables.epoch_details import (
    ClassTotals,
    Detail,
    EpochDetails,
    mean_norms,
    optimizer_norms,
)
from trainables.evaluation import EvalResult, evaluate
from trainables.loop import AVERAGE, Training, clone_weights
from trainables.lr_schedule import Schedule
from trainables.metrics import GAP_EPOCHS, TaskMetric
from trainables.models.pretrained import PretrainedReport, load_pretrained, load_weights
from trainables.models.registry import build_configured, to_memory_format
from trainables.noise.epoch_noise import EpochNoise
from trainables.optimizers import make_optimizer, make_step
from trainables.own_import import check_same_code
from trainables.random_streams import stream_seed
from trainables.tasks.task import Task
from trainables.weight_average import WeightAverage

_CLEAN_SHARE = 0.035


class ImageTask(Task):
    """A classifier of images, trained by cross-entropy.

    Args:
        detail: what to record besides ``EpochMetrics``, in ``details``.
    """

    metrics: ClassVar[Mapping[str, TaskMetric]] = {
        "loss": TaskMetric("min", "nats"),
        "accuracy": TaskMetric("max", "share of images"),
    }
    signals: ClassVar[Mapping[str, str]] = {"loss": "loss", "accuracy": "accuracy"}

    def __init__(self, data: DeviceData, detail: Detail | None = None) -> None:
        self.data = data
        self.detail = detail or Detail()
        self.classes = len(data.classes)
        self.pretrained: PretrainedReport | None = None
        self.details: EpochDetails | None = None
        self._epoch = 0

    def setup(self, config: TrainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.device = torch.device(config.device)
        check_same_code(config)
        self.measures = Measures(config.measured)
        self.model = self._initial_model()
        self.augmentation = make_augmentation(config.data)
        recipe = config.optimizer
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(recipe, self.parameters, self.device)
        self.schedule = Schedule(recipe, steps_per_epoch=self.steps_per_epoch, epochs=config.epochs)
        self.average = None if recipe.ema is None else WeightAverage(self.model, recipe.ema)

    def _initial_model(self) -> nn.Module:
        # The parameters are drawn on the CPU, so that every device starts from the same ones.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.seed, "init"))
            model = build_configured(self.config, self.classes)
        if self.config.model.download_weights:
            classifier, size = self.config.model.classifier, self.config.data.image_size
            self.pretrained = load_pretrained(model, classifier, size)
        elif self.config.model.weights is not None:
            self.pretrained = load_weights(model, self.config.model)
        return to_memory_format(model.to(self.device), self.device)

    @property
    def evaluated(self) -> nn.Module:
        """The model that is validated, tested and kept: the average of its weights, if any."""
        return self.model if self.average is None else self.average.model

    @property
    def steps_per_epoch(self) -> int:
        return self.data.steps_per_epoch(self.config.data.batch_size)

    @property
    def step_rate(self) -> float | None:
        return self.config.optimizer.step_rate

    def named_parameters(self) -> Iterable[tuple[str, Parameter]]:
        return self.model.named_parameters()

    def train_epoch(self, epoch: int, noise: EpochNoise) -> dict[str, float]:
        config, steps = self.config, self.steps_per_epoch
        self._epoch, self._noise = epoch, noise
        self._classes = ClassTotals(self.classes, self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        # Dropout inside torchvision's models draws from torch's global generator.
        torch.manual_seed(stream_seed(self.seed, "model", epoch))
        self.model.train()
        lr = 0.0
        batches = self.data.train_batches(
            self.seed, epoch, config.data.batch_size, self.augmentation
        )
        for step, (images, labels) in enumerate(batches):
            loss, logits = self._backward(images, labels, noise)
            with torch.no_grad():
                correct += (logits.argmax(1) == labels).sum()
                if self.detail.train_per_class:
                    self._classes.add(logits, labels)
            noise.before_step(loss, grad_norm=self._clipped())
            lr = self.schedule.set(self.optimizer, epoch * steps + step)
            make_step(config.optimizer, self.optimizer)
            if self.average is not None:
                self.average.update(epoch * steps + step)
            noise.stepped()
        return {"accuracy": float(correct) / (steps * config.data.batch_size), "lr": lr}

    def _backward(self, images: Tensor, labels: Tensor, noise: EpochNoise) -> tuple[Tensor, Tensor]:
        """The gradients of a step; its loss, and its logits (B, C)."""
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.config.optimizer.accumulate
        if parts == 1:
            return self._pass(images, labels, noise)
        passes = [
            self._pass(x, y, noise, 1.0 / parts)
            for x, y in zip(images.chunk(parts), labels.chunk(parts), strict=True)
        ]
        losses, logits = zip(*passes, strict=True)
        return torch.stack(losses).mean(), torch.cat(logits)

    def _pass(
        self, images: Tensor, labels: Tensor, noise: EpochNoise, share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """One forward and backward pass, in slices where there are any: inside of one noise."""
        with noise.forward(images, labels) as (inputs, targets):
            size, count = self.config.slice, len(inputs)
            if not 0 < size < count:
                return self._add_gradients(inputs, targets, share)
            loss, logits = torch.zeros((), device=self.device), []
            for x, y in zip(inputs.split(size), targets.split(size), strict=True):
                part = len(x) / count
                its_loss, its_logits = self._add_gradients(x, y, part * share)
                loss += part * its_loss
                logits.append(its_logits)
        return loss, torch.cat(logits)

    def _add_gradients(
        self, inputs: Tensor, targets: Tensor, share: float
    ) -> tuple[Tensor, Tensor]:
        """Add ``share`` of the mean loss's gradients; that loss, and the logits (B, C)."""
        with autocast(self.config.precision, self.device):
            logits = self.model(inputs)
        logits = logits.float()
        loss = F.cross_entropy(
            logits, targets, label_smoothing=self.config.optimizer.label_smoothing
        )
        (loss if share == 1 else loss * share).backward()
        return loss.detach(), logits.detach()

    def _clipped(self) -> Tensor | None:
        """Clip the gradients; their norm before that, None where nothing is clipped.

        Noise is added to what is clipped: so its σ is what it is said to be.
        """
        most = self.config.optimizer.clip_norm
        return None if most is None else nn.utils.clip_grad_norm_(self.parameters, most)

    def validate(self) -> dict[str, float]:
        found = self.evaluate("val", per_class=self.detail.per_class)
        self.details = self._details(found)
        figures = {"loss": found.loss, "accuracy": found.accuracy, **found.further}
        clean = self._clean_train_accuracy()
        return figures if clean is None else {**figures, "clean_train_accuracy": clean}

    def test(self) -> dict[str, float]:
        found = self.evaluate("test", per_class=False)
        return {"accuracy": found.accuracy, "loss": found.loss, **found.further}

    def evaluate(self, part: Part, *, per_class: bool) -> EvalResult:
        return evaluate(
            self.evaluated,
            self.data.eval_batches(part),
            self.classes,
            precision=self.config.precision,
            per_class=per_class,
            measures=self.measures,
        )

    def _clean_train_accuracy(self) -> float | None:
        """On the same images in every run of a study; None in epochs that need not measure it."""
        config = self.config
        if not config.clean_gap or self._epoch < config.epochs - GAP_EPOCHS:
            return None
        return evaluate(
            self.evaluated,
            self.data.clean_train_batches(clean_images(self.data.train_size, config.epochs)),
            self.classes,
            precision=config.precision,
            per_class=False,
        ).accuracy

    def _details(self, validation: EvalResult) -> EpochDetails:
        detail, noise = self.detail, self._noise.step_noise
        return EpochDetails(
            validation=validation,
            train_per_class=self._classes.result() if detail.train_per_class else None,
            noise=mean_norms(noise.measured, noise.names) if noise.measured else None,
            optimizer_norms=optimizer_norms(self.optimizer) if detail.optimizer_norms else {},
        )

    def state_dict(self) -> dict[str, Any]:
        """The learning rate needs nothing: it follows from the step."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state if self.average is None else {**state, AVERAGE: self.average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        # The optimiser would take the tensors themselves over, and change them in place.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        if self.average is not None:
            self.average.model.load_state_dict(state[AVERAGE])

    def weights(self) -> dict[str, Tensor]:
        return clone_weights(self.evaluated)

    def load_weights(self, weights: Any) -> None:
        self.evaluated.load_state_dict(weights)


class ImageTraining(Training):
    """A training of a classifier; its parts are at hand."""

    task: ImageTask

    def __init__(self, config: TrainConfig, data: DeviceData, detail: Detail | None = None) -> None:
        task = ImageTask(data, detail)
        super().__init__(config, task, measure_noise=task.detail.noise_norms)

    @property
    def data(self) -> DeviceData:
        return self.task.data

    @property
    def model(self) -> nn.Module:
        return self.task.model

    @property
    def evaluated(self) -> nn.Module:
        return self.task.evaluated

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.task.optimizer

    @property
    def pretrained(self) -> PretrainedReport | None:
        return self.task.pretrained

    @property
    def details(self) -> EpochDetails | None:
        return self.task.details

    def evaluate(self, part: Part, *, per_class: bool) -> EvalResult:
        return self.task.evaluate(part, per_class=per_class)

    def evaluate_best(self, part: Part) -> EvalResult:
        """The best weights' result on ``part``; a RuntimeError if no epoch was finite."""
        if self.best is None:
            raise RuntimeError("no epoch with finite statistics was completed")
        current = self.task.weights()
        self.task.load_weights(self.best.weights)
        try:
            return self.evaluate(part, per_class=True)
        finally:
            self.task.load_weights(current)


def clean_images(train_images: int, epochs: int) -> int:
    """How many training images the clean accuracy is measured on, so that it costs 2 % at most.

    For every image that is trained on, ``_CLEAN_SHARE`` are evaluated, divided among the epochs
    that measure. Evaluating one costs a third to a half of training on it.
    """
    wanted = int(_CLEAN_SHARE * epochs * train_images / min(epochs, GAP_EPOCHS))
    return min(train_images, max(1, wanted))
