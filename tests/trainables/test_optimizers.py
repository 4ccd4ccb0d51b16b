"""The optimisers are torch's own, bit for bit, and leave torch's compiler out of the process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables.config import OptimizerConfig
from trainables.errors import InputError
from trainables.optimizer_config import check_read
from trainables.optimizers import check_optimizer, make_optimizer

STEPS = 5
CPU = torch.device("cpu")

TORCHS: list[tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = [
    ({"optimizer": "SGD", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ({"optimizer": "SGD", "momentum": 0.0}, torch.optim.SGD, {}),
    ({"optimizer": "SGD", "momentum": 0.9, "nesterov": False}, torch.optim.SGD, {"momentum": 0.9}),
    ({"optimizer": "AdamW", "beta1": 0.8}, torch.optim.AdamW, {"betas": (0.8, 0.999)}),
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
        "for optimizer in ('SGD', 'Adam', 'AdamW'):\n"
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


HERE = "tests.support.own_recipes"


def test_adamws_decay_is_decoupled() -> None:
    ours, l2 = net(), net()
    for model, kind in ((ours, "AdamW"), (l2, "Adam")):
        config = OptimizerConfig(optimizer=kind, lr=0.05, weight_decay=0.5)
        steps(model, make_optimizer(config, list(model.parameters()), CPU), 0, 1)
    assert not torch.equal(next(iter(ours.parameters())), next(iter(l2.parameters())))


def test_ones_own_optimizer_is_made_of_its_parameters_and_settings() -> None:
    model = net()
    config = OptimizerConfig(optimizer=f"{HERE}:SignMomentum", lr=0.02, weight_decay=0.1)
    check_optimizer(config)
    optimizer = make_optimizer(config, list(model.parameters()), CPU)
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.02, 0.01]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert config.step_rate is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("leaves_out", ["the 3 parameters", "its groups hold 2"]),
        ("raises", ["lr = 0.01", "RuntimeError: nothing to optimize"]),
        ("returns_a_list", ["must return a torch.optim.Optimizer, not list"]),
        ("needs_a_closure", ["in step(), it raised TypeError"]),
        ("Forgets", ["its state was saved and loaded", "state_dict"]),
        ("Random", ["when they are repeated"]),
        ("Explodes", ["not finite", "--lr 0.01"]),
        ("KeepsAnObject", ["can't be kept in a checkpoint"]),
        ("missing", ["has no 'missing'"]),
    ],
)
def test_what_is_no_optimizer_is_told_by_name(name: str, said: list[str]) -> None:
    before = torch.get_rng_state()
    with pytest.raises(InputError) as caught:
        check_optimizer(OptimizerConfig(optimizer=f"{HERE}:{name}"))
    for part in (f"optimizer = '{HERE}:{name}'", *said):
        assert part in str(caught.value)
    assert torch.equal(torch.get_rng_state(), before)


def test_nesterov_is_refused_where_an_option_gives_it_to_another_optimizer() -> None:
    adam = OptimizerConfig(optimizer="Adam", nesterov=False)
    with pytest.raises(InputError, match=r"\(--nesterov\) = False: it is for --optimizer SGD"):
        check_read(adam, ["train/optimizer/lr", "train/optimizer/nesterov"])
    # A file that was recorded so, or a grid of several optimizers.
    check_read(adam, ["train/optimizer/lr"])
    check_read(OptimizerConfig(nesterov=False), ["optimizer/nesterov"])
