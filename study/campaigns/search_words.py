"""What a search's figures cannot tell apart, in sentences: equal values, and less than an image."""

import math

from study.config import StudyConfig
from study.records.summary import Summary, TrialSummary, sharing_best

_NAMED = 2
"""Trials of equal value that are named; the others are counted."""


def tie_sentence(config: StudyConfig, summary: Summary) -> str:
    """Who shares the best value, and by what the first of them comes first; empty without a tie."""
    sharing = sharing_best(config, summary.trials)
    if not sharing:
        return ""
    names = [trial.trial_id for trial in sharing]
    shown, more = names[:_NAMED], len(names) - _NAMED
    who = f"{', '.join(shown)} and {more} more" if more > 0 else " and ".join(shown)
    return (
        f"{who} share the best value {sharing[0].value:.4f}; {names[0]} comes first by its "
        f"{_decided_by(sharing[0], sharing[1])} only"
    )


def _decided_by(first: TrialSummary, second: TrialSummary) -> str:
    losses = [trial.metrics.get("tail_val_loss") for trial in (first, second)]
    return "lower number" if losses[0] == losses[1] else "lower tail loss"


def image_sentence(config: StudyConfig, summary: Summary) -> str:
    """What an image is worth, where the winner differs from its baseline by no more than one.

    Empty where it differs by more or not at all, where the objective is no accuracy, and for
    studies that have not recorded how many images they validate on.
    """
    best = next((t for t in summary.trials if t.trial_id == summary.best), None)
    images, difference = summary.validation_images, best.paired_difference if best else None
    if not images or not isinstance(difference, float) or difference == 0:
        return ""
    if not config.objective[0].endswith("val_accuracy"):
        return ""
    worth = f"one validation image is worth {1 / images:.4f} ({images} images): "
    if math.isclose(abs(difference), 1 / images, rel_tol=1e-6):
        return worth + "the difference is that one image"
    if abs(difference) < 1 / images:
        return worth + "smaller differences are part of an image, as the mean of several epochs"
    return ""
