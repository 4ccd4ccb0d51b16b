"""Races for real: killed and gone on with, extended, forked, two objectives, a time budget."""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.api import run_study
from study.campaigns.race import most_runs, share_of_search
from study.commands.study import main
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, read_ledger
from study.records.race import race_of, seed_numbers
from study.records.summary import Summary
from study.tune.connect import ray_session
from tests.support.study_processes import (
    check_whole,
    count,
    mlflow_runs,
    study_process,
    wait_until,
)
from trainables.noise.fork import baseline_digest
from trainables.settings import parse_config

EPOCHS = 6
EAGER = {"noise/policy": "on_stagnation", "noise/window": 2, "noise/trigger_epochs": 1,
         "noise/grad_plateau_threshold": 10.0}  # fmt: skip
GIVEN: tuple[dict[str, Any], ...] = (
    {**EAGER, "noise/warmup_epochs": 3, "noise/magnitude_min": 0.5},
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 0.8},
    # Needs more epochs without progress than there are: it is the baseline, and does not race.
    {**EAGER, "noise/signals": ["stuck"], "noise/patience": 3, "noise/warmup_epochs": 0},
    {**EAGER, "noise/warmup_epochs": 2, "noise/magnitude_min": 0.1},
    {"noise/policy": "always", "noise/kind": "label", "noise/magnitude": 0.5},
)
RACERS = {f"trial-{number:04d}" for number in (0, 1, 3, 4)}
MOST = 6
"""Stages of four racers: 2 entrants with 1, 2 and 3 seeds, then the winner with 2 of its own."""


def config(storage: Path, name: str, **fields: Any) -> StudyConfig:
    values: dict[str, Any] = {
        "name": name,
        "storage": str(storage),
        "baseline_seeds": 1,
        "max_concurrent": 1,
        "early_stopping": False,
        "race_seeds": MOST,
        "configs": GIVEN,
        "objective": "tail_val_accuracy",
        "train": {
            "data": {
                "dataset": "synthetic",
                "synthetic_train": 400,
                "synthetic_test": 100,
                "synthetic_noise": 6,
                "batch_size": 32,
            },
            "epochs": EPOCHS,
            "optimizer": {"lr": 0.02, "lr_restart_period": EPOCHS},
        },
    }
    return parse_config(StudyConfig, values | fields)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(StudyConfig()):
        yield


