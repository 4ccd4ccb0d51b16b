"""Images in memory, brought to another size or to grey."""

import numpy as np
from PIL import Image

from trainables.data.dataset import Pixels
from trainables.data_config import ImageShape


def resized(images: Pixels, shape: ImageShape) -> Pixels:
    """Images, uint8 (n, height, width, 1 or 3), as (n, size, size, channels).

    As photos are (``image_decoding``): grey is the luminance of ITU-R BT.601, shrinking averages
    over the pixels that fall together, enlarging is bilinear. Those that have the shape are
    returned as they are.
    """
    size, channels = shape
    if images.shape[1:] == (size, size, channels):
        return images
    found = np.empty((len(images), size, size, channels), np.uint8)
    for number, pixels in enumerate(images):
        # Pillow's grey images have no axis for their channel.
        image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        image = image.convert("L" if channels == 1 else "RGB").resize(
            (size, size), Image.Resampling.BILINEAR
        )
        found[number] = np.asarray(image).reshape(size, size, channels)
    return found
