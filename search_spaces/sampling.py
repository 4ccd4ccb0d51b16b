"""Random points of a space, drawn from the ranges that calibration tries."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sample(box: Mapping[str, BaseDistribution], n: int, seed: int) -> dict[str, list[Any]]:
    """``n`` independent points of a space, by path."""
    random = np.random.default_rng(seed)
    return {path: _draw(distribution, random, n) for path, distribution in box.items()}


def _draw(distribution: BaseDistribution, random: np.random.Generator, n: int) -> list[Any]:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return [choices[index] for index in random.integers(len(choices), size=n)]
        case IntDistribution(low=low, high=high):
            return [int(value) for value in random.integers(low, high + 1, size=n)]
        case FloatDistribution(low=low, high=high, log=log):
            draw: Callable[..., Floats] = random.uniform
            values = np.exp(draw(math.log(low), math.log(high), n)) if log else draw(low, high, n)
            return [float(value) for value in np.clip(values, low, high)]
    raise TypeError(f"no distribution of Optuna: {distribution!r}")
