"""The controls: the frame with made-up judgements, and real ones, one of them killed."""

import io
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from study.campaigns.controls import Control, ControlFinding, Room, results_table, run_controls
from study.campaigns.known_answers import CONTROLS, STUCK_CNN, STUCK_MLP
from study.commands.study import main
from study.config import StudyConfig
from study.errors import StudyFailedError
from study.records.summary import Summary
from study.tune.connect import ray_session
from tests.support.study_processes import check_whole, count, study_process, wait_until


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
        {"name", "known", "found", "passed", "seconds"}
    ] * 3
    assert [entry["name"] for entry in written] == ["right", "wrong", "broken"]
    console.print(results_table(outcomes))
    assert "it is [not] so" in out.getvalue()


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


def test_the_stuck_networks_are_as_they_are_shipped() -> None:
    """With the default space, objective and sampler: nothing here may be set for them."""
    assert {"stuck-mlp", "stuck-cnn", "few-images", "nothing", "harm", "trap", "clock"} == set(
        CONTROLS
    )
    for train in (STUCK_MLP, STUCK_CNN):
        assert train.noise.policy == "off"


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
