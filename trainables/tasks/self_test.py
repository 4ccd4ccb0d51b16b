"""Is a task repeatable? Two epochs, saved, loaded and repeated, are compared bit for bit.

A task that is not can be studied all the same: its runs are compared by seed. But no trial starts
from its baseline's checkpoint, since it would not be what training from epoch 0 gives.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.checkpoint import decode, encode
from trainables.config import TrainConfig
from trainables.errors import CheckpointError, InputError
from trainables.loop import Training
from trainables.metrics import EpochMetrics
from trainables.noise.controller import Injection
from trainables.noise.epoch_noise import EpochNoise
from trainables.noise_config import NoiseConfig
from trainables.tasks.own_task import check_kinds, own_task

_STREAM = "draw it from generator(seed, stream, epoch) of trainables.random_streams"
_EPOCHS = 2


@dataclass(frozen=True)
class SelfTest:
    """What it found: empty where the task is repeatable, else the reasons, a sentence each."""

    problems: tuple[str, ...] = ()

    @property
    def repeatable(self) -> bool:
        return not self.problems


def self_test(config: TrainConfig, noises: Sequence[NoiseConfig] = ()) -> SelfTest:
    """Train a task for two epochs, go on from its state, and repeat both.

    Args:
        config: the study's base run.
        noises: the noise that trials may have; an epoch is trained with each kind of it.

    Raises:
        InputError: if the task fails, or returns what it must not.
    """
    clean = config.model_copy(
        update={"noise": NoiseConfig(), "epochs": max(config.epochs, _EPOCHS)}
    )
    first = _Watched(clean, own_task(clean))
    state = _saved(first, config)
    after = _Watched(clean, own_task(clean))
    after.load_state_dict(state)
    first.run_epoch()
    after.run_epoch()
    again = _Watched(clean, own_task(clean))
    again.run_epoch()
    if first.best is None:
        raise InputError(
            f"task = {config.task.name!r}: it diverged in the self-test: no epoch of two has a "
            "finite loss in training and validation"
        )
    first.test_figures()
    for noise in noises:
        check_kinds(config.model_copy(update={"noise": noise}), first.task)
        _try_noise(clean, noise)
    return SelfTest(tuple(_repeated(first, again, clean) or _resumed(first, after)))


def _saved(training: "_Watched", config: TrainConfig) -> dict[str, Any]:
    """The state after the first epoch, as a checkpoint gives it back."""
    training.run_epoch()
    try:
        return decode(encode(training.state_dict()))
    except (CheckpointError, TypeError, AttributeError) as error:
        raise InputError(
            f"task = {config.task.name!r}: its state_dict can't be kept in a checkpoint ({error}); "
            "return tensors, numbers, texts, lists and mappings only"
        ) from None


def _try_noise(config: TrainConfig, noise: NoiseConfig) -> None:
    _Watched(config.model_copy(update={"noise": noise}), own_task(config)).run_epoch()


class _Watched(Training):
    """A training that remembers which batches it saw."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batches: dict[int, list[str]] = {}

    def _noise(self, epoch: int, injection: Injection) -> EpochNoise:
        noise = super()._noise(epoch, injection)
        seen = self.batches.setdefault(epoch, [])
        noise.watch = lambda x, y: seen.append(_digest((x, y)))
        return noise


def _repeated(first: _Watched, again: _Watched, config: TrainConfig) -> list[str]:
    """Why the first epoch came out differently when it was trained anew."""
    if _same(first.history[0], again.history[0]):
        return []
    if first.batches[0] != again.batches[0]:
        return [
            "the same seed gives other batches in the first epoch: their order, or what augments "
            f"them, is random otherwise; {_STREAM}"
        ]
    if config.device.startswith("cuda"):
        return [
            "the same batches give other numbers in the first epoch: an operation on the GPU is "
            "not deterministic (cuDNN, atomic additions); torch.use_deterministic_algorithms "
            "names it"
        ]
    return [
        "the same batches give other numbers in the first epoch: something is drawn from a "
        "generator that is not seeded (the initial weights, dropout, numpy's default_rng()), or "
        f"depends on time or on several threads; {_STREAM}"
    ]


def _resumed(first: _Watched, after: _Watched) -> list[str]:
    """Why the second epoch came out differently when it went on from a checkpoint."""
    same_state = _digest(first.task.state_dict()) == _digest(after.task.state_dict())
    if _same(first.history[1], after.history[1]) and same_state:
        return []
    if first.batches[1] != after.batches[1]:
        return [
            "epoch 1 has other batches after its state was loaded: their order depends on what was "
            f"drawn before (a DataLoader's generator, say); {_STREAM}"
        ]
    return [
        "epoch 1 has the same batches, but other numbers after its state was loaded: state_dict "
        "lacks something (the optimiser's momentum, a schedule, a layer's statistics), or "
        "load_state_dict does not take all of it over"
    ]


def _same(one: EpochMetrics, other: EpochMetrics) -> bool:
    # Texts, since NaN is equal to NaN here.
    return str(one.to_dict()) == str(other.to_dict())


def _digest(value: Any) -> str:
    """A name for the content of nested containers and tensors."""
    found = hashlib.blake2b(digest_size=16)
    _feed(found, value)
    return found.hexdigest()


def _feed(found: "hashlib.blake2b", value: Any) -> None:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        found.update(str((plain.dtype, tuple(plain.shape))).encode())
        found.update(
            plain.reshape(-1).view(torch.uint8).numpy().tobytes() if len(plain.reshape(-1)) else b""
        )
    elif isinstance(value, Mapping):
        for key in value:
            found.update(str(key).encode())
            _feed(found, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(found, item)
    else:
        found.update(repr(value).encode())
