"""Optuna's samplers by name: one record each, from which the names, the help and the checks follow.

Optuna is imported when a sampler is made.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError, nearest

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_QUIET = {"warn_independent_sampling": False}


@dataclass(frozen=True)
class _Sampler:
    """A class of ``optuna.samplers``, what it is made with, and whether it takes two objectives.

    ``conditional``: whether it searches dimensions that only some trials have; the others would
    draw those at random.
    ``learns``: whether it learns from trials that it did not draw itself, those of a warm start.
    ``keeps_its_place``: the storage remembers how far it is, so that its seed must stay.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    several: bool = True
    conditional: bool = False
    learns: bool = False
    keeps_its_place: bool = False


SAMPLERS: Mapping[str, _Sampler] = {
    # The constant liar makes concurrent trials keep away from each other.
    "tpe": _Sampler("TPESampler", {"constant_liar": True}, conditional=True, learns=True),
    "random": _Sampler("RandomSampler", conditional=True),
    "gp": _Sampler("GPSampler", _QUIET, learns=True),
    # Most trials of a study with early stopping are pruned; without them it would learn little.
    "cmaes": _Sampler("CmaEsSampler", {**_QUIET, "consider_pruned_trials": True}, several=False),
    "qmc": _Sampler("QMCSampler", {**_QUIET, "scramble": True}, keeps_its_place=True),
    # Optuna's generations of 50 trials would be one generation of a whole study.
    "nsga2": _Sampler("NSGAIISampler", {"population_size": 16}),
}


def check_sampler(name: str, objectives: int) -> None:
    """Refuse an unknown sampler, or one that can't search for so many objectives."""
    if name not in SAMPLERS:
        raise InputError(
            f"sampler (--sampler) = {name!r}: unknown sampler; {nearest(name, SAMPLERS)}"
        )
    if not SAMPLERS[name].several and objectives > 1:
        *others, last = (other for other, sampler in SAMPLERS.items() if sampler.several)
        raise InputError(
            f"sampler (--sampler) = {name!r}: it knows one objective only; "
            f"for two of them take {', '.join(others)} or {last}"
        )


def check_conditional(name: str, space: str) -> None:
    """Refuse a sampler that can't search the space called ``space``, which has conditions."""
    if not SAMPLERS[name].conditional:
        fit = [other for other, sampler in SAMPLERS.items() if sampler.conditional]
        raise InputError(
            f"sampler (--sampler) = {name!r}: it can't search space {space!r}, whose dimensions "
            f"depend on one another; take {' or '.join(fit)}, or another space (--space)"
        )


def check_learns(name: str) -> None:
    """Refuse a sampler that a warm start would tell nothing."""
    if not SAMPLERS[name].learns:
        fit = [other for other, sampler in SAMPLERS.items() if sampler.learns]
        raise InputError(
            f"sampler (--sampler) = {name!r}: it can't use a warm start (--warm-start), it learns "
            f"nothing from other studies' trials; take {' or '.join(fit)}"
        )


def make_sampler(name: str, seed: int, trials_so_far: int) -> "BaseSampler":
    """A sampler with the study's seed.

    ``trials_so_far`` is in the seed: a study that goes on must not draw the same numbers again.
    """
    import numpy as np
    import optuna
    from optuna.exceptions import ExperimentalWarning

    sampler = SAMPLERS[name]
    # A quasi-random sequence keeps its place in the storage, and its seed says which one it is.
    drawn = 0 if sampler.keeps_its_place else trials_so_far
    derived = int(np.random.SeedSequence([seed, drawn]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        made: BaseSampler = getattr(optuna.samplers, sampler.kind)(seed=derived, **sampler.options)
    return made
