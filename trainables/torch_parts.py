"""Everything that touches torch's private parts, each with its reason."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# torch imports its compiler (torch._dynamo, which brings triton) with the first optimiser of a
# process. Nothing is compiled here, and each worker would pay over a second and 100 MB for it.


def leave_the_compiler_out() -> None:
    """Let the optimisers' methods that torch hides from its compiler run as they are.

    torch keeps the hidden version of each under this name, and imports the compiler to make it.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        plain = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if plain is not None:
            plain.__dict__.setdefault("__dynamo_disable", plain)


def undecorated(step: Callable[..., Any]) -> Callable[..., Any]:
    """An optimiser's ``step`` without torch's decorator.

    The decorator switches gradients off, and imports the compiler to tell it so. Here only the
    first is left.
    """
    return torch.no_grad()(inspect.unwrap(step))


# One kernel over many tensors instead of one for each. torch has these under private names only;
# its own optimisers and its clipping of gradients are made of them.


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The Euclidean norm of each tensor."""
    return list(torch._foreach_norm(list(tensors)))


def copy_(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """tensor = other, in place and without a gradient."""
    if tensors:
        with torch.no_grad():
            torch._foreach_copy_(list(tensors), list(others))


def subtract_(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """tensor −= other, in place."""
    torch._foreach_sub_(list(tensors), list(others))


def add_(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """tensor += other, in place."""
    torch._foreach_add_(list(tensors), list(others))


def add_scaled_(
    tensors: Sequence[Tensor],
    others: Sequence[Tensor],
    lengths: Sequence[Tensor],
    factors: Sequence[float],
) -> None:
    """tensor += other · (length · factor), in place, with one length and factor a tensor."""
    scales = torch._foreach_mul(list(lengths), list(factors))
    torch._foreach_addcmul_(list(tensors), list(others), scales)


def lerp_(tensors: Sequence[Tensor], others: Sequence[Tensor], share: float) -> None:
    """tensor += share · (other − tensor), in place."""
    if tensors:
        torch._foreach_lerp_(list(tensors), list(others), share)
