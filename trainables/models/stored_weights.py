"""A file of weights that somebody else trained: read without running anything that is in it.

What ``torch.save`` wrote (``weights_only``), a state dict or a checkpoint that holds one, or
safetensors.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from trainables.errors import InputError
from trainables.paths import check_regular, given_path

_HOLDERS = ("model", "state_dict", "model_state_dict")
"""Under which name checkpoints hold a state dict."""

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every name."""

_REMEDY = "give a state dict as torch.save writes it, a checkpoint with one, or .safetensors"


def read_weights(file: str, recorded: str | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file by name, on the CPU, and the file's hash (SHA-256).

    Args:
        recorded: the hash that the file must have.
    """
    where = f"model.weights (--weights) = {file!r}"
    path = given_path(file, "model.weights (--weights)")
    try:
        check_regular(path)
        with path.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{where}: can't be read: {error.strerror or error}") from None
    if recorded not in (None, content):
        raise InputError(
            f"{where}: it is not the file that this configuration was made with (model.content); "
            "restore that one, or remove model.content from the configuration and begin anew"
        )
    found = _safetensors(path, where) if path.suffix == ".safetensors" else _torch(path, where)
    tensors = state_dict_in(found)
    if tensors is None:
        raise InputError(f"{where}: holds no model's weights (a {type(found).__name__}); {_REMEDY}")
    return dict(tensors), content


def state_dict_in(found: object) -> Mapping[str, Tensor] | None:
    """The state dict that a file held, or that a checkpoint in it holds; None if there is none."""
    candidates = [found]
    if isinstance(found, dict):
        candidates += [found[key] for key in _HOLDERS if key in found]
    return next((each for each in candidates if is_state_dict(each)), None)


def is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
            for name, tensor in value.items()
        )
    )


def namings(
    classifier: str, model: nn.Module, stored: Mapping[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """The tensors as this classifier may have them, ``unwrapped`` and not.

    With the names of today, and for grey images where the model's are.
    """
    for tensors in unwrapped(stored):
        named = densenet_names(tensors) if classifier.startswith("densenet") else tensors
        yield to_channels_of(model, named)


def unwrapped(stored: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors as they are named, then without one wrapper after the other round all names.

    Only a model tells which it is: it may well have a part of its own called ``model``.
    """
    tensors = dict(stored)
    while True:
        yield tensors
        wrapper = next((w for w in WRAPPERS if all(n.startswith(w) for n in tensors)), None)
        if wrapper is None:
            return
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}


def _torch(path: Path, where: str) -> Any:
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # Unpickling what is foreign may raise anything.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # torch goes on to say how such a file could be run.
        reason = lines[0].partition(". ")[0][:200]
        raise InputError(f"{where}: can't be read as weights ({reason}); {_REMEDY}") from None


def _safetensors(path: Path, where: str) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(
            f"{where}: safetensors can't be imported ({error}); pip install 'noise-study[timm]', "
            "on every node of a cluster"
        ) from None
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{where}: can't be read as safetensors ({error}); {_REMEDY}") from None


def to_channels_of(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, of RGB images, for a ``model`` whose images may be grey."""
    first = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first[1].in_channels != 1:
        return state
    key = f"{first[0]}.weight"
    stored = state.get(key)
    if stored is None or stored.ndim != 4 or stored.shape[1] != 3:
        return state
    return {**state, key: stored.sum(1, keepdim=True)}


def densenet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a DenseNet by the names that they have today."""
    return {_densenet_name(key): tensor for key, tensor in state.items()}


def _densenet_name(key: str) -> str:
    """``denselayer1.norm.1.weight``, as in torchvision's old files, → ``denselayer1.norm1.weight``.

    torchvision renames them in its own loader, which needs a model of the original shapes.
    """
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)
