"""The images that are made when a batch needs them, and who is looked at."""

import os
import subprocess
import sys

import numpy as np

from benchmarks.streamed_study import SIZE, descendants, measured, two_hundred_megabytes
from trainables.data_config import DataConfig


def test_they_are_as_many_as_their_name_says_and_always_the_same() -> None:
    parts = two_hundred_megabytes()
    size = sum(len(part) for part in parts) * SIZE * SIZE * 3
    assert 0.95 * 200e6 < size <= 200e6
    for part in parts:
        image, label = part[3]
        assert (image.shape, image.dtype, label) == ((SIZE, SIZE, 3), np.uint8, 3)
        assert np.array_equal(image, part[3][0])
        assert not np.array_equal(image, part[13][0])
    assert not np.array_equal(parts[0][3][0], parts[1][3][0])
    name = "benchmarks.streamed_study:two_hundred_megabytes"
    assert DataConfig(dataset=name, image_size=SIZE, stream=True).stream


def test_a_command_is_looked_at_with_all_below_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert {os.getpid(), child.pid} <= set(descendants(os.getpid()))
    child.communicate(b"\n")
    assert child.pid not in descendants(os.getpid())
    assert measured([sys.executable, "-c", "raise SystemExit(3)"]).startswith("exit code 3, ")
