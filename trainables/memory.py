"""What images and a training need of memory, estimated before anything starts."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trainables.config import Precision, TrainConfig
from trainables.data_config import DataConfig
from trainables.errors import InputError

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_FREE = Path("/proc/meminfo")

_COPIES = 2
"""Of the images: one here, one in Ray's object store; and while they are read, two here."""

_NUMBER = 4
"""Bytes of a number of fp32."""

_OF_PARAMETER = 3
"""Numbers kept for each at least: itself, its gradient, its best value; an optimizer's come on top.
"""

_log = logging.getLogger(__name__)


class Memory(NamedTuple):
    """Bytes of a machine's memory: what processes may have here, and what is free now."""

    total: int
    free: int


class ModelSize(NamedTuple):
    """Numbers of a model: its parameters, and what layers give for an image that are trained."""

    parameters: int
    activations: int


def machine_memory() -> Memory:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # Elsewhere than in a container it says ``max``.
        total = min(total, int(_CGROUP.read_text()))
    free = total
    with suppress(OSError):
        for line in _FREE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = min(total, int(line.split()[1]) * 1024)
    return Memory(total, free)


def image_bytes(config: DataConfig, count: int, pad: int) -> int:
    """Bytes of a data set, as if all images had the border of training ones."""
    return count * (config.image_size + 2 * pad) ** 2 * config.channels


def training_bytes(size: ModelSize, batch_size: int, precision: Precision = "fp32") -> int:
    """Bytes that one training takes at least, beside its images and its process.

    Its parameters, and what its layers give that is kept for the backward pass: ResNet-18 took 1.3
    times that at 64 pixels, networks with little depth several times.
    """
    activation = _NUMBER if precision == "fp32" else _NUMBER // 2
    return _NUMBER * _OF_PARAMETER * size.parameters + activation * batch_size * size.activations


def check_images(config: DataConfig, count: int, pad: int) -> None:
    """Refuse images that this machine has no room for; say so where it has none at the moment."""
    needed = image_bytes(config, count, pad)
    what = (
        f"data.image_size (--image-size) = {config.image_size}, data.channels (--channels) = "
        f"{config.channels}: the {count} images take {words(needed)} as bytes, {_COPIES} times "
        "that while they are read and studied"
    )
    _compare(_COPIES * needed, what, "give a smaller size, --channels 1, or fewer images")


def check_training(config: TrainConfig, size: ModelSize, at_once: int = 1) -> None:
    """Refuse a training that this machine has no room for; say so where not all at once fit."""
    data = config.data
    # One pass of a step at a time, or one slice of it.
    images = data.batch_size // config.optimizer.accumulate
    images = min(images, config.slice or images)
    needed = training_bytes(size, images, config.precision)
    what = (
        f"data.batch_size (--batch-size) = {data.batch_size}, data.image_size (--image-size) = "
        f"{data.image_size}: one training of {config.model.classifier} takes at least "
        f"{words(needed)}"
    )
    remedy = "a smaller batch, --accumulate, a smaller size, or another classifier"
    _compare(needed, what, f"give {remedy}")
    total = machine_memory().total
    if at_once * needed > total:
        # Fewer may run at once than there are cores for: no reason to refuse.
        _log.warning(
            "%s, and this machine has %s, too little for the %d that may run at once: give "
            "--max-concurrent %d, %s",
            *(what, words(total), at_once, max(1, total // needed), remedy),
        )


def _compare(needed: int, what: str, remedy: str) -> None:
    total, free = machine_memory()
    if needed > total:
        raise InputError(f"{what}, and this machine has {words(total)}; {remedy}")
    if needed > free:
        _log.warning("%s, and only %s of %s are free here now", what, words(free), words(total))


def words(count: int) -> str:
    """``1.5 GB``, ``310 MB``."""
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
