"""How a confirmation was planned: when it looks, what it may err with, whether it may go on."""

from dataclasses import dataclass

from study.statistics.estimate import ALPHA
from study.statistics.sequential import SequentialDesign, alpha_spent_early, nominal_levels
from trainables.errors import InputError

EQUIVALENCE_ALPHA = 0.05
"""Error level of each of the two one-sided tests of equivalence, over the whole family."""

SET_ASIDE = 0.01
"""What an extendable design sets aside, of ``ALPHA`` and of ``EQUIVALENCE_ALPHA`` each."""


@dataclass(frozen=True, slots=True)
class ConfirmationDesign:
    """What is fixed before the first seed; one look is a fixed number of seeds.

    Attributes:
        looks: numbers of seeds at the looks, strictly ascending; the last is the planned end.
        alpha: two-sided error level of the family for a difference.
        set_aside: the share of ``alpha`` kept for seeds beyond the planned end; 0: not extendable.
        futility: whether it ends early where ``better`` is out of reach. That is non-binding: to
            go on to the planned looks nevertheless, turn it off; no error level changes.
        extended_to: seeds asked for beyond the planned end, in all; 0: none.
    """

    looks: tuple[int, ...]
    alpha: float = ALPHA
    set_aside: float = 0.0
    futility: bool = True
    extended_to: int = 0

    def __post_init__(self) -> None:
        SequentialDesign(self.looks, self.alpha)
        if not 0 <= self.set_aside < min(self.alpha, EQUIVALENCE_ALPHA):
            raise InputError(
                f"set_aside = {self.set_aside}: must be at least 0 and below {self.alpha}"
            )
        if self.extended_to and self.extended_to <= self.looks[-1]:
            raise InputError(
                f"extended_to = {self.extended_to}: must be more than the {self.looks[-1]} "
                "seeds that were planned"
            )

    @property
    def extendable(self) -> bool:
        return self.set_aside > 0

    @property
    def planned(self) -> int:
        """Seeds at the planned end."""
        return self.looks[-1]

    def level(self, look: int, configurations: int) -> float:
        """Two-sided nominal level of a difference at a look, the error shared by so many."""
        levels = nominal_levels(self.looks, self.share(configurations))
        return levels[self.looks.index(look)]

    def share(self, configurations: int) -> float:
        """What one of ``configurations`` may err with over all looks; no level is above it."""
        return (self.alpha - self.set_aside) / configurations

    def equivalence_level(self, look: int, configurations: int) -> float:
        """One-sided nominal level of each of the two tests of equivalence at a look."""
        both_sides = 2 * self.equivalence_share(configurations)
        levels = nominal_levels(self.looks, both_sides, alpha_spent_early)
        return levels[self.looks.index(look)] / 2

    def equivalence_share(self, configurations: int) -> float:
        return (EQUIVALENCE_ALPHA - self.set_aside) / configurations
