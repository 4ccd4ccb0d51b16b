"""Weights files: a state dict, and what it needs to be used again.

A file of ours is read by ``torch.load(path, weights_only=True)``: a dictionary with ``format``,
``config`` (JSON text), ``classes``, ``epoch``, ``metrics`` and ``model``, the state dict. A bare
state dict, as the reference stores it, is read too; it lacks the rest.
"""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.checkpoint import load_state
from trainables.code_identity import remember_named
from trainables.config import TrainConfig
from trainables.errors import CheckpointError, InputError
from trainables.files import write_atomically
from trainables.metrics import EpochMetrics
from trainables.models.stored_weights import is_state_dict, state_dict_in, unwrapped
from trainables.paths import check_regular

FORMAT = "noise-train weights 1"
"""Marks a weights file of this project."""

_SHOWN = 3


@dataclass(frozen=True)
class Weights:
    """What a weights file holds; of a bare state dict only ``model`` is known.

    Attributes:
        model: parameters and buffers by name, on the CPU.
        config: the configuration of the run, as JSON types.
        epoch: the epoch after which they were taken, counted from 0.
    """

    model: Mapping[str, Tensor]
    config: Mapping[str, Any] | None = None
    classes: tuple[str, ...] | None = None
    epoch: int | None = None


def write_weights(
    path: Path,
    config: TrainConfig,
    classes: Sequence[str],
    row: EpochMetrics,
    weights: Mapping[str, Tensor],
) -> None:
    """Write a weights file, whole or not at all; after an ``OSError`` an older file stays."""
    buffer = io.BytesIO()
    torch.save(
        {
            "format": FORMAT,
            "config": config.model_dump_json(),
            "classes": list(classes),
            "epoch": row.epoch,
            "metrics": row.to_dict(),
            "model": {name: tensor.cpu() for name, tensor in weights.items()},
        },
        buffer,
    )
    write_atomically(path, buffer.getvalue())


def read_weights(path: Path) -> Weights:
    """Read a weights file, a bare state dict, or the checkpoint that a run goes on from."""
    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"--checkpoint = {path}: can't be read: {error.strerror or error}"
        ) from None
    try:
        # What torch remarks about foreign files is answered below, in one message.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception:  # Unpickling what is damaged or foreign may raise anything.
        return _from_state(path)
    return _from_content(path, found)


def _from_state(path: Path) -> Weights:
    try:
        state = load_state(path)
    except CheckpointError:
        raise _no_checkpoint(path) from None
    if state.get("best_weights") is None:
        raise InputError(f"--checkpoint = {path}: no epoch was complete yet")
    return Weights(
        model=_state_dict(path, state["best_weights"]),
        config=_config(path, state.get("config")),
        epoch=state.get("best_epoch"),
    )


def _from_content(path: Path, found: object) -> Weights:
    if isinstance(found, dict) and found.get("format") == FORMAT:
        classes, epoch = found.get("classes"), found.get("epoch")
        if not isinstance(classes, list) or not isinstance(epoch, int):
            raise _no_checkpoint(path)
        return Weights(
            model=_state_dict(path, found.get("model")),
            config=_config(path, found.get("config")),
            classes=tuple(map(str, classes)),
            epoch=epoch,
        )
    state = state_dict_in(found)
    if state is not None:
        return Weights(model=state)
    raise InputError(
        f"--checkpoint = {path}: holds no model's weights (a {type(found).__name__}); give a .pth "
        "file that noise-train wrote, or a state dict saved by torch.save"
    )


def _state_dict(path: Path, value: object) -> Mapping[str, Tensor]:
    if not is_state_dict(value):
        raise _no_checkpoint(path)
    return value


def _config(path: Path, text: object) -> Mapping[str, Any]:
    # Not validated here: options may replace what does not hold on this machine.
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(f"--checkpoint = {path}: its configuration is damaged")
    remember_named(path, values)
    return values


def _no_checkpoint(path: Path) -> InputError:
    return InputError(
        f"--checkpoint = {path}: no checkpoint, or a damaged one; give a .pth file that "
        "noise-train wrote, or a state dict saved by torch.save"
    )


def load_into(model: nn.Module, weights: Weights, *, path: Path, classifier: str) -> None:
    """Load all of the weights, whatever wraps their names; else say what differs."""
    wanted = model.state_dict()
    given, problems = min(
        ((named, _differences(wanted, named)) for named in unwrapped(weights.model)),
        key=lambda each: len(each[1]),
    )
    if problems:
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(
            f"--checkpoint = {path}: does not fit {classifier}: "
            + "; ".join(problems[:_SHOWN])
            + more
            + "; give the --classifier (and the --dataset) that it was trained with"
        )
    model.load_state_dict(given)


def _differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name} is not part of the model" for name in given if name not in wanted]
    return problems + [
        f"{name} has shape {tuple(given[name].shape)}, the model's {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
