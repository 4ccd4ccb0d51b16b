"""A data set of Hugging Face's on disk: a ``DatasetDict`` with ``train`` and ``test``.

Nothing is downloaded: ``datasets.load_dataset(NAME).save_to_disk(FOLDER)`` writes the folder.
"""

from functools import partial
from typing import Any

from trainables.data.given_images import Given, counted_once
from trainables.data.given_labels import class_names, same_classes
from trainables.data.streamed import read_given
from trainables.data_config import DataConfig
from trainables.errors import InputError
from trainables.paths import given_path

_TEST = ("test", "validation")


def given(config: DataConfig) -> Given:
    """The two splits of the folder."""
    where = f"data.data_dir = {config.data_dir!r}"
    found = _loaded(where, config)
    test = next((name for name in _TEST if name in found), None)
    if "train" not in found or test is None:
        raise InputError(
            f"{where}: it has the splits {', '.join(found)}; train and test (or validation) are "
            "needed"
        )
    names = same_classes(where, *(_names(where, found[name]) for name in ("train", test)))
    return Given(where, {"train": found["train"], "test": found[test]}, names)


def _names(where: str, part: Any) -> list[str] | None:
    label = next((part.features[key] for key in ("label", "labels") if key in part.features), None)
    return class_names(where, getattr(label, "names", None))


def _loaded(where: str, config: DataConfig) -> Any:
    path = given_path(str(config.data_dir), "data.data_dir (--data-dir)")
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError:
        raise InputError(
            "data.dataset = 'huggingface': the library datasets is not installed; it comes with "
            "pip install noise-study[datasets]"
        ) from None
    try:
        found = load_from_disk(str(path))
    except Exception as error:
        raise InputError(
            f"{where}: can't be read ({error}); give a folder that DatasetDict.save_to_disk wrote"
        ) from None
    if not isinstance(found, DatasetDict):
        raise InputError(f"{where}: a single split; save a DatasetDict with train and test")
    return found


class_counts, read = counted_once(partial(read_given, given))