@pytest.fixture(scope="module")
def calm(_ray: None, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    storage = tmp_path_factory.mktemp("calm")
    run_study(config(storage, "calm"))
    return StudyFolder.of(storage, "calm")


def summary_of(folder: StudyFolder) -> Summary:
    return Summary.model_validate_json(folder.summary.read_text())


def comparable(folder: StudyFolder) -> dict[str, Any]:
    """What does not depend on how the study came to its end."""
    summary = summary_of(folder).model_dump()
    for trial in summary["trials"]:
        del trial["run_id"], trial["forked_from"], trial["epochs_trained"]
    return {key: summary[key] for key in ("trials", "best", "yardstick")}


@pytest.mark.slow
def test_the_best_get_more_seeds_and_what_is_shown_was_not_selected_by(calm: StudyFolder) -> None:
    stored = calm.stored_config()
    assert stored is not None
    summary, state = summary_of(calm), read_ledger(calm.ledger)
    race = race_of(stored, state)
    assert race is not None
    assert race.complete
    assert set(race.field) == RACERS
    assert summary.best == race.winner
    by_name = {trial.trial_id: trial for trial in summary.trials}
    winner, seeds = by_name[str(race.winner)], seed_numbers(stored)
    assert [run.seed for run in winner.runs] == list(seeds)
    differences = [run.paired_difference for run in winner.runs]
    assert all(isinstance(difference, float) for difference in differences)
    fresh = [d for d in differences[4:] if isinstance(d, float)]
    assert winner.n == len(fresh) == 2
    assert winner.mean_difference == pytest.approx(sum(fresh) / 2)
    assert isinstance(winner.interval, list)
    assert winner.interval[0] <= winner.mean_difference <= winner.interval[1]
    flattering = [d for d in differences[:4] if isinstance(d, float)]
    assert winner.ranked_by == pytest.approx(sum(flattering) / 4)
    assert sorted(len(trial.runs) for trial in summary.trials) == [1, 1, 1, 4, 6]
    assert summary.yardstick is not None
    assert summary.yardstick.observed == winner.ranked_by
    # Each run stands beside the baseline of its own seed.
    for record in state.by_role("race"):
        (baseline,) = [r for r in state.by_role("baseline") if r.seed == record.seed]
        assert record.baseline == baseline.baseline
        history, other = record.history, baseline.history
        assert record.values["final_val_accuracy"] == history[-1].val_accuracy
        assert record.paired_difference["final_val_accuracy"] == pytest.approx(
            history[-1].val_accuracy - other[-1].val_accuracy
        )


@pytest.mark.slow
def test_runs_of_the_race_stand_under_their_trial_in_mlflow(calm: StudyFolder) -> None:
    runs = mlflow_runs(calm.path)
    raced = {key: run for key, run in runs.items() if run.data.tags["role"] == "race"}
    assert len(raced) == 2 * 3 + 2
    for key, run in raced.items():
        trial = runs[key.split("-seed")[0]]
        assert run.data.tags["mlflow.parentRunId"] == trial.info.run_id
        assert run.info.status == "FINISHED"
    best = runs[summary_of(calm).best].data.tags  # type: ignore[index]
    assert (best["race_place"], best["race_n"]) == ("1", "2")
    assert " to " in best["race_interval"]
    parent = runs[""].data.tags
    summary = summary_of(calm)
    assert parent["best"] == summary.best
    assert str(summary.best) in parent["race"]
    assert summary.yardstick is not None
    assert summary.yardstick.sentence in parent["yardstick"]
    assert "**Race**" in parent["mlflow.note.content"]


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_killed_in_the_race_it_ends_as_if_nothing_had_happened(
    calm: StudyFolder, tmp_path: Path
) -> None:
    study = config(tmp_path, "killed", max_concurrent=2)
    file = tmp_path / "study.json"
    file.write_text(study.model_dump_json())
    folder = StudyFolder.of(tmp_path, "killed")
    draws = random.Random(7)
    words = ["run", "--config", str(file)]
    for kill in range(3):
        seen = count(folder.ledger, '"type":"epochs"')
        with study_process(words) as process:
            racing = 0 if kill == 0 else 1

            def due(racing: int = racing, more: int = seen + draws.randrange(2, 14)) -> bool:
                begun = count(folder.ledger, '"role":"race"') >= racing
                return begun and count(folder.ledger, '"type":"epochs"') >= more

            wait_until(due, process)
            os.killpg(process.pid, signal.SIGKILL)
    assert main(["resume", "killed", "--storage", str(tmp_path)]) == 0
    assert comparable(folder) == comparable(calm)
    ends = Counter(
        json.loads(line)["trial"]
        for line in folder.ledger.read_text().splitlines()
        if '"type":"end"' in line
    )
    assert set(ends.values()) == {1}
    assert set(ends) == set(read_ledger(calm.ledger).trials)
    runs = mlflow_runs(folder.path)
    assert set(runs) == {"", *ends}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    check_whole(folder.path)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_without_forking_every_run_is_the_same(calm: StudyFolder, tmp_path: Path) -> None:
    run_study(config(tmp_path, "never", fork="never"))
    never = StudyFolder.of(tmp_path, "never")
    assert comparable(never) == comparable(calm)
    forked = read_ledger(calm.ledger)
    for key, record in read_ledger(never.ledger).trials.items():
        other = forked.trials[key]
        assert [row.to_dict() for row in record.history] == [r.to_dict() for r in other.history]
    # Forking did spare something, in the race, too.
    assert any(record.shared_epochs for record in forked.by_role("race"))


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_an_extended_search_repeats_no_run_of_the_race(tmp_path: Path) -> None:
    study = config(tmp_path, "grows", configs=None, trials=3, space="static_noise", race_seeds=4)
    run_study(study)
    folder = StudyFolder.of(tmp_path, "grows")
    before = read_ledger(folder.ledger).trials
    assert {r.role for r in before.values()} == {"baseline", "trial", "race"}
    assert main(["resume", "grows", "--storage", str(tmp_path), "--trials", "+2"]) == 0
    after = read_ledger(folder.ledger).trials
    for key, record in before.items():
        assert (after[key].history, after[key].ended) == (record.history, record.ended)
    stored = folder.stored_config()
    assert stored is not None
    race = race_of(stored, read_ledger(folder.ledger))
    assert race is not None
    assert race.complete
    assert len(race.field) == 5
    check_whole(folder.path)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_with_two_objectives_the_front_races(tmp_path: Path) -> None:
    objectives = "tail_val_accuracy,generalization_gap"
    summary = run_study(config(tmp_path, "front", objective=objectives, race_seeds=4))
    stored = StudyFolder.of(tmp_path, "front").stored_config()
    assert stored is not None
    race = race_of(stored, read_ledger(StudyFolder.of(tmp_path, "front").ledger))
    assert race is not None
    assert race.complete
    assert isinstance(summary.best, list)
    assert set(summary.best) <= set(race.field) <= RACERS
    winner = next(trial for trial in summary.trials if trial.trial_id == race.winner)
    assert isinstance(winner.mean_difference, list)
    assert len(winner.mean_difference) == 2
    assert summary.yardstick is None
    check_whole(tmp_path / "front")


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_the_time_budget_keeps_the_races_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"trials": 500, "space": "static_noise", "time_budget": 240, "max_concurrent": 2}
    study = config(tmp_path, "hurried", configs=None, **given)
    ledger = StudyFolder.of(tmp_path, "hurried").ledger
    # An epoch is a second: how fast the machine is, and how its workers start, changes nothing.
    clock = SimpleNamespace(monotonic=lambda: float(count(ledger, '"type":"epochs"')))
    monkeypatch.setattr("study.campaigns.search_study.time", clock)
    summary = run_study(study)
    assert 0 < len(summary.trials) < 500
    state = read_ledger(ledger)
    assert state.by_role("race")
    assert any("the time budget of 240 s ended the search" in note for note in summary.notes)
    assert any("240 s ended the race before it was over" in note for note in summary.notes)
    check_whole(tmp_path / "hurried")


