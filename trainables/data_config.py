"""Which images a run is trained on: the settings of the data, photos' decoding among them."""

import re
from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import JsonValue, field_validator, model_validator

from trainables.data.registry import DATA_SETS, known_data
from trainables.settings import LARGEST, FrozenConfig, Named, setting

Split = Literal["holdout", "reference", "pooled"]
MOST_SPLIT_SEED = 2**32 - 1

Fit = Literal["crop", "pad", "stretch"]

AUGMENTATIONS = ("none", "flip", "crop", "standard", "trivial")

CROPS = frozenset({"crop", "standard", "trivial"})
FLIPS = frozenset({"flip", "standard", "trivial"})

BACKGROUNDS = ("white", "black", "grey")

FOUND = ("mean", "std", "classes", "left_out", "content")
"""Settings that are filled in when the data are read."""

_MOST_IMAGES = 1_000_000
"""Synthetic images, 3 GB."""

AS_RECORDED = {"decoding": 1, "fit": "stretch", "background": "white", "skip_broken": False}
"""What a configuration means that does not say how files become pixels: it was recorded before."""

NEW_PHOTOS: dict[str, JsonValue] = {"decoding": 2, "fit": "crop"}
"""What new studies and runs of photos begin with instead, and the help shows as the defaults."""


class ImageShape(NamedTuple):
    """Height and width of an image in pixels, and the values of a pixel: 1 (grey) or 3 (RGB).

    The default is what all images had before there was a choice.
    """

    size: int = 32
    channels: int = 3

    @property
    def words(self) -> str:
        return f"{self.size}×{self.size} pixels, {'RGB' if self.channels == 3 else 'grey'}"

    @property
    def bytes(self) -> int:
        return self.size * self.size * self.channels


FIRST_SHAPE = ImageShape()


