"""The moving average of a model's weights, which is what is evaluated where there is one."""

import copy

import torch
from torch import Tensor, nn

from trainables.errors import InputError
from trainables.torch_parts import copy_, lerp_


class WeightAverage:
    """A second model whose weights follow those of the one that is trained.

    After its n-th step average = d·average + (1 − d)·weight, with d = min(decay, (1 + n)/(10 + n)).
    The factor grows with n, so that the initial weights, which have learned nothing, are forgotten
    at once. Buffers of floating-point numbers (BatchNorm's statistics) are averaged alike, others
    are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        try:
            self.model = copy.deepcopy(model)
        except Exception as error:
            raise InputError(
                f"optimizer.ema (--ema) = {decay:g}: the model can't be copied, which an average "
                f"of its weights needs ({type(error).__name__}: {error}); leave --ema out"
            ) from error
        self.model.requires_grad_(False)
        self._decay = decay
        own, theirs = self.model.state_dict(keep_vars=True), model.state_dict(keep_vars=True)
        # A tensor that several layers share has several names, and is averaged once.
        own = {name: own[name] for name in {id(own[name]): name for name in own}.values()}
        own = {name: tensor.detach() for name, tensor in own.items()}
        theirs = {name: theirs[name].detach() for name in own}
        averaged = [name for name, tensor in own.items() if tensor.is_floating_point()]
        copied = [name for name in own if name not in set(averaged)]
        self._averaged = ([own[n] for n in averaged], [theirs[n] for n in averaged])
        self._copied = ([own[n] for n in copied], [theirs[n] for n in copied])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the model after the step of this number, counted from 0."""
        n = step + 1
        decay = min(self._decay, (1 + n) / (10 + n))
        lerp_(*self._averaged, 1.0 - decay)
        copy_(*self._copied)

    def state_dict(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.model.state_dict()
        return state
