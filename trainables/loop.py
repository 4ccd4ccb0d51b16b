"""The training loop: a generator that yields one ``EpochMetrics`` per epoch.

It knows nothing of what is trained (``trainables.tasks.task``) and of who consumes it (Ray, the
command line, a test). History goes into the noise controller, one immutable ``Injection`` for
the next epoch comes out; nothing else crosses.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.config import TrainConfig
from trainables.device import set_up_torch
from trainables.metrics import EpochMetrics, WhichWeights, is_better
from trainables.noise.controller import Injection, NoiseController
from trainables.noise.epoch_noise import EpochNoise, OnStep
from trainables.noise.fork import annotate, baseline_digest
from trainables.noise.perturbations import global_norm
from trainables.noise.step_noise import Perturbed
from trainables.random_streams import generator
from trainables.tasks.task import Task
from trainables.torch_parts import subtract_

AVERAGE = "average"
"""The part of a state with the moving average of the weights, where a run has one."""

_TOLD = frozenset({"loss", "accuracy", "lr", "clean_train_accuracy"})
"""What has a field of its own in ``EpochMetrics``."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far by validation, and its weights (``Task.weights``)."""

    row: EpochMetrics
    weights: Any


class Training:
    """One run under way: its task, controller, history, best weights.

    Args:
        config: the run's configuration, its device resolved.
        task: what is trained; it is set up here.
        measure_noise: whether the norms of what is perturbed are kept.
    """

    def __init__(self, config: TrainConfig, task: Task, *, measure_noise: bool = False) -> None:
        self.config = config
        self.task = task
        self.device = torch.device(config.device)
        set_up_torch(config.threads, config.device, config.precision, config.deterministic)
        task.setup(config, config.seed)
        self.steps_per_epoch = task.steps_per_epoch
        named = list(task.named_parameters())
        self.parameters = [p for _, p in named if p.requires_grad]
        self.perturbed = Perturbed(config.noise, named, task.classes, task.step_rate)
        self.controller = NoiseController(config.noise, config.epochs)
        self.history: list[EpochMetrics] = []
        self.best: Best | None = None
        self.injection: Injection | None = None
        self._measure_noise = measure_noise

    @property
    def finished(self) -> bool:
        return len(self.history) >= self.config.epochs

    def run_epoch(self, on_step: OnStep | None = None) -> EpochMetrics:
        """Train and validate one epoch, and append its row to the history."""
        epoch = len(self.history)
        self.injection = self.controller.step(self.history)
        before = [p.detach().clone() for p in self.parameters]
        noise = self._noise(epoch, self.injection)
        if on_step is not None:
            noise.on_step = lambda step: on_step(step, self.steps_per_epoch)
        trained = self.task.train_epoch(epoch, noise)
        subtract_(before, [p.detach() for p in self.parameters])
        update_norm = float(global_norm(before))
        del before
        validated = self.task.validate()
        row = EpochMetrics(
            epoch=epoch,
            train_loss=trained["loss"]
            if "loss" in trained
            else noise.losses.mean(finite_only=False),
            train_accuracy=trained.get("accuracy", math.nan),
            val_loss=validated["loss"],
            val_accuracy=validated.get("accuracy", math.nan),
            grad_norm=noise.norms.mean(finite_only=False),
            weight_update_norm=update_norm,
            lr=trained.get("lr", math.nan),
            clean_train_accuracy=validated.get("clean_train_accuracy"),
            own=_own("train", trained) | _own("val", validated),
            **self.injection.recorded(),
        )
        self.history.append(row)
        if row.finite and is_better(row, self.best.row if self.best else None):
            self.best = Best(row, self.task.weights())
        return row

    def _noise(self, epoch: int, injection: Injection) -> EpochNoise:
        return EpochNoise(
            self.config.noise,
            injection,
            self.perturbed,
            self.parameters,
            generator(self.config.seed, "noise", epoch, self.device),
            measure=self._measure_noise,
        )

    def test_figures(self) -> dict[str, float]:
        """What the best weights by validation and the final ones achieve on the test set.

        A RuntimeError if no epoch was finite. The weights are afterwards what they were.
        """
        if self.best is None:
            raise RuntimeError("no epoch with finite statistics was completed")
        final = self.task.test()
        current = self.task.weights()
        self.task.load_weights(self.best.weights)
        try:
            best = self.task.test()
        finally:
            self.task.load_weights(current)
        found = {f"test_{name}": value for name, value in best.items()}
        return found | {f"final_test_{name}": value for name, value in final.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything the run needs to go on bit for bit: tensors and plain containers.

        The controller and the random streams need nothing: they follow from the history, the seed
        and the epoch.
        """
        return {
            "config": self.config.model_dump_json(),
            "history": [row.to_dict() for row in self.history],
            **self.task.state_dict(),
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
        self.task.load_state_dict(state)
        best_epoch = state["best_epoch"]
        self.best = (
            None if best_epoch is None else Best(self.history[best_epoch], state["best_weights"])
        )


def _own(part: str, figures: Mapping[str, float]) -> dict[str, float]:
    """The metrics that only a task of one's own has, by their names in a row."""
    return {f"{part}_{name}": value for name, value in figures.items() if name not in _TOLD}


def weights_of(
    state: Mapping[str, Any], which: WhichWeights
) -> tuple[Mapping[str, Tensor], int] | None:
    """The best or final weights of a classifier's ``state_dict``, and the epoch that they are of.

    They are those that were evaluated: the moving average's, where there is one. None where there
    are no best ones: no epoch's statistics were finite.
    """
    if which == "final":
        return state.get(AVERAGE, state["model"]), len(state["history"]) - 1
    weights, epoch = state["best_weights"], state["best_epoch"]
    return None if weights is None else (weights, int(epoch))


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
