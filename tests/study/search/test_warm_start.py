"""A warm start: which trials of another study are told, as what, and that they are told once."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces.calibration import CalibratedSpace, as_written
from search_spaces.registry import get_space
from study.commands.study import main
from study.config import StudyConfig
from study.records.events import EndEvent, StartEvent, StudyEvent, new_uid
from study.records.folder import StudyFolder
from study.records.ledger_view import TrialRecord, read_ledger
from study.search.journal_findings import journal_findings, journal_trials
from study.search.searcher import WARM, StudySearcher, WarmTrial, trial_key
from study.search.warm_start import check_source, told_values, translated, warm_start
from tests.support.ledgers import write
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError
from trainables.settings import parse_config

optuna.logging.set_verbosity(optuna.logging.WARNING)

EPOCHS = 5
BASE = TrainConfig(epochs=EPOCHS)
NOISE = get_space("noise")
SPACE = as_written(NOISE, NOISE.distributions(BASE))
POINT = {
    "noise/policy": "always",
    "noise/kind": "weight",
    "noise/magnitude": 0.05,
    "noise/decay": "none",
}
"""Overrides of a trial that is a point of the space."""


def overrides(**changes: Any) -> dict[str, Any]:
    known = {name.partition("@")[0] for name in SPACE.distributions}
    values = {**POINT, **{f"noise/{name}": value for name, value in changes.items()}}
    return {path: value for path, value in values.items() if path in known}


def config(storage: Path, **fields: Any) -> StudyConfig:
    values = {
        "name": "s",
        "storage": str(storage),
        "warm_start": "other",
        "objective": "best_val_accuracy",
        "train": {"epochs": EPOCHS},
    }
    return parse_config(StudyConfig, values | fields)


def other(storage: Path, ends: list[dict[str, Any]], changes: list[dict[str, Any]]) -> StudyFolder:
    """Another study, each of whose trials ended as said."""
    folder = StudyFolder.of(storage, "other")
    folder.write_config(config(storage, name="other", warm_start=None))
    events: list[Any] = [StudyEvent("other", new_uid(), {}, ("best_val_accuracy",))]
    for number, (end, changed) in enumerate(zip(ends, changes, strict=True)):
        key = trial_key(number)
        whole = apply_overrides(BASE, changed).model_dump(mode="json")
        events += [StartEvent(key, "trial", 0, changed, whole, "digest"), EndEvent(key, **end)]
    write(folder.ledger, events)
    return folder


def complete(difference: float) -> dict[str, Any]:
    return {"state": "complete", "paired_difference": {"best_val_accuracy": difference}}


def test_what_fits_is_told_and_what_does_not_is_counted(tmp_path: Path) -> None:
    ends = [
        complete(0.02),
        complete(-0.01),
        complete(0.03),
        {"state": "failed", "reason": "stopped by hand after 2 epochs"},
        {"state": "complete"},
        complete(float("nan")),
    ]
    changes = [overrides(), overrides(magnitude=9e9), {"noise/policy": "off"}, *[overrides()] * 3]
    other(tmp_path, ends, changes)
    folder = StudyFolder.of(tmp_path, "s")
    found = warm_start(config(tmp_path), folder, SPACE)
    assert found is not None
    assert [(point.trial, point.differences) for point in found.points] == [("trial-0000", (0.02,))]
    assert (found.outside, found.without) == (2, 3)
    params = {name.partition("@")[0]: v for name, v in found.points[0].params.items()}
    assert {path: params[path] for path in overrides()} == overrides()
    assert "knows 1 of the 6 trials of other" in found.note
    assert "2 outside of this study's ranges, 3 without" in found.note
    # It stays what it was, whatever becomes of the other study.
    (tmp_path / "other" / "ledger.jsonl").unlink()
    (tmp_path / "other" / "study.json").unlink()
    assert warm_start(config(tmp_path), folder, SPACE) == found
    check_source(config(tmp_path), folder)
    folder.warm_start.write_text("{}")
    with pytest.raises(InputError, match=r"warm_start\.json: damaged"):
        check_source(config(tmp_path), folder)


def test_a_dimension_that_the_other_did_not_search_has_the_value_it_trained_with(
    tmp_path: Path,
) -> None:
    small = CalibratedSpace(get_space("static_noise").distributions(BASE))
    [*names] = small.distributions
    other(tmp_path, [complete(0.1)], [{"noise/policy": "always", "noise/magnitude": 0.02}])
    records = read_ledger(tmp_path / "other" / "ledger.jsonl").by_role("trial")
    found = translated(config(tmp_path), records, small)
    [point] = found.points
    assert list(point.params) == names
    assert point.params["noise/magnitude"] == 0.02
    assert point.params["noise/kind"] == records[0].config["noise"]["kind"]


def test_a_difference_is_told_as_a_value_beside_this_studys_baseline(tmp_path: Path) -> None:
    other(tmp_path, [complete(0.02)], [overrides()])
    found = warm_start(config(tmp_path), StudyFolder.of(tmp_path, "s"), SPACE)
    assert found is not None
    values = {"best_val_accuracy": 0.5, "final_val_accuracy": 0.1}
    baseline = TrialRecord("baseline-seed0", "baseline", 0, {}, {}, "", values=values)
    told = told_values(found.points[0], ("best_val_accuracy",), baseline)
    assert told == pytest.approx((0.52,))


def test_what_another_source_was_trained_with_is_not_told(tmp_path: Path) -> None:
    folder = other(tmp_path, [complete(0.02)], [overrides()])
    check_source(config(tmp_path), StudyFolder.of(tmp_path, "s"))
    model = {"classifier": "mine:net", "code": ["mine 2"]}
    now = config(tmp_path, name="other", warm_start=None, train={"model": model}, code_changes=1)
    folder.write_config(now)
    with pytest.raises(InputError, match="no complete trial"):
        check_source(config(tmp_path), StudyFolder.of(tmp_path, "s"))


# In the journal.


def warm(count: int, good: float = 0.05) -> list[WarmTrial]:
    """Points of the small space, the better the closer their magnitude is to ``good``."""
    space = get_space("static_noise").distributions(BASE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    found: list[WarmTrial] = []
    for number in range(count):
        params = study.ask(space).params
        value = 0.5 - abs(params["noise/magnitude"] - good)
        found.append((f"other/{trial_key(number)}", params, (value,)))
    return found


def make(folder: Path, **options: Any) -> StudySearcher:
    space = get_space("static_noise").distributions(BASE)
    journal = folder / "optuna.journal"
    return StudySearcher(
        "s", journal, space, objectives=("best_val_accuracy",), epochs=EPOCHS, **options
    )


def take(searcher: StudySearcher, tune_id: str) -> str:
    given = searcher.suggest(tune_id)
    assert isinstance(given, dict)
    key: str = given["key"]
    return key


def end(searcher: StudySearcher, tune_id: str) -> None:
    searcher.on_trial_complete(
        tune_id, {"training_iteration": EPOCHS, "best_val_accuracy": 0.4, "number": tune_id}
    )


def marked(folder: Path) -> list[str]:
    """Where each trial of the journal comes from, read by stock Optuna."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    return [trial.user_attrs.get(WARM, "own") for trial in study.get_trials()]


