"""torch's own SGD, Adam and AdamW, without torch's compiler; and one's own, by dotted name."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainables.checkpoint import decode, encode
from trainables.code_identity import is_own
from trainables.errors import FOREIGN, CheckpointError, InputError
from trainables.optimizer_config import OptimizerConfig
from trainables.own_import import import_own
from trainables.torch_parts import leave_the_compiler_out, undecorated

leave_the_compiler_out()


class _SGD(torch.optim.SGD):
    step = undecorated(torch.optim.SGD.step)


class _Adam(torch.optim.Adam):
    step = undecorated(torch.optim.Adam.step)


class _AdamW(torch.optim.AdamW):
    step = undecorated(torch.optim.AdamW.step)


def _betas(config: OptimizerConfig) -> dict[str, Any]:
    return {"betas": (config.beta1, config.beta2)}


_OPTIMIZERS: dict[str, tuple[type[Any], Callable[[OptimizerConfig], dict[str, Any]]]] = {
    "SGD": (
        _SGD,
        lambda config: {
            "momentum": config.momentum,
            "nesterov": config.nesterov and config.momentum > 0,
        },
    ),
    "Adam": (_Adam, _betas),
    "AdamW": (_AdamW, _betas),
}
"""By the names of ``optimizer_config.OPTIMIZERS``: the class, and the settings that it has besides
the rate and the decay."""


def make_optimizer(
    config: OptimizerConfig, parameters: list[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """SGD or Adam with L2 decay, AdamW with decoupled decay, as torch's own; or one's own."""
    if is_own(config.optimizer):
        return _own_optimizer(config, parameters)
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


def make_step(config: OptimizerConfig, optimizer: torch.optim.Optimizer) -> None:
    """One step; what one's own optimizer raises in it is told by its name."""
    if not is_own(config.optimizer):
        optimizer.step()
        return
    try:
        optimizer.step()
    except torch.cuda.OutOfMemoryError:
        raise
    except FOREIGN as error:
        raise InputError(
            f"optimizer = {config.optimizer!r}: in step(), it raised "
            f"{type(error).__name__}: {error}"
        ) from error


def _own_optimizer(
    config: OptimizerConfig, parameters: list[nn.Parameter]
) -> torch.optim.Optimizer:
    where = f"optimizer = {config.optimizer!r}"
    function = import_own(
        "optimizer",
        config.optimizer,
        "a function or class of parameters, lr and weight_decay that returns a "
        "torch.optim.Optimizer",
    )
    try:
        made = function(list(parameters), lr=config.lr, weight_decay=config.weight_decay)
    except FOREIGN as error:
        raise InputError(
            f"{where}: called with parameters, lr = {config.lr:g} and weight_decay = "
            f"{config.weight_decay:g}, it raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise InputError(
            f"{where}: it must return a torch.optim.Optimizer, not {type(made).__name__}"
        )
    held = [id(p) for group in made.param_groups for p in group["params"]]
    if sorted(held) != sorted(map(id, parameters)):
        raise InputError(
            f"{where}: it must train the {len(parameters)} parameters that it is given, each "
            f"once; its groups hold {len(held)}"
        )
    for group in made.param_groups:
        if "lr" not in group:
            raise InputError(
                f"{where}: a group of its parameters has no 'lr', which the schedule sets"
            )
        # As torch's schedulers keep it: a group's rate stays in proportion to the others'.
        group.setdefault("initial_lr", group["lr"])
    return made


_STEPS = 6
"""Steps that one's own optimizer is tried for."""


def check_optimizer(config: OptimizerConfig) -> None:
    """Refuse one's own optimizer that can't step, be repeated or be resumed: tried on a toy."""
    if not is_own(config.optimizer):
        return
    where = f"optimizer = {config.optimizer!r}"
    with torch.random.fork_rng(devices=[]):
        first, again, resumed = _tried(config), _tried(config), _tried(config, resume=True)
    if not all(bool(torch.isfinite(p).all()) for p in first):
        raise InputError(
            f"{where}: after {_STEPS} steps with gradients of about 1, weights are not finite; "
            f"its rate may be too high (--lr {config.lr:g})"
        )
    if not _equal(first, again):
        raise InputError(
            f"{where}: the same steps give other weights when they are repeated; what is random "
            "in it must come from torch's global generator, which is seeded"
        )
    if not _equal(first, resumed):
        raise InputError(
            f"{where}: it goes on with other weights after its state was saved and loaded; its "
            "state_dict must hold all that its steps depend on"
        )


def _tried(config: OptimizerConfig, *, resume: bool = False) -> list[Tensor]:
    """The weights of a toy after some steps; ``resume``: half-way by another optimizer."""
    draws = torch.Generator().manual_seed(1)
    shapes = ((4, 3, 3, 3), (5, 4), (5,))
    weights = [nn.Parameter(torch.randn(shape, generator=draws)) for shape in shapes]
    optimizer = _own_optimizer(config, weights)
    for step in range(_STEPS):
        if resume and step == _STEPS // 2:
            state = _kept(config, optimizer)
            optimizer = _own_optimizer(config, weights)
            optimizer.load_state_dict(state)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=draws)
        torch.manual_seed(step)
        make_step(config, optimizer)
    return [weight.detach() for weight in weights]


def _kept(config: OptimizerConfig, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Its state, as a checkpoint gives it back."""
    try:
        state: dict[str, Any] = decode(encode(optimizer.state_dict()))
    except (CheckpointError, TypeError, AttributeError) as error:
        raise InputError(
            f"optimizer = {config.optimizer!r}: its state_dict can't be kept in a checkpoint "
            f"({error}); it may hold tensors, numbers, texts, lists and mappings only"
        ) from None
    return state


def _equal(some: list[Tensor], others: list[Tensor]) -> bool:
    # By their bits: NaN is equal to NaN.
    return all(
        torch.equal(one.view(torch.int32), other.view(torch.int32))
        for one, other in zip(some, others, strict=True)
    )
