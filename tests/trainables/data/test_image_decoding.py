"""Every kind of photo becomes the pixels that one sees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.data_sets import Array, chessboard_corner, folder_config
from trainables.data.image_decoding import Decoding
from trainables.data.image_folder import decode_image
from trainables.errors import InputError

FIRST = Decoding(1, "stretch")


def pixels(path: Path, decoding: Decoding | None = None) -> Array:
    size, channels = (decoding or Decoding()).shape
    return np.frombuffer(decode_image(path, decoding), np.uint8).reshape(size, size, channels)


@pytest.mark.parametrize("size", [(64, 64), (100, 37), (8, 8), (1, 1)])
def test_stretching_takes_the_whole_photo(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "image.png"
    left_black = np.zeros((size[1], size[0], 3), np.uint8)
    left_black[:, size[0] // 2 :] = (10, 100, 250)
    Image.fromarray(left_black).save(path)
    image = pixels(path, Decoding(fit="stretch"))
    assert np.array_equal(image, pixels(path, FIRST))
    assert image[:, 31].tolist() == [[10, 100, 250]] * 32
    if size[0] > 1:
        assert not image[:, 0].any()


def _disc(path: Path, width: int, height: int) -> None:
    """A white disc as large as fits, in the middle of a grey photo."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) <= min(width, height) / 2
    Image.fromarray(np.where(inside, 255, 100).astype(np.uint8)).save(path)


@pytest.mark.parametrize("size", [(128, 64), (64, 128), (96, 96), (33, 32), (500, 1)])
def test_cropping_takes_the_middle_square(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "photo.png"
    _disc(path, *size)
    image = pixels(path)
    assert image[16, 16, 0] == 255
    if min(size) > 32:
        # As wide as high: the aspect ratio is kept.
        bright = image[..., 0] > 180
        assert bright.any(axis=0).sum() == bright.any(axis=1).sum() == 32
        assert image[0, 0, 0] == 100


def test_padding_shows_the_whole_photo_between_bars(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (128, 64), (200, 10, 10)).save(path)
    image = pixels(path, Decoding(fit="pad", background="#0102ff"))
    assert {tuple(p) for p in image[8:24].reshape(-1, 3)} == {(200, 10, 10)}
    bars = np.concatenate([image[:8], image[24:]])
    assert {tuple(p) for p in bars.reshape(-1, 3)} == {(1, 2, 255)}
    Image.new("RGB", (2000, 1)).save(path)
    assert (pixels(path, Decoding(fit="pad"))[..., 0] == 0).sum() == 32


def test_shrinking_averages_over_the_pixels_that_fall_together(tmp_path: Path) -> None:
    path = tmp_path / "checks.png"
    checks = (np.indices((320, 320)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(path)
    assert abs(pixels(path).astype(int) - 127).max() <= 2


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_their_camera_says(
    tmp_path: Path, orientation: int, ending: str
) -> None:
    path = tmp_path / f"photo.{ending}"
    stored = chessboard_corner(64, 64)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif)
    image = pixels(path)
    # Where the stored corner (row 0, column 0) is to be seen, by EXIF 2.32, tag 0x0112.
    corners = {(4, 4): (1, 5), (4, 27): (2, 6), (27, 27): (3, 7), (27, 4): (4, 8)}
    [(row, column)] = [corner for corner, names in corners.items() if orientation in names]
    assert image[row, column, 0] > 200
    assert image[31 - row, 31 - column, 0] < 50
    assert Decoding().decode(path).turned == (orientation > 1)
    if ending != "tiff":  # Which PIL has always turned.
        assert pixels(path, FIRST)[4, 4, 0] > 200


def test_a_turned_photo_is_as_wide_as_it_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 64)).save(path, exif=exif)
    image = pixels(path, Decoding(fit="pad"))
    assert image[:, :8].min() == 255
    assert not image[:, 8:24].any()


def _transparent_palette(path: Path) -> None:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(path, transparency=1)