def recorded(key: str, state: Any = None, params: Any = None) -> TrialRecord:
    values = {"best_val_accuracy": 0.4} if state == "complete" else {}
    return TrialRecord(key, "trial", 0, params or {}, {}, "", state=state, values=values)


def test_they_are_told_once_and_are_none_of_the_studys_own(tmp_path: Path) -> None:
    names = [name for name, *_ in warm(5)]
    searcher = make(tmp_path, warm=warm(5))
    assert [take(searcher, "0"), take(searcher, "1")] == ["trial-0000", "trial-0001"]
    end(searcher, "0")
    assert searcher.finalise() == 1
    assert marked(tmp_path) == [*names, "own", "own"]
    # They are nothing of which the ledger should know.
    begun = {"trial-0000": recorded("trial-0000", "complete"), "trial-0001": recorded("trial-0001")}
    trials = journal_trials("s", tmp_path / "optuna.journal")
    assert not [*journal_findings(trials, begun, ("best_val_accuracy",), over=False)]
    ended = {"trial-0000": recorded("trial-0000", "complete")}
    again = make(tmp_path, warm=warm(5), records=ended)
    assert again.contradictions() == []
    assert take(again, "a") == "trial-0001"
    assert take(again, "b") == "trial-0002"
    assert marked(tmp_path) == [*names, "own", "own", "own"]


@pytest.mark.parametrize("told", [0, 2])
def test_a_kill_in_their_midst_adds_the_rest(tmp_path: Path, told: int) -> None:
    names = [name for name, *_ in warm(5)]
    make(tmp_path, warm=warm(5)[:told])
    searcher = make(tmp_path, warm=warm(5))
    assert take(searcher, "0") == "trial-0000"
    assert marked(tmp_path) == [*names, "own"]


def test_a_lost_journal_is_made_anew_with_them(tmp_path: Path) -> None:
    searcher = make(tmp_path, warm=warm(3))
    given = searcher.suggest("0")
    assert isinstance(given, dict)
    params = json.loads(given["overrides_json"])
    (tmp_path / "optuna.journal").unlink()
    records = {"trial-0000": recorded("trial-0000", "complete", params)}
    again = make(tmp_path, warm=warm(3), records=records)
    assert take(again, "a") == "trial-0001"
    assert marked(tmp_path)[3:] == ["own", "own"]
    assert again.contradictions() == []


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_sampler_learns_from_them(tmp_path: Path, sampler: str) -> None:
    def error(folder: Path, known: list[WarmTrial]) -> float:
        """How far from the best the magnitudes are that are tried first, in the mean."""
        folder.mkdir()
        searcher = make(folder, warm=known, sampler=sampler, seed=4)
        found: list[float] = []
        for number in range(4):
            given = searcher.suggest(str(number))
            assert isinstance(given, dict)
            found.append(abs(json.loads(given["overrides_json"])["noise/magnitude"] - 0.05))
        return sum(found) / len(found)

    assert error(tmp_path / "warm", warm(40)) < error(tmp_path / "cold", []) / 2


# What is refused.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--warm-start", "missing"], "'missing': name = 'missing': no such study"),
        (["--warm-start", "s"], "the study itself"),
        (["--warm-start", "../x"], "warm_start (--warm-start)"),
        (["--warm-start", "other", "--sampler", "random", "--space", "static_noise"],
         "'random': it can't use a warm start"),
        (["--warm-start", "other", "--sampler", "nsga2", "--space", "static_noise"], "'nsga2'"),
        (["--warm-start", "empty"], "no complete trial with a difference in tail_val_loss"),
    ],
)  # fmt: skip
def test_it_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    other(tmp_path, [complete(0.1)], [overrides()])
    (tmp_path / "other").rename(tmp_path / "empty")
    other(tmp_path, [complete(0.1)], [overrides()])
    before = sorted(tmp_path.rglob("*"))
    run = ["run", "--name", "s", "--storage", str(tmp_path), "--dataset", "synthetic"]
    assert main([*run, *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
