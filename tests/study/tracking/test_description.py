"""A study's page in MLflow."""

import dataclasses
import json

import pytest

from study.records.events import ArtifactEvent, EndEvent, EpochsEvent, StudyEndEvent
from study.tracking.description import describe
from study.tracking.projection import Projection
from study.tracking.reader import Reader
from study.tracking.types import NOTE_TAG, STUDY_RUN
from tests.support.ledgers import epoch, run_events, start_event, study_event
from tests.support.mlflow_places import Place


def test_the_parents_description_says_what_matters(place: Place) -> None:
    place.write([study_event(), *run_events(None, 3)])
    projection = place.project()
    note = _note(place, projection)
    assert "Does noise help?" in note
    assert "the study is still running" in note
    place.write([*run_events(0, 3), *run_events(1, 3)])
    (place.ledger.parent / "report.html").write_text("<p>")
    place.write([ArtifactEvent(None, "report.html")])
    place.write([StudyEndEvent("complete", best="trial-0001")])
    projection = place.project()
    note = _note(place, projection)
    run = projection.runs.of_trials["baseline-seed0"]
    experiment = projection.runs.experiment
    assert f"[baseline-seed0](#/experiments/{experiment}/runs/{run}?" in note
    assert "+0.0010 beside the baseline" in note
    assert "2 complete" in note
    assert f"runs/{projection.runs.ids[STUDY_RUN]}/artifacts/report.html" in note
    assert "viewStateShareKey=noise-study" in note
    view = place.query("select value from experiment_tags where key like 'mlflow.sharedView%'")
    assert "tags.`role`" in json.loads(view[0][0])["selectedColumns"]


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (StudyEndEvent("complete", tags={"verdict": "trial-0000: better"}), "**Verdict**: trial"),
        (
            StudyEndEvent("complete", tags={"verdict": "a: better", "pairing": "a: worth 3"}),
            "**Verdict**: a: better\n\n**Pairing**: a: worth 3\n\n",
        ),
        (StudyEndEvent("interrupted", tags={"verdict": ""}), "**Best trial**: none is complete"),
        (
            StudyEndEvent("complete", best="trial-0003", tags={"tie": "Two share it"}),
            "**First trial**: trial-0003. Two share it",
        ),
        (
            StudyEndEvent("complete", best="trial-0003", tags={"tie": ""}),
            "**Best trial**: trial-0003",
        ),
        # As earlier versions wrote it.
        (
            StudyEndEvent("complete", best="trial-0000: better"),
            "**Best trial**: trial-0000: better",
        ),
    ],
)
def test_a_confirmations_verdict_is_in_its_description(end: StudyEndEvent, line: str) -> None:
    reader = Reader()
    for event in (study_event(), *run_events(None, 3), end):
        reader.absorb(event)
    assert line in describe(reader, "1", {})


def test_runs_that_tuned_the_baseline_are_no_trials() -> None:
    reader = Reader()
    for event in (study_event(), *run_events(None, 3), *run_events(0, 3)):
        reader.absorb(event)
    assert "Tuning" not in describe(reader, "1", {})
    start = dataclasses.replace(start_event(1), key="tuning-000-seed30000000", role="tuning")
    reader.absorb(start)
    reader.absorb(EpochsEvent(start.key, tuple(map(epoch, range(2)))))
    reader.absorb(EndEvent(start.key, "failed", reason="diverged"))
    *_, tuning, trials = describe(reader, "1", {}).split("\n\n")
    assert tuning == "Tuning of the baseline, without noise: 1 failed, 2 epochs"
    assert trials == "Trials: 1 complete"


def _note(place: Place, projection: Projection) -> str:
    run = place.store().run(projection.runs.ids[STUDY_RUN])
    note: str = run.data.tags[NOTE_TAG]
    return note
