"""How far a trial's controls differ from it, in dose and in epochs: may timing be spoken of?

METHOD's section 11. A control that has much of the trial's own noise, or another dose of it, can't
tell whether the trial's timing mattered.
"""

import math

from study.campaigns.confirm_plan import CONTROLS
from study.campaigns.confirm_runs import run_config
from study.campaigns.confirmation import Confirmation
from study.campaigns.dose import DOSE_RATIOS, Doses, overlap, realised_ratio, worst
from study.campaigns.placebo import own_plan
from study.records.planned_run import Role
from study.records.values import ResultPart

MOST_OVERLAP = 0.5
"""Placebos that share more of their trial's noisy epochs, in the mean, say nothing of timing."""


class Contrast(ResultPart):
    """A trial's controls of one role, over all seeds on which it had noise and they could lie.

    Attributes:
        draws: as many on a seed, at most.
        dose_ratio: planned dose for each unit of the trial's: the geometric mean.
        dose_ratio_range: the lowest and the highest.
        realised_dose_ratio: the geometric mean over those that are complete, relative gradient
            noise in units of the gradients that there were; None if none is complete.
        overlap: the share of the trial's noisy epochs that are theirs, too: the mean.
        without: seeds on which the trial had noise that could not lie elsewhere.
    """

    draws: int
    dose_ratio: float
    dose_ratio_range: tuple[float, float]
    realised_dose_ratio: float | None
    overlap: float
    without: tuple[int, ...]

    def objection(self, role: Role) -> str:
        """Why these controls can't tell whether timing matters; empty where they can."""
        low, high = DOSE_RATIOS
        if not low <= self.dose_ratio <= high:
            return f"its {role} has {self.dose_ratio:.3g} times its dose of noise"
        if role == "placebo" and self.overlap > MOST_OVERLAP:
            return (
                f"its placebos have noise in {self.overlap:.0%} of its own noisy epochs, more than "
                f"{MOST_OVERLAP:.0%}"
            )
        return ""


def contrast_of(confirmation: Confirmation, role: Role, trial: str) -> Contrast | None:
    """How a trial's controls of a role differ from it; None where it has none, or no noise."""
    ratios: list[float] = []
    realised: list[float] = []
    overlaps: list[float] = []
    without: list[int] = []
    draws = 0
    for seed in confirmation.seeds_complete(trial):
        record = confirmation.complete("confirm", trial, seed)
        assert record is not None
        own, config = own_plan(record.history), run_config(record)
        if not own:
            continue
        plans = confirmation.plans(role, trial, seed)
        if not plans:
            without.append(seed)
        draws = max(draws, len(plans))
        for draw, plan in enumerate(plans, start=1):
            ratios.append(worst(Doses.of(config, record.history).ratios(plan, own)))
            overlaps.append(overlap(plan, own))
            control = confirmation.complete(role, trial, seed, draw)
            had = control and realised_ratio(control.history, record.history, config)
            if had:
                realised.append(had)
    if not ratios:
        return None
    return Contrast(
        draws=draws,
        dose_ratio=_geometric_mean(ratios),
        dose_ratio_range=(min(ratios), max(ratios)),
        realised_dose_ratio=_geometric_mean(realised) if realised else None,
        overlap=math.fsum(overlaps) / len(overlaps),
        without=tuple(without),
    )


def _geometric_mean(ratios: list[float]) -> float:
    if min(ratios) <= 0 or math.isinf(max(ratios)):
        return max(ratios)
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios))


def objections(confirmation: Confirmation, trial: str) -> dict[Role, str]:
    """Control → why it can't tell whether the timing of a trial matters.

    Confirmations begun before placebos were matched mean what they meant: nothing is objected.
    """
    if confirmation.config.placebo_rule != "matched":
        return {}
    found = {role: contrast_of(confirmation, role, trial) for role in CONTROLS}
    texts = {role: contrast.objection(role) for role, contrast in found.items() if contrast}
    return {role: text for role, text in texts.items() if text}


def timing_shown(confirmation: Confirmation, trial: str) -> bool:
    """Whether a trial beats both its controls, and these can tell: when its noise came mattered."""
    beside = [confirmation.judged(against=role).get(trial) for role in CONTROLS]
    beats = all(found is not None and found.better for found in beside)
    return beats and not objections(confirmation, trial)


def why_no_placebo(confirmation: Confirmation, trial: str) -> str:
    """Why a trial can have no placebo on any seed; empty where it can, or is not complete."""
    if not confirmation.has_no("placebo", trial):
        return ""
    if confirmation.config.clock and not confirmation.has_no("clock", trial):
        return "nowhere else would its noise have the same dose at like learning rates"
    return "its noise fills the epochs after its warm-up and can't lie elsewhere"
