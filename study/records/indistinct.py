"""What a search's figures cannot tell apart, in sentences: equal values, less than an image."""

import math
from collections.abc import Sequence

from study.config import StudyConfig
from study.formats import PLAIN, Figures
from study.records.summary import Summary, TrialSummary, ranked, rounded
from study.records.values import by_objective

_NAMED = 2
"""Trials of equal value that are named; the others are counted."""


def indistinct(config: StudyConfig, summary: Summary, figures: Figures = PLAIN) -> list[str]:
    """All that there is to say of it."""
    said = (tie_sentence(config, summary, figures), image_sentence(config, summary, figures))
    return [text for text in said if text]


def tie_sentence(config: StudyConfig, summary: Summary, figures: Figures = PLAIN) -> str:
    """Who shares the best value, and by what the first of them comes first; empty without a tie."""
    sharing = sharing_best(config, summary.trials)
    if not sharing:
        return ""
    names = [trial.trial_id for trial in sharing]
    shown, more = names[:_NAMED], len(names) - _NAMED
    who = f"{', '.join(shown)} and {more} more" if more > 0 else " and ".join(shown)
    best = sharing[0]
    raced = best.place is not None
    gain, value = by_objective(best.ranked_by)[0], by_objective(best.value)[0]
    what = f"difference {figures.difference(gain)}" if raced else f"value {figures.value(value)}"
    by = _decided_by(best, sharing[1])
    return f"{who} share the best {what}; {names[0]} comes first by its {by} only"


def sharing_best(config: StudyConfig, trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    """The complete trials that share what the first is first by; none where one alone has it.

    In a race that is the difference by which it was selected last, else the value. Several
    objectives have a front instead.
    """
    order = ranked(config, [t for t in trials if t.state == "complete" and t.value is not None])
    if config.multi_objective or not order:
        return []
    first = order[0]
    # A stage of one is the winner's own, and selects nothing: the one before parted it from others.
    alone = sum(trial.stages >= first.stages for trial in order) == 1
    selected = first.stages - alone

    def figure(trial: TrialSummary) -> tuple[int, float | None]:
        if first.place is None:
            return 0, rounded(trial.value)
        return min(trial.stages, selected), rounded(trial.ranked_by)

    sharing = [trial for trial in order if figure(trial) == figure(first)]
    return sharing if len(sharing) > 1 else []


def first_word(config: StudyConfig, trials: Sequence[TrialSummary]) -> str:
    """What the trial that comes first is called: the best only where it shares that with none."""
    return "first" if sharing_best(config, trials) else "best"


def _decided_by(first: TrialSummary, second: TrialSummary) -> str:
    if first.place is not None:
        return "tail losses"
    losses = [trial.metrics.get("tail_val_loss") for trial in (first, second)]
    return "lower number" if losses[0] == losses[1] else "lower tail loss"


def image_sentence(config: StudyConfig, summary: Summary, figures: Figures = PLAIN) -> str:
    """What an image is worth, where the winner differs from its baseline by no more than one.

    Empty where it differs by more or not at all, where the objective is no accuracy, and for
    studies that have not recorded how many images they validate on.
    """
    best = next((t for t in summary.trials if t.trial_id == summary.best), None)
    images = summary.validation_images
    if best is None or not images:
        return ""
    shown = best.paired_difference if best.mean_difference is None else best.mean_difference
    difference = by_objective(shown)[0]
    if not difference:
        return ""
    if not config.objective[0].endswith("val_accuracy"):
        return ""
    worth = f"one validation image is worth {figures.size(1 / images)} ({images} images): "
    if math.isclose(abs(difference), 1 / images, rel_tol=1e-6):
        return worth + "the difference is that one image"
    if abs(difference) < 1 / images:
        return worth + "smaller differences are part of an image, as means over epochs or seeds"
    return ""
