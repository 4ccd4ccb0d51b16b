"""Results as pandas' tables, and as a notebook shows them."""

from html import escape
from pathlib import Path

import pandas as pd
import pytest

from analysis.api import load_study, read_confirmation, trials_table
from study.campaigns.confirmation import load_confirmation
from study.campaigns.experiment_result import report
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from study.records.storage import Storage
from study.records.summary import Summary, summarise
from tests.support.trained_studies import write_confirmation, write_grid, write_study


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a study of which a trial is confirmed."""
    folder = tmp_path_factory.mktemp("frames")
    write_study(folder, "tried")
    write_confirmation(StudyFolder.of(folder, "tried"), "trial-0000", (2, 3, 4), (0.02, 0.03, 0.01))
    return folder


@pytest.fixture
def summary(storage: Path) -> Summary:
    config = StudyFolder.of(storage, "tried").stored_config()
    assert config is not None
    return summarise(config, read_ledger(StudyFolder.of(storage, "tried").ledger))


def test_a_row_a_trial_with_its_settings(summary: Summary) -> None:
    table = summary.to_frame()
    assert sorted(table["trial"]) == sorted(trial.trial_id for trial in summary.trials)
    by_id = {trial.trial_id: trial for trial in summary.trials}
    for row in table.to_dict("records"):
        trial = by_id[row["trial"]]
        assert row["state"] == trial.state
        assert pd.isna(row["value"]) == (trial.value is None)
        if trial.value is not None:
            assert row["value"] == trial.value
        for setting, value in trial.overrides.items():
            assert row[setting] == value


def test_a_notebook_shows_them_and_nothing_that_they_hold_is_html(summary: Summary) -> None:
    hostile = summary.model_copy(
        update={
            "study": "<script>alert(1)</script>",
            "notes": ["<img src=x onerror=alert(1)>"],
            "trials": [
                trial.model_copy(update={"reason": "<b>no</b>"}) for trial in summary.trials
            ],
        }
    )
    shown = hostile._repr_html_()
    assert "<script>" not in shown
    assert "<img" not in shown
    assert "<b>no" not in shown
    assert summary.trials[0].trial_id in summary._repr_html_()


def test_a_confirmation_has_a_row_a_trial_with_its_verdict(storage: Path) -> None:
    confirmed = load_confirmation(Storage.of(str(storage)), "tried")
    [row] = confirmed.to_frame().to_dict("records")
    assert (row["trial"], row["n"]) == ("trial-0000", 3)
    assert row["verdict"] == confirmed.verdicts()["trial-0000"].word
    assert row["verdict"] in confirmed._repr_html_()
    ruling, worth = confirmed.verdicts()["trial-0000"].ruling, confirmed.pairing_gain("trial-0000")
    assert ruling is not None
    assert row["collapse_bound"] == ruling.collapse_bound
    assert row["pairing_gain"] == worth.gain
    assert ("pairing_low" in row, "pairing_high" in row) == (True, True)


def test_a_grid_has_a_row_a_group_and_noise(tmp_path: Path) -> None:
    config = write_grid(tmp_path, "rates")
    result = report(config, read_ledger(StudyFolder.of(tmp_path, "rates").ledger))
    table = result.to_frame()
    assert len(table) == len(result.table)
    for row, values in zip(result.table, table.to_dict("records"), strict=True):
        assert values["lr"] == row.lr
        assert values["val_accuracy.mean"] == row.figures["val_accuracy"].mean
    assert "rates" in result._repr_html_()


def test_what_is_read_of_a_study_shows_itself(storage: Path) -> None:
    report = read_confirmation("tried", storage)
    [row] = report.to_frame().to_dict("records")
    assert (row["trial"], row["n"], row["verdict"]) == ("trial-0000", 3, report.trials[0].verdict)
    shown = report._repr_html_()
    assert "<td>trial-0000</td>" in shown
    assert escape(report.trials[0].sentences[0]) in shown
    table = trials_table(load_study(storage, "tried"))
    assert f"<b>{len(table.rows)} runs</b>" in table._repr_html_()
    assert "<td>baseline-seed0</td>" in table._repr_html_()
