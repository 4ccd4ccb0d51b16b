"""Optuna's samplers by name."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from trainables.errors import InputError, nearest

_GENERATION = 16
"""Trials of one generation of ``nsga2``; Optuna's 50 would be one generation of a whole study."""

_SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    # The constant liar makes concurrent trials keep away from each other.
    "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),
    "random": lambda seed: RandomSampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed, warn_independent_sampling=False),
    # Most trials of a study with early stopping are pruned; without them it would learn little.
    "cmaes": lambda seed: CmaEsSampler(
        seed=seed, warn_independent_sampling=False, consider_pruned_trials=True
    ),
    "qmc": lambda seed: QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=_GENERATION),
}


def check_sampler(name: str, objectives: int) -> None:
    """Refuse an unknown sampler, or one that can't search for so many objectives.

    Raises:
        InputError: with the nearest name, or the reason.
    """
    if name not in _SAMPLERS:
        raise InputError(f"sampler = {name!r}: {nearest(name, _SAMPLERS)}")
    if name == "cmaes" and objectives > 1:
        raise InputError(
            "sampler = 'cmaes': it knows one objective only; "
            "for two of them take tpe, gp, nsga2, qmc or random"
        )


def make_sampler(name: str, seed: int, trials_so_far: int) -> BaseSampler:
    """A seeded sampler.

    Args:
        name: as ``check_sampler`` accepts.
        seed: the study's seed.
        trials_so_far: trials that the study has when the sampler is made. A study that goes on
            must not draw the same random numbers again.
    """
    # A quasi-random sequence keeps its place in the storage, and its seed says which one it is.
    drawn = 0 if name == "qmc" else trials_so_far
    derived = int(np.random.SeedSequence([seed, drawn]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _SAMPLERS[name](derived)
