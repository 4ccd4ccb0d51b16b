"""Everything that touches Optuna's private parts, each with its reason."""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial


def storage_id(trial: FrozenTrial) -> int:
    """What a storage calls the trial; Optuna's public number is another name.

    A storage takes a trial's state and parameters without asking the sampler again, but only by
    this id. Its public look-up reads the journal anew for each call.
    """
    return int(trial._trial_id)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a distribution could have given the value; the public methods only convert it."""
    return bool(distribution._contains(distribution.to_internal_repr(value)))
