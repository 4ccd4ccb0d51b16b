"""Images in an ``.npz`` file: arrays of training and test images and labels, maybe class names."""

import zipfile
from typing import Any

import numpy as np

from trainables.data.dataset import Progress, Source
from trainables.data.given_images import Given, counted_once, source_of
from trainables.data.given_labels import class_names
from trainables.data_config import DataConfig
from trainables.errors import InputError
from trainables.paths import check_regular, given_path

_NAMES = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
"""Of each part, the names that MedMNIST's files have, then those of Keras's."""


def _loaded(config: DataConfig, progress: Progress | None) -> Source:
    where = f"data.data_dir = {config.data_dir!r}"
    arrays = _arrays(where, config)
    parts: dict[str, Any] = {}
    for part, known in _NAMES.items():
        names = next((pair for pair in known if set(pair) <= set(arrays)), None)
        if names is None:
            raise InputError(
                f"{where}: no {' and '.join(known[0])} (or {' and '.join(known[1])}); it has "
                f"{', '.join(arrays) or 'nothing'}"
            )
        parts[part] = tuple(arrays[name] for name in names)
    classes = class_names(where, arrays.get("classes"))
    return source_of(Given(where, parts, classes), config, progress)


def _arrays(where: str, config: DataConfig) -> dict[str, Any]:
    path = given_path(str(config.data_dir), "data.data_dir (--data-dir)")
    try:
        check_regular(path)
        # Pickled objects in it would be code.
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with file:
            read = {name for part in _NAMES.values() for pair in part for name in pair} | {
                "classes"
            }
            # The others are named where these are missing.
            return {name: file[name] if name in read else None for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{where}: can't be read as an .npz file ({error}); give one with train_images, "
            "train_labels, test_images and test_labels"
        ) from None


class_counts, read = counted_once(_loaded)
