"""CIFAR-10 from the files of its authors."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.config import DataConfig
from trainables.data.dataset import ClassCounts, PerChannel, Progress, Source
from trainables.errors import InputError
from trainables.paths import given_path


@dataclass(frozen=True)
class _Cifar:
    """Where torchvision puts a CIFAR set, and what is known about it without reading it."""

    folder: str
    files: tuple[str, ...]
    classes: int
    normalisation: tuple[PerChannel, PerChannel]


_CIFAR = {
    "cifar10": _Cifar(
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        10,
        ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    ),
    "cifar100": _Cifar(
        "cifar-100-python",
        ("train", "test", "meta"),
        100,
        ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ),
}
_TRAIN, _TEST = 50_000, 10_000


def _cifar_root(config: DataConfig) -> Path:
    return given_path(config.data_dir or f"./data/{config.dataset}", "data.data_dir (--data-dir)")


def _check(config: DataConfig) -> None:
    cifar = _CIFAR[config.dataset]
    folder = _cifar_root(config) / cifar.folder
    missing = [name for name in cifar.files if not (folder / name).is_file()]
    if missing and not config.download:
        if (_cifar_root(config) / "train").is_dir():
            raise InputError(
                f"data.data_dir = {str(_cifar_root(config))!r}: {config.dataset} is not there, but "
                "a folder train/ is; to train on its images, add --dataset imagefolder"
            )
        raise InputError(
            f"data.data_dir = {str(_cifar_root(config))!r}: {config.dataset} is not there "
            f"({folder / missing[0]} is missing); say where it is by --data-dir, "
            "or add --download to fetch it"
        )


def class_counts(config: DataConfig) -> ClassCounts:
    _check(config)
    classes = _CIFAR[config.dataset].classes
    return ClassCounts([_TRAIN // classes] * classes, [_TEST // classes] * classes)


def read(config: DataConfig, progress: Progress | None) -> Source:
    from torchvision import datasets

    _check(config)
    kind = datasets.CIFAR10 if config.dataset == "cifar10" else datasets.CIFAR100
    root = _cifar_root(config)
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        train = kind(str(root), train=True, download=config.download)
        test = kind(str(root), train=False)
    except (OSError, RuntimeError) as error:
        for path in made:
            # What is not empty has some of it.
            with suppress(OSError):
                path.rmdir()
        # A failed download, or torchvision's "not found or corrupted" (by its checksums).
        raise InputError(
            f"data.data_dir = {str(root)!r}: {config.dataset} can't be read ({error}); remove "
            "what is there and use --download, or put a sound copy there"
        ) from error
    return Source(
        train.data,
        np.asarray(train.targets, np.int64),
        test.data,
        np.asarray(test.targets, np.int64),
        tuple(train.classes),
        _CIFAR[config.dataset].normalisation,
    )
