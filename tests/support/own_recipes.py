"""Optimizers, schedules and augmentations of one's own: sound ones, and some of each fault."""

import math
import random as global_random
from typing import Any

import torch
from torch import Tensor, nn

# --- optimizers ------------------------------------------------------------------------------


class SignMomentum(torch.optim.Optimizer):
    """Steps by the sign of a momentum; biases have no decay, and half the rate."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "lr": lr / 2},
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["mean"] = torch.zeros_like(p)
                mean = state["mean"].lerp_(p.grad, 0.1)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(mean.sign(), alpha=group["lr"])


def leaves_out(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> Any:
    return torch.optim.SGD(parameters[1:], lr=lr)


def raises(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> Any:
    raise RuntimeError("nothing to optimize")


def returns_a_list(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> Any:
    return [p.grad for p in parameters]


def needs_a_closure(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> Any:
    return torch.optim.LBFGS(parameters, lr=lr)


class Forgets(torch.optim.SGD):
    """Its state_dict lacks the count that its steps depend on."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, lr=lr)
        self._count = 0

    def step(self, closure: Any = None) -> None:
        self._count += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(p.grad, alpha=group["lr"] / self._count)


class Random(torch.optim.SGD):
    def __init__(self, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, lr=lr)

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.data.add_(global_random.random())


class Explodes(Random):
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.data.fill_(math.nan)


class _Odd:
    pass


class KeepsAnObject(SignMomentum):
    def step(self, closure: Any = None) -> None:
        super().step()
        for state in self.state.values():
            state["odd"] = _Odd()


# --- schedules -------------------------------------------------------------------------------


def inverse_root(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    return lr / math.sqrt(1 + step / steps_per_epoch)


def raises_late(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    return lr / abs(step - 20)


def negative(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    return lr - step


def not_a_number(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    return math.nan


def a_text(step: int, steps_per_epoch: int, epochs: int, lr: float) -> Any:
    return "fast"


def zero(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    return 0.0


_seen: list[int] = []


def counts(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    _seen.append(step)
    return lr / len(_seen)


# --- augmentations ---------------------------------------------------------------------------


def erase(images: Tensor, generator: torch.Generator) -> Tensor:
    """A black square in each image, at a place that the generator draws."""
    for image in images:
        top, left = torch.randint(0, 24, (2,), generator=generator).tolist()
        image[:, top : top + 8, left : left + 8] = 0
    return images


def jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """One of torchvision's, which draws from torch's global generator; floats of 0 to 1."""
    from torchvision.transforms import v2

    jitter = v2.ColorJitter(brightness=0.5)
    return torch.stack([jitter(image) for image in v2.functional.to_dtype(images, scale=True)])


def smaller(images: Tensor, generator: torch.Generator) -> Tensor:
    return images[:, :, 1:, :]


def raises_on_images(images: Tensor, generator: torch.Generator) -> Tensor:
    raise ValueError("no pictures today")


def no_tensor(images: Tensor, generator: torch.Generator) -> Any:
    return images.numpy()


def integers(images: Tensor, generator: torch.Generator) -> Tensor:
    return images.long()


def nan_pixels(images: Tensor, generator: torch.Generator) -> Tensor:
    return images / 0.0 * 0.0


def of_255(images: Tensor, generator: torch.Generator) -> Tensor:
    return images.float()


def normalised(images: Tensor, generator: torch.Generator) -> Tensor:
    return images / 127.5 - 1


def raises_a_batch(images: Tensor, generator: torch.Generator) -> Tensor:
    raise TypeError(images)


def otherwise(images: Tensor, generator: torch.Generator) -> Tensor:
    return (images + global_random.randrange(1, 200)).to(torch.uint8)


# --- what goes wrong only later --------------------------------------------------------------


class TiresLater(SignMomentum):
    """Sound for as long as it is tried beforehand."""

    def step(self, closure: Any = None) -> None:
        super().step()
        # Counted by a state that is saved.
        for group in self.param_groups:
            group["count"] = group.get("count", 0) + 1
            if group["count"] > 9:
                raise RuntimeError("out of breath")


def smaller_later(images: Tensor, generator: torch.Generator) -> Tensor:
    return images[:, :, 1:, :] if len(images) > 4 else images


def nan_later(step: int, steps_per_epoch: int, epochs: int, lr: float) -> float:
    return math.nan if steps_per_epoch != 10 and step > 8 else lr
