"""scikit-learn's 1,797 digits, 8×8 with 17 grey levels; a stratified quarter is test."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.dataset import ClassCounts, Progress, Source
from trainables.data.registry import DATA_SETS
from trainables.data.stratified import counts, drawn, held_out

_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
_TEST_SEED = 20_240_602
_TEST = DATA_SETS["digits"].holdout


def class_counts(config: DataConfig) -> ClassCounts:
    test = [held_out(count, _TEST) for count in _COUNTS]
    return ClassCounts([count - held for count, held in zip(_COUNTS, test, strict=True)], test)


def read(config: DataConfig, progress: Progress | None) -> Source:
    from PIL import Image

    size, channels = config.shape
    table = _table()
    grey = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    resized = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
        for image in grey
    ]
    images = np.repeat(np.stack(resized)[..., None], channels, axis=3)
    labels = table[:, -1].astype(np.int64)
    sizes = [held_out(count, _TEST) for count in counts(labels)]
    test = drawn(labels, sizes, _TEST_SEED)
    classes = tuple(str(digit) for digit in range(10))
    return Source(images[~test], labels[~test], images[test], labels[test], classes)


def _table() -> NDArray[np.float64]:
    """(1797, 65): 64 pixels from 0 to 16, and the label.

    The file is read as scikit-learn does: importing it, with SciPy, would take a second.
    """
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return np.loadtxt(Path(found.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
