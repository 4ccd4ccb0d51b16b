"""What a study writes beside a run's configuration: what that assumed of its training."""

from collections.abc import Mapping
from typing import Any

from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState
from study.records.planned_run import baseline_key
from trainables.config import TrainConfig
from trainables.data.dataset import Dataset
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.noise.assumed import Assumed
from trainables.settings import parse_config


def assumed_by(
    run: TrainConfig,
    study: StudyConfig,
    state: LedgerState,
    known: Mapping[str, Any] | None = None,
) -> Assumed | None:
    """What a run of a study assumed; None if the whole baseline of its seed is not in the ledger.

    ``known``: what the ledger does not tell, which only images and model do.
    """
    baseline = state.trials.get(baseline_key(run.seed, study.code_changes))
    if baseline is None or baseline.lost_epochs or len(baseline.history) != run.epochs:
        return None
    return Assumed.of(run, baseline.history, **(known or {}))


def write_assumed(
    folder: StudyFolder,
    study: StudyConfig,
    run: TrainConfig,
    state: LedgerState,
    images: Dataset | None,
) -> None:
    """Write it beside the winner's configuration, with what only the images and the model tell.

    ``images``: those that were trained on; None: of a task of one's own.
    """
    known: dict[str, Any] = {}
    if images is not None:
        known["steps_per_epoch"] = len(images.train_labels) // run.data.batch_size
        if run.noise.scaling == "absolute" and not run.model.pretrained:
            from trainables.noise.calibrated import initial_rms

            known["weights_rms"] = initial_rms(run, len(images.classes))
    assumed = assumed_by(run, study, state, known)
    if assumed is not None:
        write_json(folder.assumed, assumed.model_dump(mode="json"))


def told(folder: StudyFolder, study: StudyConfig, run: TrainConfig) -> dict[str, Any]:
    """What the study measured for its winner, as far as it holds for this run, too."""
    if not folder.assumed.exists():
        return {}
    try:
        found = parse_config(Assumed, read_mapping(folder.assumed), where=str(folder.assumed))
    except InputError:
        return {}
    same = run.data == study.train.data and run.model == study.train.model
    return found.model_dump(include={"steps_per_epoch", "weights_rms"}) if same else {}
