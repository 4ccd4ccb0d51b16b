"""The seam between a training and what is trained: ``Task``. docs/own-task.md leads through it.

A task knows its data, its model and its optimiser. Everything else is ours: when there is noise,
how strong it is, checkpoints, forks, the records, the comparison.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.metrics import TaskMetric

if TYPE_CHECKING:
    from torch.nn import Parameter

    from trainables.config import TrainConfig
    from trainables.noise.epoch_noise import EpochNoise

Figures = Mapping[str, float]
"""Name of a metric → its value; names are those of ``Task.metrics``."""


class Task(ABC):
    """One training of one seed: subclass it, and name it as ``package.module:Class``.

    It is made without arguments. What is random in it must follow from the seed and the epoch alone
    (``trainables.random_streams.generator``): then a run that was killed, or that starts from its
    baseline's checkpoint, goes on bit for bit. torch's, numpy's and Python's global generators are
    seeded before ``setup``, each ``train_epoch`` and ``test``.

    Attributes:
        metrics: what ``train_epoch``, ``validate`` and ``test`` return, each declared.
        signals: which of the metrics the signals read: that for ``loss`` and, where there is such a
            thing, for ``accuracy``, a share in [0, 1].
        version: change it where the numbers change and the source does not, as with other data.
        classes: how many labels there are, for noise on labels; 0: labels are no classes.
    """

    metrics: ClassVar[Mapping[str, TaskMetric]]
    signals: ClassVar[Mapping[str, str]] = {"loss": "loss"}
    version: ClassVar[str] = "1"
    classes: int = 0

    @abstractmethod
    def setup(self, config: "TrainConfig", seed: int) -> None:
        """Make data, model and optimiser, on ``config.device``, for ``config.epochs`` epochs.

        ``config.task.options`` are the task's own settings.
        """

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch; known after ``setup``."""

    @abstractmethod
    def train_epoch(self, epoch: int, noise: "EpochNoise") -> Figures:
        """Train epoch ``epoch``, counted from 0, and return its metrics as means over samples.

        ``noise.forward`` surrounds each forward and backward pass, ``noise.before_step`` comes
        before each of the optimiser's steps. The loss may be left out: then it is the mean of what
        ``before_step`` was told. So may any other metric.
        """

    @abstractmethod
    def validate(self) -> Figures:
        """All metrics on the validation data."""

    @abstractmethod
    def test(self) -> Figures:
        """All metrics on the test data, which nothing else reads."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What it needs to go on: tensors and plain containers (model, optimiser, schedule)."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned; it must not keep ``state`` itself."""

    @abstractmethod
    def named_parameters(self) -> "Iterable[tuple[str, Parameter]]":
        """The model's parameters by name."""

    @property
    def step_rate(self) -> float | None:
        """What noise of scaling ``step`` needs: the learning rate / (1 − momentum) of SGD."""
        return None

    def weights(self) -> Any:
        """A copy of what ``test`` depends on, kept of the epoch that is best in validation."""
        return copy.deepcopy(self.state_dict())

    def load_weights(self, weights: Any) -> None:
        self.load_state_dict(weights)