class DataConfig(FrozenConfig):
    """Which images, how they are divided, and how large a batch is."""

    dataset: Annotated[str, Named(tuple(DATA_SETS), or_own=True)] = setting(
        "digits",
        ", ".join(name + source.remark for name, source in DATA_SETS.items())
        + "; or your own as package.module:function (docs/own-data.md)",
        option="--dataset",
    )
    data_dir: str | None = setting(
        None, "where the data set is: a folder or file", option="--data-dir", short="-d"
    )
    download: bool = setting(False, "download CIFAR if it is not there", option="--download")
    split: Annotated[Split, Named(get_args(Split))] = setting(
        "holdout",
        "holdout: validation is a stratified tenth of the training set; "
        "reference: validation is half of the test set; "
        "pooled: as holdout, of all images divided anew by --split-seed",
        option="--split",
    )
    split_seed: int = setting(
        0,
        "which division --split pooled draws",
        option="--split-seed",
        later=True,
        ge=0,
        le=MOST_SPLIT_SEED,
    )
    subset: float = setting(
        1.0,
        "stratified fraction of the training data",
        option="--subset",
        short="-s",
        gt=0,
        le=1,
    )
    batch_size: int = setting(128, "images per step", option="--batch-size", short="-b", ge=1)
    image_size: int = setting(
        FIRST_SHAPE.size,
        "height and width of every image in pixels; other images are resized",
        option="--image-size",
        later=True,
        ge=8,
        le=512,
    )
    channels: int = setting(
        FIRST_SHAPE.channels,
        "values of a pixel: 3 for RGB, 1 for grey, of colours their luminance",
        option="--channels",
        later=True,
    )
    workers: int = setting(
        4,
        "processes that decode an image folder, once; training itself needs none: "
        "the data are one tensor, cut by indexing",
        option="--workers",
        short="-n",
        ge=0,
    )
    fit: Annotated[Fit, Named(get_args(Fit))] = setting(
        "stretch",
        "how a photo becomes square: crop: its middle; pad: whole, with bars of --background; "
        "stretch: without keeping the aspect ratio, as was recorded before there was a choice",
        option="--fit",
        shown=NEW_PHOTOS["fit"],
        later=True,
    )
    background: str = setting(
        "white",
        "what lies behind transparent photos, and the bars of --fit pad: "
        + ", ".join(BACKGROUNDS)
        + ", or #RRGGBB",
        option="--background",
        later=True,
    )
    skip_broken: bool = setting(
        False,
        "leave out image files that can't be read, and record how many",
        option="--skip-broken",
        later=True,
    )
    decoding: int = setting(
        1,
        "2: photos are turned as their EXIF orientation says, transparency is put onto the "
        "background, and folders within a class are read; 1: none of it, as was recorded before",
        option="--decoding",
        shown=NEW_PHOTOS["decoding"],
        later=True,
        ge=1,
        le=2,
    )
    stream: bool = setting(
        False,
        "read each image when a batch needs it instead of all into memory: for Hugging Face's and "
        "your own data sets, which may then be larger than memory, and random",
        option="--stream",
        later=True,
    )
    stream_workers: int = setting(
        0,
        "processes of each run that read batches ahead with --stream, each of which counts as a "
        "core of its trial; 0: the run itself reads",
        option="--stream-workers",
        later=True,
        ge=0,
        le=64,
    )
    left_out: int | None = setting(
        None, "broken image files left out, filled in when the data are read", later=True, ge=0
    )
    content: str | None = setting(
        None,
        "hash of the images and labels, filled in when arrays or one's own data are read",
        later=True,
    )
    flip: bool = setting(
        True,
        "horizontal flips where the augmentation has them (never for "
        + " and ".join(name for name, known in DATA_SETS.items() if not known.flips)
        + ")",
        option="--flip",
    )
    augment: Annotated[str, Named(AUGMENTATIONS, or_own=True)] = setting(
        "standard",
        "none; flip: half of the images are mirrored; crop: random crops of the padded image; "
        "standard: both; trivial: both, then TrivialAugmentWide; or your own as "
        "package.module:function (docs/own-training.md)",
        option="--augment",
        later=True,
    )
    mean: tuple[float, ...] | None = setting(
        None, "normalisation: mean per channel, in [0, 1]; None: the data set's own"
    )
    std: tuple[float, ...] | None = setting(
        None, "normalisation: standard deviation per channel; None: the data set's own"
    )
    classes: tuple[str, ...] | None = setting(None, "class names, filled in when the data are read")
    synthetic_train: int = setting(
        2000, "synthetic: training images", option="--synthetic-train", ge=1, le=_MOST_IMAGES
    )
    synthetic_test: int = setting(
        500, "synthetic: test images", option="--synthetic-test", ge=1, le=_MOST_IMAGES
    )
    synthetic_classes: int = setting(
        10, "synthetic: classes", option="--synthetic-classes", ge=2, le=10_000
    )
    synthetic_noise: float = setting(
        1.0,
        "synthetic: standard deviation of the pixel noise",
        option="--synthetic-noise",
        ge=0,
        le=LARGEST,
    )

    @field_validator("std")
    @classmethod
    def _std_positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value and min(value) <= 0:
            raise ValueError("each standard deviation must be greater than 0")
        return value

    @field_validator("channels")
    @classmethod
    def _grey_or_rgb(cls, value: int) -> int:
        if value not in (1, 3):
            raise ValueError("allowed: 1 (grey), 3 (RGB)")
        return value

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        if value not in BACKGROUNDS and not re.fullmatch("#[0-9a-fA-F]{6}", value):
            raise ValueError(f"allowed: {', '.join(BACKGROUNDS)}, or #RRGGBB (hexadecimal)")
        return value

    @model_validator(mode="after")
    def _decoding_has_effect(self) -> Self:
        known = known_data(self.dataset)
        for name, default in AS_RECORDED.items():
            value = getattr(self, name)
            fits = known.files if name == "skip_broken" else known.photos
            if value != default and not fits:
                whose = "files" if name == "skip_broken" else "photos"
                can = ", ".join(each for each, known in DATA_SETS.items() if getattr(known, whose))
                own = "" if whose == "files" else " and your own (package.module:function)"
                raise ValueError(
                    f"data.{name} (--{name.replace('_', '-')}) = {value!r}: it is for image files "
                    f"and images of any size: {can}{own}; data.dataset = {self.dataset!r} has none"
                )
        return self

    @model_validator(mode="after")
    def _can_stream(self) -> Self:
        if self.stream and not known_data(self.dataset).streams:
            can = ", ".join(name for name, known in DATA_SETS.items() if known.streams)
            raise ValueError(
                f"data.stream (--stream) = True: data.dataset = {self.dataset!r} is read whole; "
                f"{can} and your own (package.module:function, docs/own-data.md) can be streamed"
            )
        if self.stream_workers and not self.stream:
            raise ValueError(
                f"data.stream_workers (--stream-workers) = {self.stream_workers}: it is for "
                "--stream, without which all images are in memory; give both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _flips_are_possible(self) -> Self:
        if self.augment == "flip" and not (self.flip and known_data(self.dataset).flips):
            why = (
                "--no-flip forbids it"
                if known_data(self.dataset).flips
                else f"mirrored images of {self.dataset} are of no class"
            )
            raise ValueError(
                f"data.augment (--augment) = 'flip': {why}; take none, crop or standard"
            )
        return self

    @model_validator(mode="after")
    def _normalised_by_channel(self) -> Self:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None and len(value) != self.channels:
                raise ValueError(
                    f"data.{name} = {list(value)}: {self.channels} numbers are needed, one for "
                    "each of data.channels (--channels); null takes the data set's own"
                )
        return self

    @property
    def shape(self) -> ImageShape:
        return ImageShape(self.image_size, self.channels)

    @property
    def what(self) -> str:
        """The data set's name, with the images' shape where it is not what it always was."""
        return self.dataset + (f" ({self.shape.words})" if self.shape != FIRST_SHAPE else "")

    @model_validator(mode="after")
    def _split_seed_has_effect(self) -> Self:
        if self.split_seed and self.split != "pooled":
            raise ValueError(
                f"data.split_seed (--split-seed) = {self.split_seed}: the division of split "
                f"{self.split!r} has no seed; only --split pooled draws another one"
            )
        return self

    @model_validator(mode="after")
    def _data_dir_given(self) -> Self:
        needs = known_data(self.dataset).needs
        if needs and self.data_dir is None:
            raise ValueError(f"data.data_dir = None: {self.dataset} needs {needs} (--data-dir)")
        return self
