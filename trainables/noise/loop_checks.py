"""Whether the noise can be right in a loop of one's own; what can't be is refused with a reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import DataParallel, Parameter
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Optimizer

from trainables.config import TrainConfig
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.noise_config import NoiseConfig, possible_kinds
from trainables.settings import parse_config

Configuration = str | Path | TrainConfig | NoiseConfig | Mapping[str, Any]
"""A file that a study or ``noise-train`` wrote, or its content, or the noise's settings alone."""


def settings_of(config: Configuration) -> tuple[NoiseConfig, TrainConfig | None]:
    """The noise's settings; and the run's that they stand in, where they do."""
    if isinstance(config, NoiseConfig):
        return config, None
    if isinstance(config, TrainConfig):
        return config.noise, config
    where = str(config) if isinstance(config, (str, Path)) else ""
    values = read_mapping(config) if isinstance(config, (str, Path)) else dict(config)
    if "noise" not in values:
        return parse_config(NoiseConfig, values, where=where), None
    whole = parse_config(TrainConfig, values, where=where)
    return whole.noise, whole


def reads_validation(noise: NoiseConfig) -> bool:
    return noise.policy == "on_stagnation" and not {"val_loss_plateau", "overfitting"}.isdisjoint(
        noise.signals
    )


def check_model(model: nn.Module) -> dict[str, Parameter]:
    """The model's trainable parameters by their own names."""
    model = _unwrapped(model)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise InputError("model: it has no trainable parameter")
    if any(hasattr(p, "device_mesh") or hasattr(p, "_is_flat_param") for p in named.values()):
        raise InputError(
            "model: its parameters are sharded (FSDP, tensor parallelism), so that norms and the "
            "RMS of weights would be those of shards; use DistributedDataParallel, or one device"
        )
    devices = {str(p.device) for p in named.values()}
    if len(devices) > 1:
        raise InputError(f"model: its parameters lie on {' and '.join(sorted(devices))}; use one")
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
            raise InputError(f"model: {name} has sparse gradients; give sparse=False")
    return named


def _unwrapped(model: nn.Module) -> nn.Module:
    """Without what torch.compile and DDP put around it, in either order.

    By what it is, not by its names: a model may have a part called ``module`` itself.
    """
    while True:
        if isinstance(model, (DataParallel, DistributedDataParallel)):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
            model = compiled
        else:
            return model


def listed(optimizer: Optimizer | Sequence[Optimizer] | None) -> list[Optimizer]:
    if optimizer is None:
        return []
    return [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)


def rate_of(
    noise: NoiseConfig, optimizers: Sequence[Optimizer], whole: TrainConfig | None
) -> float | None:
    """How far a constant gradient of 1 moves a weight in a step; None where nothing asks for it."""
    if noise.scaling != "step" or "gradient" not in possible_kinds(noise):
        return None
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if not groups:
        rate = None if whole is None or whole.task.name else whole.optimizer.step_rate
        if rate is None:
            raise InputError(
                "noise.scaling = 'step': its unit needs the learning rate and the momentum; give "
                "AdaptiveNoise(…, optimizer=…)"
            )
        return rate
    if not all(isinstance(optimizer, SGD) for optimizer in optimizers):
        kinds = sorted({type(optimizer).__name__ for optimizer in optimizers})
        raise InputError(
            f"noise.scaling = 'step': its unit is that of SGD's steps, not of {', '.join(kinds)}; "
            "use 'relative' or 'absolute'"
        )
    rates = rates_of_groups(optimizers)
    if len(rates) > 1:
        raise InputError(
            "noise.scaling = 'step': the optimizers' groups have several learning rates or "
            "momenta, the unit is that of one; use 'relative' or 'absolute'"
        )
    return rates.pop()


def rates_of_groups(optimizers: Sequence[Optimizer]) -> set[float]:
    """How far a constant gradient of 1 moves a weight, by each group of SGD's parameters."""
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    return {
        float(group.get("initial_lr", group["lr"])) / (1.0 - group["momentum"]) for group in groups
    }


def check_batch(kinds: frozenset[str], x: Any, y: Any, classes: int | None) -> None:
    """Refuse a batch that the kinds of noise which may come can't perturb."""
    if "input" in kinds and not (isinstance(x, Tensor) and x.is_floating_point()):
        raise InputError(
            f"x: noise on inputs needs a floating-point tensor, not {_described(x)}; perturb "
            "another kind, or hand in what the first layer makes of it"
        )
    if "label" not in kinds:
        return
    whole = isinstance(y, Tensor) and y.dtype in (torch.int64, torch.int32) and y.dim() == 1
    if not whole:
        raise InputError(
            f"y: noise on labels needs classes (int64 or int32, (B,)), not {_described(y)}"
        )
    if classes is None:
        raise InputError("classes: noise on labels needs their number: AdaptiveNoise(…, classes=N)")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} with shape {tuple(value.shape)}"
    return type(value).__name__
