"""Collapses: trainings that diverged, or fell back to guessing; and what they say of a trial."""

from collections.abc import Sequence

import numpy as np
import scipy

from trainables.metrics import EpochMetrics

CHANCE_ALPHA = 0.001
"""Probability with which a training that only guesses is ever taken to be above chance."""

_CLEAR = 0.15
"""Accuracy above that of guessing that has to show; fewer images let one that learned a little pass
for one that guesses."""


def above_chance(classes: int, images: int, epochs: int = 1) -> int:
    """The fewest images right that guessing hardly reaches in any of ``epochs`` epochs.

    Guessing gets Binomial(``images``, 1/``classes``) images right; the bound is reached with a
    probability of at most ``CHANCE_ALPHA`` / ``epochs``. Beyond ``images``: none is.
    """
    # What scipy.stats.binom.isf gives; its import takes a second, and this is asked at every end.
    more = scipy.special.bdtrc(np.arange(images + 1), images, 1 / classes)
    return int(np.argmax(more <= CHANCE_ALPHA / epochs)) + 1


def has_collapsed(
    history: Sequence[EpochMetrics], *, classes: int, images: int, diverged: bool = False
) -> bool:
    """Whether a training diverged, or was once above chance and is at chance in the end.

    ``diverged``: the run failed as diverged. ``images``: of the validation set. A training that was
    never above chance is stuck, which is no collapse.
    """
    if diverged or not all(row.finite for row in history):
        return True
    if not history:
        return False
    right = [round(row.val_accuracy * images) for row in history]
    learnt = max(right) >= above_chance(classes, images, len(history))
    return learnt and right[-1] < above_chance(classes, images)


def never_learned(history: Sequence[EpochMetrics], *, classes: int, images: int) -> bool:
    """Whether a training was never above chance, where images enough could have told.

    ``images``: of the validation set.
    """
    needed = above_chance(classes, images, max(1, len(history)))
    if not history or needed - images / classes > _CLEAR * images:
        return False
    return all(round(row.val_accuracy * images) < needed for row in history)


def collapse_test(alone: int, reference_alone: int) -> float:
    """One-sided p-value that a configuration collapses more often than its reference.

    McNemar's exact test: ``alone`` are the seeds on which only the configuration collapsed,
    ``reference_alone`` those on which only the reference did; each of them is heads or tails.
    """
    return float(scipy.stats.binom.sf(alone - 1, alone + reference_alone, 0.5))


def rate_bound(events: int, n: int, confidence: float = 0.95) -> float:
    """Upper bound of a rate seen as ``events`` of ``n``, one-sided (Clopper and Pearson 1934)."""
    return 1.0 if events >= n else float(scipy.stats.beta.ppf(confidence, events + 1, n - events))
