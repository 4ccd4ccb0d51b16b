"""A task of one's own: regression on a table, scikit-learn's diabetes.

Run it: noise-study run --task examples.tabular_task:Diabetes --epochs 30 --trials 8
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn import functional as F

from trainables.config import TrainConfig
from trainables.metrics import TaskMetric
from trainables.noise.epoch_noise import EpochNoise
from trainables.random_streams import generator
from trainables.tasks.task import Task


class Diabetes(Task):
    """A small network predicts how far the disease has gone a year later (25 to 346)."""

    # Targets are standardised: a mean squared error of 1 is that of predicting the mean.
    metrics: ClassVar[Mapping[str, TaskMetric]] = {
        "mse": TaskMetric("min", "squared standard deviations", worst=1.0, margin=0.01),
        "mae": TaskMetric("min", "points of the score", worst=66.0, margin=0.5),
    }
    signals: ClassVar[Mapping[str, str]] = {"loss": "mse"}

    def setup(self, config: TrainConfig, seed: int) -> None:
        options = {"lr": 0.02, "batch": 32, "hidden": 32, **config.task.options}
        self.seed, self.batch = seed, int(options["batch"])
        table, target = load_diabetes(return_X_y=True)
        order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
        self.scale = float(target.std())
        x = torch.tensor(table, dtype=torch.float32)[order] / 0.0476
        y = torch.tensor((target - target.mean()) / self.scale, dtype=torch.float32)[order]
        self.train, self.val, self.held = ((x[part], y[part]) for part in self._parts(len(x)))
        hidden = int(options["hidden"])
        self.model = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=float(options["lr"]), momentum=0.9
        )

    @staticmethod
    def _parts(count: int) -> tuple[slice, slice, slice]:
        return slice(0, count - 160), slice(count - 160, count - 80), slice(count - 80, count)

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train[0]) // self.batch

    def train_epoch(self, epoch: int, noise: EpochNoise) -> dict[str, float]:
        x, y = self.train
        order = torch.randperm(len(x), generator=generator(self.seed, "data", epoch))
        for rows in order.split(self.batch)[: self.steps_per_epoch]:
            with noise.forward(x[rows], y[rows]) as (inputs, targets):
                loss = F.mse_loss(self.model(inputs).squeeze(1), targets)
                loss.backward()
            noise.before_step(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return {}

    @torch.inference_mode()
    def _measured(self, part: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
        errors = self.model(part[0]).squeeze(1) - part[1]
        return {"mse": float((errors**2).mean()), "mae": float(errors.abs().mean()) * self.scale}

    def validate(self) -> dict[str, float]:
        return self._measured(self.val)

    def test(self) -> dict[str, float]:
        return self._measured(self.held)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def named_parameters(self) -> Any:
        return self.model.named_parameters()