def test_the_search_has_its_share_of_the_trainings() -> None:
    study = StudyConfig(trials=40, race_seeds=15)
    assert most_runs(study) == (60, 14)
    begun = LedgerState(None, {})
    assert share_of_search(study, begun) == pytest.approx(40 / 114)
    assert share_of_search(study.model_copy(update={"race_seeds": 1}), begun) == 1
    # Of two objectives only a front races.
    both = study.model_copy(update={"objective": ("tail_val_accuracy", "generalization_gap")})
    assert share_of_search(both, begun) > 0.5
    # Given configurations race on request only.
    given = study.model_copy(update={"configs": GIVEN, "race_seeds": None})
    assert most_runs(given) == (0, 0)


@pytest.mark.slow
def test_a_race_that_was_not_asked_for_when_it_was_recorded_does_not_begin(
    tmp_path: Path, calm: StudyFolder
) -> None:
    folder = StudyFolder.of(tmp_path, "old")
    folder.path.mkdir(parents=True)
    values = json.loads(calm.config.read_text())
    del values["race_seeds"]
    folder.config.write_text(json.dumps({**values, "name": "old", "configs": None}))
    stored = folder.stored_config()
    assert stored is not None
    assert stored.most_race_seeds == 1
    assert race_of(stored, read_ledger(calm.ledger)) is None
    assert baseline_digest(stored.train)
