"""The controls: the frame with made-up judgements, and real ones, one of them killed."""

import io
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study.campaigns.controls import (
    Control,
    ControlFinding,
    Room,
    Studied,
    results_table,
    run_controls,
)
from study.campaigns.known_answers import CONTROLS, STUCK_CNN, STUCK_MLP, trap
from study.commands.study import main
from study.config import StudyConfig
from study.errors import StudyFailedError
from study.records.ledger_view import LedgerState
from study.records.summary import Summary, summarise
from study.tune.connect import ray_session
from tests.study.records.test_summary import trial
from tests.support.study_processes import check_whole, count, study_process, wait_until
from trainables.config import TrainConfig


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(StudyConfig()):
        yield


def _fails(room: Room) -> ControlFinding:
    raise StudyFailedError("no baseline")


MADE_UP = [
    Control("right", "it is so", lambda room: ControlFinding(f"seed {room.seed}", passed=True)),
    Control("wrong", "it is so", lambda room: ControlFinding("it is [not] so", passed=False)),
    Control("broken", "it is so", _fails),
]


def test_each_outcome_is_written_and_a_study_that_fails_stops_no_other(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100)
    outcomes = run_controls(Room(tmp_path, seed=5), MADE_UP, console)
    assert [o.passed for o in outcomes] == [True, False, False]
    assert outcomes[0].found == "seed 5"
    assert "no baseline" in outcomes[2].found
    written = json.loads((tmp_path / "controls.json").read_text())
    assert [entry.keys() for entry in written] == [
        {"name", "known", "found", "passed", "seconds", "seed", "quick"}
    ] * 3
    assert [entry["name"] for entry in written] == ["right", "wrong", "broken"]
    console.print(results_table(outcomes))
    assert "it is [not] so" in out.getvalue()


def test_each_seed_and_size_of_a_control_has_an_entry_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "controls.json"
    # As earlier versions wrote it.
    earlier = {"name": "right", "known": "it is so", "found": "?", "passed": True, "seconds": 1.0}
    path.write_text(json.dumps([earlier]))
    for room in (Room(tmp_path, 5), Room(tmp_path, 6), Room(tmp_path, 6, quick=True)):
        for _ in range(2):
            run_controls(room, MADE_UP[:1], Console(file=io.StringIO()))
    first, *others = json.loads(path.read_text())
    assert first == earlier
    assert [(e["found"], e["seed"], e["quick"]) for e in others] == [
        ("seed 5", 5, False),
        ("seed 6", 6, False),
        ("seed 6", 6, True),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "stuck"), "did you mean"),
        (("--seed", "-1"), "--seed = -1"),
        (("--out", f"{__file__}/below"), "is a file"),
        (("--quickly",), "--quick"),
    ],
)
def test_bad_input_is_answered_before_anything_starts(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["controls", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_ray")
def test_a_failed_control_ends_the_command_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {control.name: control for control in MADE_UP}
    monkeypatch.setattr("study.campaigns.known_answers.CONTROLS", known)
    assert main(["controls", "--only", "wrong", "--out", str(tmp_path)]) == 1
    assert main(["controls", "--only", "right", "--out", str(tmp_path)]) == 0


def test_the_stuck_networks_are_searched_as_it_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default space, objective, sampler and race: nothing may be set for them."""
    assert {"stuck-mlp", "stuck-cnn", "few-images", "nothing", "harm", "trap", "clock"} == set(
        CONTROLS
    )
    asked: list[StudyConfig] = []

    def refused(config: StudyConfig, **_: Any) -> Summary:
        asked.append(config)
        raise StudyFailedError("asked enough")

    monkeypatch.setattr("study.campaigns.controls.run_study", refused)
    stuck = [CONTROLS[name] for name in ("stuck-mlp", "stuck-cnn")]
    run_controls(Room(tmp_path, seed=7), stuck, Console(file=io.StringIO()))
    trains = [each.model_copy(update={"seed": 7}) for each in (STUCK_MLP, STUCK_CNN)]
    assert [config.train for config in asked] == trains
    assert all(train.noise == TrainConfig().noise for train in trains)
    own = {"name", "storage", "train", "trials"}
    shipped = StudyConfig().model_dump(exclude=own)
    assert [config.model_dump(exclude=own) for config in asked] == [shipped] * 2
    assert [config.trials for config in asked] == [24, 24]


def shown(mean: float | None, *, interval: tuple[float, float] | None = None) -> Studied:
    """A study in tail_val_loss, less is better, whose race's winner shows this."""
    figures: dict[str, Any] = {
        "best": "a",
        "race_complete": True,
        "trials": [trial("a", 0.5).model_copy(update={
            "place": 1, "n": 2, "mean_difference": mean, "interval": interval and list(interval)
        })],
    }  # fmt: skip
    empty = summarise(StudyConfig(), LedgerState(None, {}))
    return Studied(StudyConfig(), empty.model_copy(update=figures), LedgerState(None, {}), None)


@pytest.mark.parametrize(
    ("untuned", "tuned", "vanished"),
    [
        (shown(-0.08), shown(-0.04), True),
        (shown(-0.08), shown(0.01), True),
        (shown(-0.08), shown(-0.041), False),
        (shown(-0.08), shown(-0.08), False),
        (shown(-0.08), shown(-0.01, interval=(-0.015, -0.005)), False),
        (shown(-0.08), shown(-0.01, interval=(-0.015, 0.005)), True),
        (shown(-0.08), shown(None), False),
        (shown(None), shown(0.01), False),
    ],
)
def test_a_gain_that_is_only_not_claimed_has_not_vanished(
    untuned: Studied, tuned: Studied, vanished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"trap": untuned, "trap-tuned": tuned}
    monkeypatch.setattr(Room, "study", lambda self, name, train, **settings: found[name])
    assert trap(Room(Path(), quick=True)).passed == vanished


@pytest.mark.slow
def test_a_control_that_is_killed_goes_on(tmp_path: Path) -> None:
    words = ["controls", "--quick", "--only", "harm", "--out", str(tmp_path)]
    ledger = tmp_path / "harm-seed0-quick" / "ledger.jsonl"
    confirmed = ledger.parent / "confirm" / "ledger.jsonl"
    for watched, ends in ((ledger, 1), (confirmed, 3)):
        with study_process(words) as process:
            wait_until(
                lambda watched=watched, ends=ends: count(watched, '"type":"end"') >= ends,  # type: ignore[misc]
                process,
            )
            os.killpg(process.pid, signal.SIGKILL)
    with study_process(words) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    [entry] = json.loads((tmp_path / "controls.json").read_text())
    assert (entry["name"], entry["passed"]) == ("harm", True)
    assert "worse" in entry["found"]
    for path in (ledger, confirmed):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        ends = Counter(line["trial"] for line in lines if line["type"] == "end")
        assert set(ends.values()) == {1}
    check_whole(ledger.parent, over=False)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert main(["controls", "--quick", "--only", "nothing", "--out", str(tmp_path)]) == 0
    [entry] = json.loads((tmp_path / "controls.json").read_text())
    assert "0 of 6 differences are not exactly zero" in entry["found"]


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_the_quickstart_answers_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--preset", "quickstart", "--storage", str(tmp_path)]) == 0
    assert "won the race: tail_val_loss -" in " ".join(capsys.readouterr().out.split())
    found = Summary.model_validate_json((tmp_path / "quickstart" / "summary.json").read_text())
    [baseline, *_] = found.baseline
    chance = baseline.metrics["final_val_accuracy"]
    assert chance is not None
    assert chance < 0.15
    assert found.first is not None
    assert (found.first.final_val_accuracy_difference or 0) > 0.3
