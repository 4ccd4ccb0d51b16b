"""The loop that a careful user writes: PIL images, torchvision's transforms, a DataLoader.

It trains what ours trains and records the statistics of METHOD, section 2, the way tutorials do:
norms parameter by parameter, every statistic read with ``.item()`` at every step. It knows none
of the project's tricks, and its processes start with the environment of a plain shell.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.child import wait_for_start
from benchmarks.images import MEAN, STD, raw_images
from trainables.config import TrainConfig
from trainables.lr_schedule import learning_rate
from trainables.metrics import EpochMetrics
from trainables.noise.controller import NoiseController
from trainables.noise_config import NoiseConfig


class BabyCNN(nn.Module):
    """The method's network, as one writes it down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.fc1 = nn.Linear(8 * 16 * 16, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc1(F.max_pool2d(F.relu(self.conv1(images)), 2).flatten(1))
        return logits


class TinyCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 8 * 8, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.conv1(images)), 2)
        maps = F.max_pool2d(F.relu(self.conv2(maps)), 2)
        logits: Tensor = self.fc2(F.relu(self.fc1(maps.flatten(1))))
        return logits


MODELS: dict[str, type[nn.Module]] = {"BabyCNN": BabyCNN, "TinyCNN": TinyCNN}


class Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold them: PIL images made on access, then transforms."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, *, augment: bool) -> None:
        self._pixels = pixels
        self._labels = labels.tolist()
        steps: list[Any] = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        if augment:
            steps = [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                *steps,
            ]
        self._transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self._pixels[index])
        return self._transform(image), self._labels[index]


class ConventionalRun:
    """One run: ``epochs()`` yields the same statistics as the project's loop."""

    def __init__(
        self,
        config: TrainConfig,
        images: tuple[np.ndarray, np.ndarray],
        validation: tuple[np.ndarray, np.ndarray],
        workers: int,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        shared: dict[str, Any] = {
            "batch_size": config.data.batch_size,
            "num_workers": workers,
            "persistent_workers": workers > 0,
        }
        self.train_loader = DataLoader(
            Images(*images, augment=True), shuffle=True, drop_last=True, **shared
        )
        self.val_loader = DataLoader(Images(*validation, augment=False), **shared)
        self.model = MODELS[config.model.classifier]()
        settings = config.optimizer
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.weight_decay,
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._factor)
        self.controller = NoiseController(config.noise, config.epochs)
        self.history: list[EpochMetrics] = []

    def _factor(self, step: int) -> float:
        settings, steps = self.config.optimizer, len(self.train_loader)
        rate = learning_rate(settings, step, steps_per_epoch=steps, epochs=self.config.epochs)
        return rate / settings.lr

    def epochs(self) -> Iterator[EpochMetrics]:
        while len(self.history) < self.config.epochs:
            self.history.append(self.run_epoch())
            yield self.history[-1]

    def run_epoch(self, max_steps: int | None = None) -> EpochMetrics:
        injection = self.controller.step(self.history)
        kind, sigma = injection.kind, injection.magnitude
        before = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.model.train()
        losses, norms, correct, seen = 0.0, 0.0, 0, 0
        steps = 0
        for images, labels in self.train_loader:
            logits, loss, norm = self._backward(images, labels, kind, sigma)
            self.optimizer.step()
            rate = self.optimizer.param_groups[0]["lr"]
            self.scheduler.step()
            norms += norm
            losses += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum().item())
            seen += len(labels)
            steps += 1
            if steps == max_steps:
                break
        update = 0.0
        for parameter, old in zip(self.model.parameters(), before, strict=True):
            update += (parameter.detach() - old).norm().item() ** 2
        val_loss, val_accuracy = self.validate() if max_steps is None else (0.0, 0.0)
        return EpochMetrics(
            epoch=len(self.history),
            train_loss=losses / seen,
            train_accuracy=correct / seen,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            grad_norm=norms / steps,
            weight_update_norm=math.sqrt(update),
            lr=rate,
            **injection.recorded(),
        )

    def _backward(
        self, images: Tensor, labels: Tensor, kind: str, sigma: float
    ) -> tuple[Tensor, Tensor, float]:
        """A batch's gradient with noise: logits, loss, and its norm before the noise."""
        batch, targets = images, labels
        clean: list[Tensor] = []
        if kind == "input":
            batch = batch + self._noise_like(batch, sigma)
        elif kind == "label":
            random = torch.rand(len(labels)) < min(sigma, 0.5)
            targets = torch.where(random, torch.randint(10, labels.shape), labels)
        elif kind == "weight":
            clean = [parameter.detach().clone() for parameter in self.model.parameters()]
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.add_(self._noise_like(parameter, sigma))
        self.optimizer.zero_grad()
        logits = self.model(batch)
        loss = F.cross_entropy(logits, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), clean, strict=False):
                parameter.copy_(value)
        total = 0.0
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                total += parameter.grad.norm().item() ** 2
                if kind == "gradient":
                    parameter.grad.add_(self._noise_like(parameter.grad, sigma))
        return logits, loss, math.sqrt(total)

    def _noise_like(self, tensor: Tensor, sigma: float) -> Tensor:
        noise: NoiseConfig = self.config.noise
        scale = (
            sigma * tensor.detach().pow(2).mean().sqrt() if noise.scaling == "relative" else sigma
        )
        drawn = (
            torch.randn_like(tensor)
            if noise.distribution == "gaussian"
            else (torch.rand_like(tensor) * 2 - 1) * math.sqrt(3)
        )
        return drawn.detach() * scale

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        self.model.eval()
        loss, correct, seen = 0.0, 0, 0
        for images, labels in self.val_loader:
            logits = self.model(images)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum().item())
            seen += len(labels)
        return loss / seen, correct / seen


def throughput(
    *, classifier: str, train: int, val: int, batch: int, epochs: int, threads: int, workers: int
) -> float:
    """Images a second of training, validation included, of one run with all threads."""
    torch.set_num_threads(threads)
    config = TrainConfig.model_validate(
        {
            "model": {"classifier": classifier},
            "data": {"batch_size": batch},
            "optimizer": {"lr": 0.01},
            "epochs": max(epochs, 1),
        }
    )
    images, labels = raw_images(train + val)
    run = ConventionalRun(
        config, (images[:train], labels[:train]), (images[train:], labels[train:]), workers
    )
    run.run_epoch(max_steps=3)  # the workers' start and torch's first calls are not counted
    wait_for_start()
    began = time.perf_counter()
    list(run.epochs())
    return epochs * len(run.train_loader) * batch / (time.perf_counter() - began)
