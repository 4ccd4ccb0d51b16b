"""The optimisers are torch's own, bit for bit, and leave torch's compiler out of the process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables.config import OptimizerConfig
from trainables.optimizers import make_optimizer

STEPS = 5
CPU = torch.device("cpu")

TORCHS: list[tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = [
    ({"optimizer": "SGD", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ({"optimizer": "SGD", "momentum": 0.0}, torch.optim.SGD, {}),
    ({"optimizer": "Adam", "beta1": 0.8, "beta2": 0.99}, torch.optim.Adam, {"betas": (0.8, 0.99)}),
]


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        model(torch.randn(6, 3, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(("settings", "kind", "own"), TORCHS)
def test_steps_are_those_of_torch(
    settings: dict[str, Any], kind: type[torch.optim.Optimizer], own: dict[str, Any]
) -> None:
    ours, torchs = net(), net()
    config = OptimizerConfig(lr=0.05, weight_decay=0.01, **settings)
    optimizer = make_optimizer(config, list(ours.parameters()), CPU)
    steps(ours, optimizer, 0, 2)
    # Interrupted: the state goes into another one.
    other = make_optimizer(config, list(ours.parameters()), CPU)
    other.load_state_dict(optimizer.state_dict())
    steps(ours, other, 2, STEPS)
    steps(torchs, kind(torchs.parameters(), lr=0.05, weight_decay=0.01, **own), 0, STEPS)
    for mine, theirs in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(next(iter(ours.parameters())), next(iter(net().parameters())))
    assert next(iter(ours.parameters())).grad is None


def test_a_run_on_the_cpu_goes_without_the_compiler() -> None:
    code = (
        "import sys\n"
        "from tests.support.runs import device_data\n"
        "from trainables.config import TrainConfig\n"
        "from trainables.tasks.image_task import ImageTraining\n"
        "data = dict(dataset='synthetic', synthetic_train=64, synthetic_test=32, batch_size=16)\n"
        "for optimizer in ('SGD', 'Adam'):\n"
        "    values = dict(data=data, epochs=2, optimizer=dict(optimizer=optimizer))\n"
        "    config = TrainConfig.model_validate(values)\n"
        "    training = ImageTraining(config, device_data(config))\n"
        "    training.run_epoch()\n"
        "    other = ImageTraining(config, device_data(config))\n"
        "    other.load_state_dict(training.state_dict())\n"
        "    other.run_epoch()\n"
        "assert not {'torch._dynamo', 'torch._inductor', 'triton'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=120)
