"""Baselines that never learned: what is gained beside one is gained over guessing."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.records.ledger_view import TrialRecord
from study.statistics.collapse import never_learned


@dataclass(frozen=True)
class NeverLearned:
    """Baselines at chance all along: ``seeds`` of the ``of`` that are complete."""

    seeds: int
    of: int
    classes: int

    @property
    def everywhere(self) -> bool:
        return self.seeds == self.of

    @property
    def sentence(self) -> str:
        chance = f"that of guessing one of {self.classes} classes"
        if self.everywhere:
            every = {1: "its one seed", 2: "both seeds"}.get(self.of, f"all {self.of} seeds")
            return f"The baseline never learned: on {every} its validation accuracy is {chance}."
        return (
            f"The baseline never learned on {self.seeds} of {self.of} seeds: there its validation "
            f"accuracy is {chance}."
        )


def never_learned_baselines(
    baselines: Sequence[TrialRecord], images: int | None
) -> NeverLearned | None:
    """None if all learned, or where nobody can tell. ``images``: of the validation set."""
    ended = [record for record in baselines if record.state == "complete"]
    stuck = [record for record in ended if _is_stuck(record, images)]
    if not stuck:
        return None
    return NeverLearned(len(stuck), len(ended), len(stuck[0].config["data"]["classes"]))


def chance_sentence(baselines: Sequence[TrialRecord], images: int | None) -> str:
    """On how many seeds the baseline never learned; empty if on none, or where nobody can tell."""
    found = never_learned_baselines(baselines, images)
    return "" if found is None else found.sentence


def _is_stuck(record: TrialRecord, images: int | None) -> bool:
    classes = record.config.get("data", {}).get("classes")
    if record.config.get("task") or not classes or not images:
        return False
    return never_learned(record.history, classes=len(classes), images=images)
