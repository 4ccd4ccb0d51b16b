"""Which step of MLflow an epoch is, and where what a whole run has come to stands."""

from typing import NamedTuple


class EpochSteps(NamedTuple):
    """The steps of one study; ``first``: that of its first epoch (``StudyEvent.first_step``).

    MLflow draws what has no step above 0 as bars, a run beside the other, and all else as a line.
    So epochs begin at 1, as people count them, and a single value of a whole run stands at 0.
    """

    first: int = 0

    def of(self, epoch: int) -> int:
        """The step of an epoch, which counts from 0."""
        return self.first + epoch

    def whole(self, last: int) -> int:
        """The step of what a whole run has come to; ``last``: its last epoch."""
        return 0 if self.first else last