@pytest.mark.parametrize(
    ("mode", "value", "first", "now"),
    [
        ("L", 90, (90, 90, 90), None),
        ("1", 1, (255, 255, 255), None),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0), None),
        ("I;16", 0x80FF, (128, 128, 128), None),
        ("RGBA", (255, 0, 0, 0), (255, 0, 0), (0, 0, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0), (255, 0, 0)),
        ("RGBA", (10, 20, 30, 128), (10, 20, 30), (5, 10, 142)),
        ("LA", (70, 0), (70, 70, 70), (0, 0, 255)),
        ("palette", None, (255, 0, 0), (0, 0, 255)),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(
    tmp_path: Path, mode: str, value: Any, first: tuple[int, ...], now: tuple[int, ...] | None
) -> None:
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    if mode == "I;16":
        Image.fromarray(np.full((32, 32), value, np.uint16)).save(path)
    elif mode == "palette":
        _transparent_palette(path)
    else:
        Image.new(mode, (32, 32), value).save(path)
    assert decode_image(path, FIRST) == bytes(first) * 1024
    assert decode_image(path, Decoding(background="#0000ff")) == bytes(now or first) * 1024


def test_opaque_colours_in_a_palette_become_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (255, 0, 0)).convert("P").save(tmp_path / "palette.gif")
    for decoding in (FIRST, None):
        assert decode_image(tmp_path / "palette.gif", decoding) == bytes((255, 0, 0)) * 1024


def test_the_background_is_white_unless_another_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(path)
    assert decode_image(path) == bytes([255]) * 3072
    assert decode_image(path, Decoding(background="black")) == bytes(3072)
    assert Decoding().decode(path).transparent


def test_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.tiff"
    Image.new("F", (32, 32), 0.5).save(path)
    with pytest.raises(InputError, match=r"depth\.tiff.*no fixed range"):
        decode_image(path)


def test_a_large_photo_is_no_bomb(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (10_000, 9_500)).save(path)  # Beyond where PIL warns.
    assert decode_image(path) == bytes(3072)
    assert not recwarn.list


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [8, 28, 64, 224])
def test_a_photo_has_the_size_that_is_asked_for(tmp_path: Path, size: int, fit: Any) -> None:
    """As a photo of 512 pixels, shrunk by Pillow; grey is the luminance of what is seen."""
    path = tmp_path / "photo.png"
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
    shown = small.resize((512, 512), Image.Resampling.BICUBIC)
    shown.save(path)
    expected = shown.resize((size, size), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels(path, Decoding(fit=fit, size=size)), np.asarray(expected))
    grey = pixels(path, Decoding(fit=fit, size=size, channels=1)).astype(float)
    luminance = np.asarray(expected) @ (0.299, 0.587, 0.114)
    assert abs(grey[..., 0] - luminance).max() <= 2


def test_grey_photos_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    stored = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(stored).save(path)
    grey = pixels(path, Decoding(size=28, channels=1))
    assert np.array_equal(grey[..., 0], stored)
    assert np.array_equal(pixels(path, Decoding(size=28)), np.repeat(grey, 3, axis=2))


def test_bars_and_backgrounds_are_grey_in_grey_photos(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGBA", (128, 64), (255, 0, 0, 0)).save(path)
    found = pixels(path, Decoding(fit="pad", background="#0000ff", size=16, channels=1))
    assert set(found.flatten().tolist()) == {29}  # 0.114 · 255


def test_the_cache_tells_sizes_and_channels_apart() -> None:
    ways = [FIRST, Decoding(), Decoding(size=64), Decoding(channels=1), Decoding(1, "stretch")]
    ways += [Decoding(1, "stretch", size=64), Decoding(1, "stretch", channels=1)]
    assert len({way.key for way in ways}) == 6
    assert (FIRST.key, Decoding().key) == ("", Decoding().words)


def test_a_configuration_without_a_word_on_decoding_means_the_first(tmp_path: Path) -> None:
    assert Decoding.of(folder_config(tmp_path)) == FIRST
    assert FIRST.is_first
    assert not Decoding().is_first
    words = {d.words for d in (FIRST, Decoding(), Decoding(1, "crop"), Decoding(fit="pad"))}
    assert len(words) == 4
