"""An optimizer, a learning-rate schedule and an augmentation of one's own.

Run it: noise-study run --optimizer examples.own_training:lion --lr 0.0005 --wd 0.1 \
    --lr-schedule examples.own_training:trapezoid --augment examples.own_training:erased --trials 8

As a script it shows what these three do, and trains with them.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def lion(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> "Lion":
    """Lion (Chen and others, 2023) without decay of biases and of norms' weights."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return Lion(groups, lr)


class Lion(torch.optim.Optimizer):
    """The sign of a momentum, which is all that its state holds."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(torch.lerp(momentum, p.grad, 0.1).sign_(), alpha=group["lr"])
                momentum.lerp_(p.grad, 0.01)


def trapezoid(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    """Up over a tenth of the budget, down over its last fifth."""
    done = (step + 1) / (steps_per_epoch * epochs)
    return lr * min(1.0, done / 0.1, (1.05 - done) / 0.25)


def erased(images: Tensor, generator: torch.Generator) -> Tensor:
    """A grey square in each image: uint8 (batch, channels, height, width)."""
    side = images.shape[-1] // 4
    places = torch.randint(0, images.shape[-1] - side + 1, (len(images), 2), generator=generator)
    for image, (top, left) in zip(images, places.tolist(), strict=True):
        image[:, top : top + side, left : left + side] = 128
    return images


def main() -> None:
    from study.api import SingleRunOptions, train_run
    from trainables.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig

    rates = [trapezoid(step, steps_per_epoch=10, epochs=10, lr=1.0) for step in (0, 50, 99)]
    print("rate at the start, in the middle, at the end:", *(round(rate, 3) for rate in rates))
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = lion([weight], lr=0.1, weight_decay=0.0)
    weight.grad = torch.tensor([[3.0, -0.1], [0.0, 1e-6]])
    optimizer.step()
    print("weights after a step:", weight.detach().flatten().tolist())
    images = erased(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), torch.Generator().manual_seed(0))
    print("grey pixels:", int((images == 128).sum()) // 3)
    config = TrainConfig(
        data=DataConfig(image_size=16, channels=1, batch_size=64, augment="own_training:erased"),
        model=ModelConfig(classifier="TinyCNN"),
        optimizer=OptimizerConfig(
            optimizer="own_training:lion",
            lr=0.001,
            weight_decay=0.1,
            lr_schedule="own_training:trapezoid",
        ),
        epochs=3,
    )
    result = train_run(config, SingleRunOptions(save_as="lion"))
    print(f"accuracy of a training with all three: {result.metrics['test_accuracy']:.3f}")


if __name__ == "__main__":
    main()
