"""How often a space's noise never begins, begins at once, and what is trained of its epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import BaseDistribution

from search_spaces.conditions import build_point
from search_spaces.registry import SpaceSpec, first_possible_injection
from search_spaces.sampling import sample
from trainables.config import TrainConfig, apply_overrides
from trainables.epochs import epoch_number, epoch_numbers
from trainables.metrics import EpochMetrics
from trainables.noise.controller import fork_epoch


@dataclass(frozen=True)
class ForkShares:
    """When the noise of a space's sampled configurations begins, by the baseline's history.

    Attributes:
        n: configurations sampled.
        never: share whose noise never begins.
        at_first: share whose noise begins at the first epoch at which it could.
        forks: fork epoch at the quantiles 0, 0.1, 0.25, 0.5, 0.75, 0.9 and 1 of those that
            inject; empty if none does.
        trained: share of all epochs that would be trained, the rest being the baseline's.
        first_possible: the earliest epoch at which any point of the space lets noise begin.
    """

    n: int
    never: float
    at_first: float
    forks: tuple[int, ...]
    trained: float
    first_possible: int
    epochs: int

    def describe(self) -> str:
        spread = "none begins"
        if self.forks:
            first, _, low, _, high, _, last = epoch_numbers(self.forks)
            spread = (
                f"the others begin in epochs {first} to {last}, half of them between {low} and "
                f"{high}"
            )
        return (
            f"of {self.n} settings {self.never:.1%} never inject, {self.at_first:.1%} at the first "
            f"epoch at which they could; {spread} (possible: "
            f"{epoch_number(self.first_possible)} to {self.epochs}); "
            f"{self.trained:.0%} of all epochs are trained"
        )


def shares(
    space: SpaceSpec,
    base: TrainConfig,
    history: Sequence[EpochMetrics],
    *,
    n: int = 1000,
    seed: int = 0,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> ForkShares:
    """Sample ``n`` configurations and see from the baseline's history when their noise begins.

    Args:
        distributions: those of a calibrated space; default: the space's own.
    """
    box = space.distributions(base) if distributions is None else distributions
    columns = sample(box, n, seed)
    conditions = space.conditions(box)
    begins: list[int] = []
    at_first = 0
    for index in range(n):
        drawn = {name: column[index] for name, column in columns.items()}
        point = build_point(box, conditions, drawn.__getitem__)
        noise = apply_overrides(base, space.overrides(point)).noise
        fork = fork_epoch(history, noise, base.epochs)
        if fork is not None:
            begins.append(fork)
            at_first += fork == noise.earliest_injection()
    levels = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    return ForkShares(
        n=n,
        never=1 - len(begins) / n,
        at_first=at_first / n,
        forks=tuple(np.quantile(begins, levels, method="inverted_cdf").tolist()) if begins else (),
        trained=sum(base.epochs - fork for fork in begins) / (n * base.epochs),
        first_possible=first_possible_injection(space, base, box),
        epochs=base.epochs,
    )
