"""What the ledger's figures and settings are called in MLflow."""

from dataclasses import replace

from study.tracking.reader import Reader, metric_points, parameters
from study.tracking.steps import EpochSteps
from study.tracking.types import STUDY_RUN
from tests.support.ledgers import TIME, epoch, study_events
from trainables.metrics import OBJECTIVES, STATISTICS


def test_metrics_have_the_methods_names() -> None:
    row = epoch(
        7,
        noise_kind="gradient",
        noise_magnitude=0.5,
        noise_severity=0.75,
        noise_phase="injecting",
        signals=("stuck",),
    )
    points = {
        point.key: point
        for point in metric_points(row, ("stuck", "overfitting"), 42, EpochSteps(1))
    }
    assert set(STATISTICS) < points.keys()
    assert {point.step for point in points.values()} == {8}
    assert {point.time for point in points.values()} == {42}
    controller = {key: points[key].value for key in points if key not in STATISTICS}
    assert controller == {
        "noise_magnitude": 0.5,
        "noise_severity": 0.75,
        "injected": 1.0,
        "cooldown": 0.0,
        "signal_stuck": 1.0,
        "signal_overfitting": 0.0,
    }
    cooling = metric_points(epoch(8, noise_phase="cooldown"), (), 42, EpochSteps())
    assert ("cooldown", 1.0) in {(point.key, point.value) for point in cooling}
    assert not set(OBJECTIVES) & points.keys()


def test_no_time_lies_before_an_earlier_one() -> None:
    """A clock that is set back by an hour: in MLflow no run ends before it began."""
    hour = 3_600_000
    reader = Reader()
    for event in study_events(1, 3):
        back = event.time > TIME + 10_001  # Within the trial.
        reader.absorb(replace(event, time=event.time - hour) if back else event)
    study, _, trial, _ = reader.take()
    began = reader.runs["trial-0000"].start.time
    assert began == TIME + 10_000
    assert (study.key, trial.key) == (STUDY_RUN, "trial-0000")
    assert {point.time for point in trial.metrics} <= {began, began + 1}
    assert trial.status == "FINISHED"
    assert trial.time >= began
    assert study.time >= trial.time


def test_parameters_are_flat_and_hold_no_secret() -> None:
    config = {"a": {"b": [1, 2], "c": None}, "uri": "http://me:hunter2@h", "on": True, "x": 0.1}
    assert parameters(config) == {
        "a/b": "[1, 2]",
        "a/c": "null",
        "uri": "http://***@h",
        "on": "true",
        "x": "0.1",
    }
