"""What changes with a run's data: where another set is named, or photos are new."""

from collections.abc import Mapping
from typing import Any

from trainables.data.registry import PHOTO_FOLDER, is_embedded, is_photos, streams
from trainables.data_config import AS_RECORDED, FOUND, NEW_PHOTOS, DataConfig
from trainables.errors import InputError

_OTHER_CONTENT = ("data_dir", "image_size", "channels", "fit", "background", "decoding", "stream")
"""Settings with which the images that are read are other ones."""


def derived_data(
    given: Mapping[str, Any], below: DataConfig, from_file: object
) -> dict[str, object]:
    """What given settings change besides in those of the data, by path; what is given stays.

    Args:
        given: by path, ``data/dataset``, not yet validated.
        below: what they are laid over.
        from_file: what of that a file says (``photo_defaults``).
    """
    own = {path.removeprefix("data/"): v for path, v in given.items() if path.startswith("data/")}
    values = below.model_dump() | own
    check_folder(values, own)
    found = {**_outdated(values, below), **photo_defaults(values, from_file, own)}
    return {f"data/{name}": value for name, value in found.items() if name not in own}


def _outdated(values: Mapping[str, Any], below: DataConfig) -> dict[str, object]:
    """What was read from other data says nothing about these."""
    if values["dataset"] != below.dataset:
        found: dict[str, object] = dict.fromkeys(FOUND)
        if below.stream and not streams(values["dataset"]):
            found |= {"stream": False, "stream_workers": 0}
        return found

    def differs(name: str) -> bool:
        # As a command line gives it, it is text.
        return str(values[name]) != str(getattr(below, name))

    found = dict.fromkeys(("mean", "std")) if differs("channels") else {}
    if any(map(differs, _OTHER_CONTENT)):
        found["content"] = None
    return found


def check_folder(values: Mapping[str, Any], given: object) -> None:
    """Refuse a folder beside a data set that reads none; the arguments as for ``photo_defaults``.

    Raises:
        InputError: the command line names one.
    """
    asked = given if isinstance(given, Mapping) else {}
    if asked.get("data_dir") is not None and is_embedded(values.get("dataset")):
        raise InputError(
            f"data.data_dir (--data-dir) = {asked['data_dir']!r}: data.dataset = "
            f"{values['dataset']!r} reads no folder; leave it out, or name the data set that lies "
            "there (--dataset imagefolder, csv, …)"
        )


def photo_defaults(
    values: Mapping[str, Any], from_file: object, given: object
) -> Mapping[str, object]:
    """What has to change in the settings of a run's data, for new photos to be read as they should.

    Args:
        values: all of them, not yet validated, with what file and command line say.
        from_file: those of a configuration file. One that a study or run wrote names ``classes``;
            what it doesn't say of decoding is as it was before.
        given: those of the command line.
    """
    asked = dict(given) if isinstance(given, Mapping) else {}
    file = from_file if isinstance(from_file, Mapping) else {}
    if not is_photos(values.get("dataset")):
        # A file of photos, and another data set on the command line.
        return {k: v for k, v in AS_RECORDED.items() if k in file and k not in asked}
    if is_photos(file.get("dataset", PHOTO_FOLDER)):
        if "classes" in file:
            return {}
        asked = {**file, **asked}
    return {k: v for k, v in NEW_PHOTOS.items() if k not in asked}


def with_new_photos(data: DataConfig) -> DataConfig:
    """Settings made in Python, decoding new photos as the commands do unless they say otherwise.

    Those of a study or run that was recorded, or made of all its settings, stay what they are.
    """
    said = {name: getattr(data, name) for name in data.model_fields_set}
    return data.model_copy(update=dict(photo_defaults(data.model_dump(), said, {})))
