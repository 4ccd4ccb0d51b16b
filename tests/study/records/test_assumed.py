"""What is written beside a winner: the ledger's baseline, the images' steps, the model's RMS."""

import json
from pathlib import Path

import pytest
import torch

from study.records.assumed import assumed_by, told, write_assumed
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from tests.support.runs import training
from tests.support.trained_studies import EPOCHS, write_study
from trainables.adaptive_noise import AdaptiveNoise
from trainables.config import TrainConfig, apply_overrides
from trainables.data.image_sets import load_dataset
from trainables.errors import InputError


def test_a_study_states_what_its_winner_assumed_and_the_library_reads_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, "s", seeds=1)
    folder = StudyFolder.of(tmp_path, "s")
    state = read_ledger(folder.ledger)
    run = TrainConfig.model_validate(state.trials["trial-0001"].config)
    absolute = apply_overrides(run, {"noise/scaling": "absolute"})
    images = load_dataset(run.data)
    write_assumed(folder, study, absolute, state, images)
    stored = json.loads(folder.assumed.read_text())
    baseline = state.trials["baseline-seed0"].history
    assert stored["epochs"] == EPOCHS
    assert stored["steps_per_epoch"] == len(images.train_labels) // run.data.batch_size
    assert stored["baseline"]["val_loss"] == [row.val_loss for row in baseline]
    model = training(absolute).model
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert stored["weights_rms"] == pytest.approx(float(weights.square().mean().sqrt()), rel=1e-5)
    # In the loop that it was found in, nothing changes.
    folder.best_config.write_text(absolute.model_dump_json())
    optimizer = torch.optim.SGD(
        model.parameters(), lr=run.optimizer.lr, momentum=run.optimizer.momentum
    )
    noise = AdaptiveNoise.calibrated(baseline, model, folder.best_config, optimizer=optimizer)
    assert noise.noise == absolute.noise
    assert noise.epochs == EPOCHS
    assert noise.travelled is not None
    assert "->" not in str(noise.travelled)


def test_without_the_whole_baseline_there_is_nothing_to_state(tmp_path: Path) -> None:
    study = write_study(tmp_path, "s", seeds=0)
    folder = StudyFolder.of(tmp_path, "s")
    state = read_ledger(folder.ledger)
    run = TrainConfig.model_validate(state.trials["trial-0001"].config)
    assert assumed_by(run, study, state) is None
    write_assumed(folder, study, run, state, load_dataset(run.data))
    assert not folder.assumed.exists()
    assert told(folder, study, run) == {}
    folder.best_config.write_text(run.model_dump_json())
    with pytest.raises(InputError, match="is not beside it"):
        AdaptiveNoise.calibrated([], training(run).model, folder.best_config)
