"""A pooled division through a whole study: which images, and that forks change nothing."""

from pathlib import Path

import pytest

from study.commands.study import main
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger


def ran(storage: Path, name: str, *options: str) -> LedgerState:
    words = "--trials 2 --baseline-seeds 1 --race-seeds 1 --epochs 6 --subset 0.2 --batch-size 32"
    words += " --sampler random --space adaptive_noise_small --split pooled --max-concurrent 1"
    code = main(["run", "--storage", str(storage), "--name", name, *words.split(), *options])
    assert code == 0
    folder = StudyFolder.of(storage, name)
    config = folder.stored_config()
    assert config is not None
    assert config.train.data.split == "pooled"
    return read_ledger(folder.ledger)


@pytest.mark.slow
def test_a_study_of_a_pooled_division_is_the_same_with_and_without_forks(tmp_path: Path) -> None:
    forked = ran(tmp_path, "forked", "--split-seed", "7")
    never = ran(tmp_path, "never", "--split-seed", "7", "--fork", "never")
    other = ran(tmp_path, "other", "--split-seed", "8")
    assert forked.trials.keys() == never.trials.keys()
    for key, record in forked.trials.items():
        theirs = never.trials[key].history
        assert [row.to_dict() for row in record.history] == [row.to_dict() for row in theirs]
    # Forking did spare something.
    assert any(record.shared_epochs for record in forked.by_role("trial"))
    key = "baseline-seed0"
    assert forked.trials[key].baseline == never.trials[key].baseline
    assert other.trials[key].baseline != forked.trials[key].baseline
    assert other.trials[key].history != forked.trials[key].history
