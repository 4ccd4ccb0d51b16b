"""torch's own SGD and Adam, as the method uses them, without torch's compiler.

torch imports its compiler (torch._dynamo, which brings triton) with the first optimiser of a
process. Nothing is compiled here, and each worker would pay over a second and 100 MB for it.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trainables.config import OptimizerConfig


def _leave_the_compiler_out() -> None:
    """Let the optimisers' methods that are hidden from the compiler run as they are.

    torch keeps the hidden version of each at this name, and imports the compiler to make it.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        plain = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if plain is not None:
            plain.__dict__.setdefault("__dynamo_disable", plain)


def _undecorated(step: Callable[..., Any]) -> Callable[..., Any]:
    """An optimiser's ``step`` as it was before torch's decorator, which does this and more.

    The decorator switches gradients off, and imports the compiler to tell it so.
    """
    return torch.no_grad()(inspect.unwrap(step))


_leave_the_compiler_out()


class _SGD(torch.optim.SGD):
    step = _undecorated(torch.optim.SGD.step)


class _Adam(torch.optim.Adam):
    step = _undecorated(torch.optim.Adam.step)


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
