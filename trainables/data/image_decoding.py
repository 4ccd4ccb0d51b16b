"""One image file becomes pixels: its orientation, its transparency, and its shape."""

import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError

from trainables.data_config import FIRST_SHAPE, DataConfig, Fit, ImageShape
from trainables.errors import InputError

_ORIENTATION = 0x0112
"""EXIF's tag."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what brings the image upright (PIL turns counterclockwise)."""


class Decoded(NamedTuple):
    """An image: its bytes, row by row, and what its file was.

    Attributes:
        size: width and height in the file.
        mode: PIL's word for the kind of pixels, e.g. ``RGB``.
        turned: whether its EXIF orientation turned or mirrored it.
        transparent: whether a background shows, or was dropped.
    """

    pixels: bytes
    size: tuple[int, int]
    mode: str
    turned: bool
    transparent: bool


@dataclass(frozen=True)
class Decoding:
    """How image files become pixels: what the settings ``data`` say of it.

    Attributes:
        version: 1 as studies recorded it before there was another: orientation and transparency are
            ignored, folders within a class are not read.
    """

    version: int = 2
    fit: Fit = "crop"
    background: str = "white"
    size: int = FIRST_SHAPE.size
    channels: int = FIRST_SHAPE.channels

    @classmethod
    def of(cls, config: DataConfig) -> "Decoding":
        return cls(config.decoding, config.fit, config.background, *config.shape)

    @property
    def shape(self) -> ImageShape:
        return ImageShape(self.size, self.channels)

    @property
    def is_first(self) -> bool:
        """Whether photos look as in all studies before there was a choice, at any size."""
        return self.version == 1 and self.fit == "stretch"

    @property
    def key(self) -> str:
        """By what the cache knows it: two of equal keys decode alike.

        Empty for the first, as images were kept before there was a choice.
        """
        if self.shape != FIRST_SHAPE:
            return f"{self.words}; {self.shape.words}"
        return "" if self.is_first else self.words

    @property
    def words(self) -> str:
        """For people, without the shape."""
        fit = {"crop": "the middle square", "stretch": "stretched to a square"}.get(
            self.fit, f"whole, with bars of {self.background}"
        )
        if self.version == 1:
            return f"{fit}; EXIF orientation and transparency ignored"
        return f"{fit}; turned by EXIF orientation; transparency on {self.background}"

    @property
    def recipe(self) -> str:
        """How one gets the pixels of a photo, for the readers of a model's page (Markdown)."""
        return (
            f"A photo becomes pixels as in training ({self.words}) by "
            "`trainables.data.image_folder.decode_image(path, "
            f"Decoding({self.version}, {self.fit!r}, {self.background!r}, {self.size}, "
            f"{self.channels}))`"
        )

    def decode(self, path: str | Path) -> Decoded:
        """Decode one image.

        Shrinking averages over the pixels that fall together, enlarging is bilinear (PIL's resize).
        16-bit grey is scaled; of an animation the first image counts.

        Raises:
            InputError: whatever is wrong with the file.
        """
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                # A pipe would be waited for.
                raise ValueError("not a file")
            if not status.st_size:
                raise ValueError("an empty file")
            with warnings.catch_warnings():
                # A large photo; PIL refuses those of twice the size as bombs.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    return self.decoded(image)
        # Broken files make PIL's decoders raise nearly anything, SyntaxError and struct.error too.
        except Exception as error:
            raise InputError(f"{path}: can't be read as an image ({_reason(error)})") from error

    def decoded(self, image: Image.Image) -> Decoded:
        """An image of PIL's as pixels; whatever is wrong with it raises as PIL does."""
        size, mode = image.size, image.mode
        orientation = 1
        if self.version > 1:
            before = image.getexif().get(_ORIENTATION, 1)
            image.load()
            # PIL has turned TIFFs by itself by now, and says so.
            orientation = image.getexif().get(_ORIENTATION, 1)
        else:
            before = 1
        shown, transparent = self._to_rgb(image)
        if self.channels == 1:
            # The luminance of ITU-R BT.601; of grey images, themselves.
            shown = shown.convert("L")
        if orientation in _TURNS:
            shown = shown.transpose(_TURNS[orientation])
        return Decoded(self._fitted(shown).tobytes(), size, mode, before in _TURNS, transparent)

    def _to_rgb(self, image: Image.Image) -> tuple[Image.Image, bool]:
        """RGB of any size, and whether the background shows in it."""
        if image.mode.startswith("I;16"):
            # PIL's own conversion to 8 bits cuts at 255 and would leave most such images white.
            high_bytes = (np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8)
            image = Image.fromarray(high_bytes)
        elif image.mode in {"I", "F"}:
            raise ValueError(f"pixel mode {image.mode} has no fixed range; use 8 or 16 bits")
        if self.version == 1 or not image.has_transparency_data:
            return image.convert("RGB"), image.has_transparency_data
        layer = image.convert("RGBA")
        lowest: Any = layer.getchannel("A").getextrema()[0]
        behind = Image.new("RGBA", layer.size, ImageColor.getrgb(self.background))
        return Image.alpha_composite(behind, layer).convert("RGB"), lowest < 255

    def _fitted(self, image: Image.Image) -> Image.Image:
        """Of the size that is asked for; the mode stays."""
        size, (width, height) = self.size, image.size
        if self.fit == "crop":
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        elif self.fit == "pad" and width != height:
            longer = max(width, height)
            inner = max(1, round(width * size / longer)), max(1, round(height * size / longer))
            behind = Image.new("RGB", (size, size), ImageColor.getrgb(self.background))
            whole = behind.convert(image.mode)
            place = ((size - inner[0]) // 2, (size - inner[1]) // 2)
            whole.paste(image.resize(inner, Image.Resampling.BILINEAR), place)
            return whole
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return image


def _reason(error: Exception) -> str:
    """Without the path, which the message begins with."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        return "no kind of image that is known"
    return " ".join(str(error).split()) or type(error).__name__
