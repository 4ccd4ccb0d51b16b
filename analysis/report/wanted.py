"""Which checkpoints a report evaluates: the best trial's and its baseline's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from analysis.reading import StudyView, weights_that_decide
from study.campaigns.confirm_plan import confirm_folder, run_key
from study.campaigns.confirmation import Confirmation, confirmation_of
from study.records.planned_run import baseline_key
from trainables.config import TrainConfig
from trainables.metrics import WhichWeights
from trainables.object_store import Location

Part = Literal["val", "test"]


@dataclass(frozen=True)
class Wanted:
    """What is to be evaluated: for each seed the checkpoints of baseline and trial."""

    config: TrainConfig
    key: str
    part: Part
    weights: WhichWeights
    checkpoints: Mapping[int, tuple[Location, Location]]


def wanted(view: StudyView) -> Wanted | str:
    confirmation = confirmation_of(view.folder, view.config, view.state)
    confirmed = None if confirmation is None else _confirmed(confirmation)
    if confirmed is not None:
        return confirmed
    best = view.best_noisy
    if best is None:
        return "No trial is complete yet: there is nothing to compare by class."
    baseline = baseline_key(best.seed, view.config.code_changes)
    root = view.folder.checkpoints
    # What never injected keeps no checkpoint: it is its baseline.
    key = best.key if best.first_injection_epoch is not None else baseline
    pair = (root / baseline / "final.ckpt", root / key / "final.ckpt")
    which = weights_that_decide(view.config)
    return Wanted(view.train_config(best.key), best.key, "val", which, {best.seed: pair})


def _confirmed(found: Confirmation) -> Wanted | None:
    root = confirm_folder(found.folder).checkpoints
    chosen = found.config.trials[0]
    pairs: dict[int, tuple[Location, Location]] = {}
    for seed in found.config.fresh_seeds:
        baseline, record = found.record("baseline", "", seed), found.record("confirm", chosen, seed)
        if baseline is None or record is None:
            continue
        if baseline.state != "complete" or record.state != "complete":
            continue
        own = run_key("confirm", chosen, seed)
        key = own if record.first_injection_epoch is not None else baseline.key
        pairs[seed] = (root / baseline.key / "final.ckpt", root / key / "final.ckpt")
    if not pairs:
        return None
    which = weights_that_decide(found.study)
    return Wanted(found.train_config(chosen), chosen, "test", which, pairs)
