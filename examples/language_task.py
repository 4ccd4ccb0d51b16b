"""A task of one's own: a character-level language model of Python's own help texts.

Run it: noise-study run --task examples.language_task:HelpTexts --epochs 20 --trials 8
"""

import copy
from collections.abc import Mapping
from pydoc_data.topics import topics
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from trainables.config import TrainConfig
from trainables.metrics import TaskMetric
from trainables.noise.epoch_noise import EpochNoise
from trainables.random_streams import generator
from trainables.tasks.task import Task

_LENGTH = 32


class HelpTexts(Task):
    """A GRU predicts the next character; perplexity is measured beside the loss."""

    metrics: ClassVar[Mapping[str, TaskMetric]] = {
        "loss": TaskMetric("min", "nats a character", worst=3.5, margin=0.01),
        "perplexity": TaskMetric("min", "characters", worst=33.0, margin=0.1),
    }

    def setup(self, config: TrainConfig, seed: int) -> None:
        options = {"lr": 3e-3, "batch": 32, "width": 48, "characters": 20_000}
        options |= config.task.options
        self.seed, self.batch = seed, int(options["batch"])
        text = "".join(topics[name] for name in sorted(topics))[: int(options["characters"])]
        letters = sorted(set(text))
        numbers = torch.tensor([letters.index(letter) for letter in text])
        pieces = numbers[: len(numbers) // (_LENGTH + 1) * (_LENGTH + 1)].view(-1, _LENGTH + 1)
        mixed = pieces[torch.randperm(len(pieces), generator=torch.Generator().manual_seed(0))]
        part = len(mixed) // 10
        self.held, self.val, self.train = mixed[:part], mixed[part : 2 * part], mixed[2 * part :]
        width = int(options["width"])
        self.model = nn.ModuleDict(
            {
                "embed": nn.Embedding(len(letters), width),
                "recur": nn.GRU(width, width, batch_first=True),
                "drop": nn.Dropout(0.1),
                "out": nn.Linear(width, len(letters)),
            }
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=float(options["lr"]))

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train) // self.batch

    def _loss(self, pieces: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.model["recur"](self.model["embed"](pieces))
        logits = self.model["out"](self.model["drop"](hidden))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def train_epoch(self, epoch: int, noise: EpochNoise) -> dict[str, float]:
        self.model.train()
        order = torch.randperm(len(self.train), generator=generator(self.seed, "data", epoch))
        for rows in order.split(self.batch)[: self.steps_per_epoch]:
            pieces = self.train[rows]
            with noise.forward(pieces[:, :-1], pieces[:, 1:]) as (seen, following):
                loss = self._loss(seen, following)
                loss.backward()
            noise.before_step(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return {}

    @torch.inference_mode()
    def _measured(self, pieces: torch.Tensor) -> dict[str, float]:
        self.model.eval()
        loss = self._loss(pieces[:, :-1], pieces[:, 1:])
        return {"loss": float(loss), "perplexity": float(loss.exp())}

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
