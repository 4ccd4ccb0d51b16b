"""The training loop: a generator that yields one ``EpochMetrics`` per epoch.

It knows nothing of who consumes it (Ray, the command line, a test). History goes into the noise
controller, one immutable ``Injection`` for the next epoch comes out; nothing else crosses. All
statistics of an epoch are kept as tensors on the device and read once, at its end.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import TrainConfig
from trainables.data.device_data import DeviceData, Part
from trainables.device import autocast, set_up_torch
from trainables.epoch_details import (
    ClassTotals,
    Detail,
    EpochDetails,
    Sums,
    mean_norms,
    optimizer_norms,
)
from trainables.evaluation import EvalResult, evaluate
from trainables.lr_schedule import set_learning_rate
from trainables.metrics import GAP_EPOCHS, EpochMetrics, WhichWeights, is_better
from trainables.models.registry import (
    PretrainedReport,
    build_configured,
    load_pretrained,
    to_memory_format,
)
from trainables.noise.controller import Injection, NoiseController
from trainables.noise.fork import annotate, baseline_digest
from trainables.noise.perturbations import global_norm
from trainables.noise.step_noise import STEP_NOISE, Perturbed
from trainables.optimizers import make_optimizer
from trainables.random_streams import generator, stream_seed
from trainables.torch_parts import subtract_

OnStep = Callable[[int, int], None]

_CLEAN_SHARE = 0.035


@dataclass(frozen=True)
class Best:
    """The best epoch so far by validation, and its weights."""

    row: EpochMetrics
    weights: dict[str, Tensor]


class Training:
    """One run under way: model, optimiser, controller, history, best weights.

    Args:
        config: the run's configuration, its device resolved.
        detail: what to record besides ``EpochMetrics``.
    """

    def __init__(self, config: TrainConfig, data: DeviceData, detail: Detail | None = None) -> None:
        self.config = config
        self.data = data
        self.detail = detail or Detail()
        self.device = torch.device(config.device)
        set_up_torch(config.threads, config.device, config.precision, config.deterministic)
        self.steps_per_epoch = data.steps_per_epoch(config.data.batch_size)
        self.pretrained: PretrainedReport | None = None
        self.model = self._initial_model()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.perturbed = Perturbed(
            config.noise,
            self.model.named_parameters(),
            len(data.classes),
            config.optimizer.step_rate,
        )
        self.optimizer = make_optimizer(config.optimizer, self.parameters, self.device)
        self.controller = NoiseController(config.noise, config.epochs)
        self.history: list[EpochMetrics] = []
        self.best: Best | None = None
        self.injection: Injection | None = None
        self.details: EpochDetails | None = None

    def _initial_model(self) -> nn.Module:
        # The parameters are drawn on the CPU, so that every device starts from the same ones.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.config.seed, "init"))
            model = build_configured(self.config.model, len(self.data.classes))
        if self.config.model.download_weights:
            self.pretrained = load_pretrained(model, self.config.model.classifier)
        return to_memory_format(model.to(self.device), self.device)

    @property
    def finished(self) -> bool:
        return len(self.history) >= self.config.epochs

    def run_epoch(self, on_step: OnStep | None = None) -> EpochMetrics:
        """Train and validate one epoch, and append its row to the history."""
        epoch = len(self.history)
        injection = self.controller.step(self.history)
        self.injection = injection
        before = [p.detach().clone() for p in self.parameters]
        under_way = _Epoch(self, epoch, injection)
        lr = under_way.train(on_step)
        subtract_(before, [p.detach() for p in self.parameters])
        update_norm = global_norm(before)
        sums = under_way.sums
        validation = self.evaluate("val", per_class=self.detail.per_class)
        row = EpochMetrics(
            epoch=epoch,
            train_loss=float(sums.losses.double().mean()),
            train_accuracy=float(sums.correct)
            / (self.steps_per_epoch * self.config.data.batch_size),
            val_loss=validation.loss,
            val_accuracy=validation.accuracy,
            grad_norm=float(sums.norms.double().mean()),
            weight_update_norm=float(update_norm),
            lr=lr,
            clean_train_accuracy=self._clean_train_accuracy(epoch),
            **injection.recorded(),
        )
        self.history.append(row)
        if row.finite and is_better(row, self.best.row if self.best else None):
            self.best = Best(row, clone_weights(self.model))
        self.details = under_way.details(validation)
        return row

    def _clean_train_accuracy(self, epoch: int) -> float | None:
        """On the same images in every run of a study; None in epochs that need not measure it."""
        config = self.config
        if not config.clean_gap or epoch < config.epochs - GAP_EPOCHS:
            return None
        return evaluate(
            self.model,
            self.data.clean_train_batches(clean_images(self.data.train_size, config.epochs)),
            len(self.data.classes),
            precision=config.precision,
            per_class=False,
        ).accuracy

    def evaluate(self, part: Part, *, per_class: bool) -> EvalResult:
        return evaluate(
            self.model,
            self.data.eval_batches(part),
            len(self.data.classes),
            precision=self.config.precision,
            per_class=per_class,
        )

    def evaluate_best(self, part: Part) -> EvalResult:
        """The best weights' result on ``part``; a RuntimeError if no epoch was finite."""
        if self.best is None:
            raise RuntimeError("no epoch with finite statistics was completed")
        current = clone_weights(self.model)
        self.model.load_state_dict(self.best.weights)
        try:
            return self.evaluate(part, per_class=True)
        finally:
            self.model.load_state_dict(current)

    def state_dict(self) -> dict[str, Any]:
        """Everything the run needs to go on bit for bit: tensors and plain containers.

        The controller, the learning rate and the random streams need nothing: they follow from
        the history, the step, the seed and the epoch.
        """
        return {
            "config": self.config.model_dump_json(),
            "history": [row.to_dict() for row in self.history],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_epoch": self.best.row.epoch if self.best else None,
            "best_weights": self.best.weights if self.best else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``; the noise settings may differ (a fork), nothing else.

        The rows of a baseline then become those that this run would have reported: the state must
        not lie beyond this run's first noisy epoch (``fork_epoch``).

        Raises:
            ValueError: if the state comes from a run that was configured otherwise.
        """
        stored = TrainConfig.model_validate_json(state["config"])
        if baseline_digest(stored) != baseline_digest(self.config):
            raise ValueError("the checkpoint belongs to a run with other settings")
        rows = [EpochMetrics.from_dict(row) for row in state["history"]]
        is_fork = stored.noise != self.config.noise and not any(row.injected for row in rows)
        self.history = (
            list(annotate(rows, self.config.noise, self.config.epochs)) if is_fork else rows
        )
        self.model.load_state_dict(state["model"])
        # The optimiser would take the tensors themselves over, and change them in place.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        best_epoch = state["best_epoch"]
        self.best = (
            None
            if best_epoch is None
            else Best(
                self.history[best_epoch],
                {name: tensor.to(self.device) for name, tensor in state["best_weights"].items()},
            )
        )


def weights_of(
    state: Mapping[str, Any], which: WhichWeights
) -> tuple[Mapping[str, Tensor], int] | None:
    """The best or final weights of a ``state_dict``, and the epoch after which they were taken.

    None where there are no best ones: no epoch's statistics were finite.
    """
    if which == "final":
        return state["model"], len(state["history"]) - 1
    weights, epoch = state["best_weights"], state["best_epoch"]
    return None if weights is None else (weights, int(epoch))


def clean_images(train_images: int, epochs: int) -> int:
    """How many training images the clean accuracy is measured on, so that it costs 2 % at most.

    For every image that is trained on, ``_CLEAN_SHARE`` are evaluated, divided among the epochs
    that measure. Evaluating one costs a third to a half of training on it.
    """
    wanted = int(_CLEAN_SHARE * epochs * train_images / min(epochs, GAP_EPOCHS))
    return min(train_images, max(1, wanted))


def train_epochs(training: Training, on_step: OnStep | None = None) -> Iterator[EpochMetrics]:
    """Train until the epoch budget is used up, yielding each epoch's statistics.

    Args:
        on_step: called after every optimiser step with (steps done, steps an epoch).
    """
    while not training.finished:
        yield training.run_epoch(on_step)


def clone_weights(model: nn.Module) -> dict[str, Tensor]:
    """A detached copy of a model's parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class _Epoch:
    """The steps of one epoch under one injection, and what is recorded of them."""

    def __init__(self, training: Training, epoch: int, injection: Injection) -> None:
        self.training = training
        self.epoch = epoch
        self.sums = Sums.empty(training.steps_per_epoch, training.device)
        self.classes = ClassTotals(len(training.data.classes), training.device)
        self.noise = STEP_NOISE[injection.kind](
            training.perturbed,
            injection.magnitude,
            generator(training.config.seed, "noise", epoch, training.device),
            training.detail.noise_norms,
        )

    def train(self, on_step: OnStep | None) -> float:
        """Run the epoch's steps; returns the last step's learning rate."""
        training, config = self.training, self.training.config
        # Dropout inside torchvision's models draws from torch's global generator.
        torch.manual_seed(stream_seed(config.seed, "model", self.epoch))
        training.model.train()
        lr = 0.0
        batches = training.data.train_batches(config.seed, self.epoch, config.data.batch_size)
        for step, (images, labels) in enumerate(batches):
            self._backward(images, labels, step)
            self.sums.norms[step] = global_norm(
                [p.grad for p in training.parameters if p.grad is not None]
            )
            self.noise.on_gradients()
            lr = set_learning_rate(
                training.optimizer,
                config.optimizer,
                self.epoch * training.steps_per_epoch + step,
                steps_per_epoch=training.steps_per_epoch,
                epochs=config.epochs,
            )
            training.optimizer.step()
            if on_step is not None:
                on_step(step + 1, training.steps_per_epoch)
        return lr

    def _backward(self, images: Tensor, labels: Tensor, step: int) -> None:
        training = self.training
        images, targets = self.noise.on_batch(images, labels)
        training.optimizer.zero_grad(set_to_none=True)
        with self.noise.around_passes():
            with autocast(training.config.precision, training.device):
                logits = training.model(images)
            logits = logits.float()
            loss = F.cross_entropy(logits, targets)
            loss.backward()
        with torch.no_grad():
            self.sums.losses[step] = loss
            self.sums.correct += (logits.argmax(1) == labels).sum()
            if training.detail.train_per_class:
                self.classes.add(logits, labels)

    def details(self, validation: EvalResult) -> EpochDetails:
        training, detail, measured = self.training, self.training.detail, self.noise.measured
        return EpochDetails(
            validation=validation,
            train_per_class=self.classes.result() if detail.train_per_class else None,
            noise=mean_norms(measured, self.noise.names) if measured else None,
            optimizer_norms=optimizer_norms(training.optimizer) if detail.optimizer_norms else {},
        )
