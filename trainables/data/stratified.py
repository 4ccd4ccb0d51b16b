"""Parts of a data set that hold the same share of every class, drawn the same in every run."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import Labels


def held_out(count: int, share: float) -> int:
    """How many of a class's images are set apart: at least one, and not all of them."""
    return min(max(1, _rounded(count * share)), count - 1) if count > 1 else 0


def kept(count: int, fraction: float) -> int:
    """How many of a class's images a subset keeps: at least one."""
    return min(max(1, _rounded(count * fraction)), count)


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


def counts(labels: Labels) -> list[int]:
    return np.bincount(labels).tolist()


def drawn(labels: Labels, sizes: Sequence[int], seed: int | Sequence[int]) -> NDArray[np.bool_]:
    """Draw ``sizes[c]`` images of each class c: a mask (n,).

    With equal labels and seed, a smaller draw lies within a larger one.
    """
    # RandomState, since numpy promises that its numbers stay the same for ever.
    random = np.random.RandomState(seed)
    mask = np.zeros(len(labels), bool)
    for number, size in enumerate(sizes):
        members = np.flatnonzero(labels == number)
        mask[members[random.permutation(len(members))[:size]]] = True
    return mask
