"""Tasks of one's own: a whole one, small, and what is made of it to be refused or found out."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import TrainConfig
from trainables.metrics import TaskMetric
from trainables.noise.epoch_noise import EpochNoise
from trainables.random_streams import generator
from trainables.task_config import TaskConfig
from trainables.tasks.own_task import described
from trainables.tasks.task import Task


class Line(Task):
    """A straight line through 48 points, by momentum: four steps an epoch."""

    metrics: ClassVar[Mapping[str, TaskMetric]] = {
        "mse": TaskMetric("min", "squares", worst=1.0, margin=0.01),
        "worst": TaskMetric("min", "units"),
    }
    signals: ClassVar[Mapping[str, str]] = {"loss": "mse"}

    def setup(self, config: TrainConfig, seed: int) -> None:
        self.seed = seed
        x = torch.randn(48, 2, generator=torch.Generator().manual_seed(1))
        y = x @ torch.tensor([0.5, -0.25]) + 0.1 * x[:, 0] ** 2
        self.train, self.val, self.held = (
            (x[part], y[part]) for part in (slice(0, 32), slice(32, 40), slice(40, 48))
        )
        self.model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
        rate = float(config.task.options.get("lr", 0.05))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, momentum=0.9)

    @property
    def steps_per_epoch(self) -> int:
        return 4

    def order(self, epoch: int) -> Tensor:
        return torch.randperm(32, generator=generator(self.seed, "data", epoch))

    def train_epoch(self, epoch: int, noise: EpochNoise) -> dict[str, Any]:
        x, y = self.train
        for rows in self.order(epoch).split(8):
            with noise.forward(x[rows], y[rows]) as (inputs, targets):
                loss = F.mse_loss(self.model(inputs).squeeze(1), targets)
                loss.backward()
            noise.before_step(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return {}

    @torch.inference_mode()
    def measured(self, part: tuple[Tensor, Tensor]) -> dict[str, Any]:
        errors = self.model(part[0]).squeeze(1) - part[1]
        return {"mse": float((errors**2).mean()), "worst": float(errors.abs().max())}

    def validate(self) -> dict[str, Any]:
        return self.measured(self.val)

    def test(self) -> dict[str, Any]:
        return self.measured(self.held)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def named_parameters(self) -> Any:
        return self.model.named_parameters()


class OtherOrder(Line):
    """Its batches are drawn from a generator that nobody seeds."""

    def order(self, epoch: int) -> Tensor:
        unseeded = torch.Generator()
        unseeded.seed()
        return torch.randperm(32, generator=unseeded)


class GoesOnOtherwise(Line):
    """Its order depends on what was drawn before."""

    def setup(self, config: TrainConfig, seed: int) -> None:
        super().setup(config, seed)
        self.random = torch.Generator().manual_seed(seed)

    def order(self, epoch: int) -> Tensor:
        return torch.randperm(32, generator=self.random)


class ForgetsMomentum(Line):
    """Its state lacks the optimiser."""

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])


class OtherWeights(Line):
    """Its initial weights are drawn anew each time."""

    def setup(self, config: TrainConfig, seed: int) -> None:
        super().setup(config, seed)
        unseeded = torch.Generator()
        unseeded.seed()
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_(torch.randn(p.shape, generator=unseeded))


class UnknownMetric(Line):
    def validate(self) -> dict[str, Any]:
        return {**super().validate(), "mea": 0.0}


class LackingMetric(Line):
    def validate(self) -> dict[str, Any]:
        return {"mse": 0.0}


class NoNumber(Line):
    def validate(self) -> dict[str, Any]:
        return {"mse": "low", "worst": 0.0}


class Raises(Line):
    def train_epoch(self, epoch: int, noise: EpochNoise) -> dict[str, Any]:
        raise OSError("the disk is on fire")


class TellsNoStep(Line):
    def train_epoch(self, epoch: int, noise: EpochNoise) -> dict[str, Any]:
        return {"mse": 0.0}


class KeepsAnObject(Line):
    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model}


class PassesOutside(Line):
    """Its passes are not inside ``noise.forward``."""

    def train_epoch(self, epoch: int, noise: EpochNoise) -> dict[str, Any]:
        loss = F.mse_loss(self.model(self.train[0]).squeeze(1), self.train[1])
        loss.backward()
        noise.before_step(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {}


class GivesParameters(Line):
    def named_parameters(self) -> Any:
        return self.model.parameters()


class UnknownLength(Line):
    @property
    def steps_per_epoch(self) -> int:
        return len(self.loader)  # type: ignore[attr-defined,no-any-return]


class TakesOptionsOut(Line):
    """It changes the configuration that it is given."""

    def setup(self, config: TrainConfig, seed: int) -> None:
        super().setup(config, seed)
        config.task.options.clear()


class GivesItsWeights(Line):
    """Its weights are no copy."""

    def weights(self) -> Any:
        return self.state_dict()


class Diverges(Line):
    def validate(self) -> dict[str, Any]:
        return {"mse": float("nan"), "worst": 0.0}


class LikelihoodAsLoss(Line):
    metrics: ClassVar[Mapping[str, TaskMetric]] = {"mse": TaskMetric("max", "nats")}


class ErrorAsAccuracy(Line):
    metrics: ClassVar[Mapping[str, TaskMetric]] = {
        **Line.metrics,
        "accuracy": TaskMetric("min", "share"),
    }


class NamesARate(Line):
    metrics: ClassVar[Mapping[str, TaskMetric]] = {**Line.metrics, "lr": TaskMetric("min", "1")}


class WithoutTest(Task):
    metrics: ClassVar[Mapping[str, TaskMetric]] = Line.metrics


class NoTask:
    """Not even a subclass."""


def task_config(kind: type, **changes: Any) -> TrainConfig:
    """A run of six epochs of a class of this module."""
    task = TaskConfig(name=f"{__name__}:{kind.__name__}")
    return TrainConfig(**{"epochs": 6, **changes}, task=described(task))
