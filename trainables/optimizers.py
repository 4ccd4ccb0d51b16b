"""torch's own SGD and Adam, as the method uses them, without torch's compiler."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trainables.config import OptimizerConfig
from trainables.torch_parts import leave_the_compiler_out, undecorated

leave_the_compiler_out()


class _SGD(torch.optim.SGD):
    step = undecorated(torch.optim.SGD.step)


class _Adam(torch.optim.Adam):
    step = undecorated(torch.optim.Adam.step)


_OPTIMIZERS: dict[str, tuple[type[Any], Callable[[OptimizerConfig], dict[str, Any]]]] = {
    "SGD": (
        _SGD,
        lambda config: {"momentum": config.momentum, "nesterov": config.momentum > 0},
    ),
    "Adam": (_Adam, lambda config: {"betas": (config.beta1, config.beta2)}),
}
"""By name: the class, and the settings that it has besides the rate and the decay."""


def make_optimizer(
    config: OptimizerConfig, parameters: list[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """SGD (Nesterov when momentum > 0) or Adam, with L2 decay as in torch's own."""
    kind, settings = _OPTIMIZERS[config.optimizer]
    optimizer: torch.optim.Optimizer = kind(
        parameters,
        lr=config.lr,
        weight_decay=config.weight_decay,
        # On a GPU one fused kernel replaces several launches a tensor.
        fused=True if device.type == "cuda" else None,
        **settings(config),
    )
    return optimizer
