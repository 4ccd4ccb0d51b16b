"""A study of a model of one's own goes on only with its source: else refused, or begun anew."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.analysis import main as noise_analysis
from study.campaigns.own_code import ACCEPT
from study.commands.study import main
from study.records.ledger_view import read_ledger
from tests.support.runs import device_data
from tests.support.study_processes import (
    ROOT,
    alive,
    check_whole,
    count,
    family,
    study_process,
    wait_until,
)
from tests.support.trained_studies import copied_study
from trainables.config import TrainConfig
from trainables.loop import train_epochs
from trainables.noise.fork import baseline_digest
from trainables.tasks.image_task import ImageTraining

NET = """
from torch import nn
from changing_parts import DROPOUT

def build(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(3072, num_classes))
"""
STUDY = [
    *("--classifier", "changing_net:build", "--dataset", "digits", "--epochs", "4"),
    *("--trials", "2", "--batch-size", "64", "--lr", "0.05", "--baseline-seeds", "1"),
    *("--space", "adaptive_noise_small", "--race-seeds", "1", "--max-concurrent", "1"),
    *("--objective", "best_val_accuracy", "--name", "mine"),
]
HERE = ["--storage", "studies"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules, and a finished study of them."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "changing_net.py").write_text(NET)
    (folder / "changing_parts.py").write_text("DROPOUT = 0.3\n")
    words = ["run", *STUDY, "--storage", str(folder / "studies")]
    with study_process(words, {"PYTHONPATH": f"{folder}:{ROOT}"}) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return folder


@pytest.fixture
def work(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the user works: two modules of the user's own, and their study."""
    folder = copied_study(trained, tmp_path / "work")
    monkeypatch.chdir(folder)
    path = list(sys.path)
    yield folder
    sys.path[:] = path
    for name in ("changing_net", "changing_parts"):
        sys.modules.pop(name, None)


def events(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "studies" / "mine" / "ledger.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "studies/mine/summary.json").read_text())
    return found


@pytest.mark.slow
def test_a_changed_source_is_refused_or_accepted_with_new_baselines(work, capfd, monkeypatch):
    assert main(["run", *STUDY, *HERE]) == 0
    first = summary(work)
    starts = {e["trial"]: e for e in events(work) if e["type"] == "start"}
    code = starts["trial-0000"]["config"]["model"]["code"]
    assert [entry.split(" ")[0] for entry in code] == ["changing_net", "changing_parts"]

    # One's own study goes on without a question.
    assert main(["resume", "mine", "--storage", "studies"]) == 0
    # A module that the model imports is changed: refused, and nothing is written.
    (work / "changing_parts.py").write_text("DROPOUT = 0.9\n")
    sys.modules.pop("changing_parts")
    sys.modules.pop("changing_net")
    before = events(work)
    capfd.readouterr()
    more = ["--trials", "+1"]
    for words in (
        ["resume", "mine", "--storage", "studies", *more],
        ["run", *STUDY, *HERE],
        ["confirm", "mine", "--storage", "studies"],
    ):
        assert main(words) == 2
        said = capfd.readouterr().err
        assert "source of changing_parts" in said
        assert "Restore the source" in said
        assert "--accept-changed-code" in said
    assert events(work) == before

    # The user says so: new baselines, and the earlier trials are out of the ranking.
    accepted = ["resume", "mine", "--storage", "studies", "--accept-changed-code"]
    assert main(accepted) == 0
    after = {e["trial"]: e for e in events(work) if e["type"] == "start"}
    assert set(after) - set(starts) == {"baseline-code2-seed0", "trial-0002", "trial-0003"}
    now = summary(work)
    states = {trial["trial_id"]: (trial["state"], trial["reason"]) for trial in now["trials"]}
    assert states["trial-0000"] == states["trial-0001"] == ("excluded", "other code")
    assert states["trial-0002"] == states["trial-0003"] == ("complete", None)
    assert now["best"] in {"trial-0002", "trial-0003"}
    assert len(now["baseline"]) == 1
    assert now["baseline"] != first["baseline"]
    # What was trained before says what it said.
    for old, new in zip(first["trials"], now["trials"], strict=False):
        assert old["paired_difference"] == new["paired_difference"]
    digests = {e["baseline"] for e in after.values()}
    assert len(digests) == 2
    assert after["trial-0002"]["baseline"] == after["baseline-code2-seed0"]["baseline"]
    assert any("is not ranked" in note for note in now["notes"])
    # It goes on without the option now, and has nothing left to do.
    length = len([e for e in events(work) if e["type"] == "start"])
    assert main(["resume", "mine", "--storage", "studies"]) == 0
    assert len([e for e in events(work) if e["type"] == "start"]) == length
    # Somebody else's report shows what is recorded, and runs nothing.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(work / "elsewhere"))
    sys.modules.pop("changing_parts", None)
    sys.modules.pop("changing_net", None)
    assert noise_analysis(["report", "mine", "--storage", "studies", "--no-pictures"]) == 0
    assert "changing_net" not in sys.modules
    page = (work / "studies/mine/report.html").read_text()
    assert "--trust changing_net:build" in page
    assert "2 trials were trained with another source" in page
    check_whole(work / "studies" / "mine")
    # The old source is the changed one now.
    (work / "changing_parts.py").write_text("DROPOUT = 0.3\n")
    assert main(["resume", "mine", "--storage", "studies"]) == 2


@pytest.mark.slow
def test_killed_while_a_changed_source_is_taken_on_it_goes_on_with_that(work: Path) -> None:
    folder = work / "studies" / "mine"
    ledger, before = folder / "ledger.jsonl", (folder / "ledger.jsonl").read_bytes()
    (work / "changing_parts.py").write_text("DROPOUT = 0.9\n")
    environment = {"PYTHONPATH": f"{work}:{ROOT}"}
    resume = ["resume", "mine", "--storage", str(work / "studies")]
    moments: tuple[tuple[list[str], Callable[[], bool]], ...] = (
        # The study's file says it, and the ledger perhaps not yet.
        ([*resume, ACCEPT], lambda: count(folder / "study.json", '"code_changes": 1') > 0),
        # The new baseline is there, a new trial on its way.
        (resume, lambda: count(ledger, '"trial":"trial-0002","rows"') > 0),
    )
    for words, due in moments:
        with study_process(words, environment) as process:
            wait_until(due, process)
            everyone = family(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        wait_until(lambda: not alive(everyone))  # noqa: B023
        check_whole(folder, over=False)
    with study_process(resume, environment) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert ledger.read_bytes().startswith(before)
    check_whole(folder)
    state = read_ledger(ledger)
    new = ["baseline-code2-seed0", "trial-0002", "trial-0003"]
    assert sorted(state.trials) == sorted(["baseline-seed0", "trial-0000", "trial-0001", *new])
    states = [(trial["state"], trial["reason"]) for trial in summary(work)["trials"]]
    assert states == [("excluded", "other code")] * 2 + [("complete", None)] * 2
    # With the numbers that they have when nothing happens.
    for key in new:
        run = TrainConfig.model_validate(state.trials[key].config)
        alone = train_epochs(ImageTraining(run, device_data(run)))
        assert state.trials[key].history == tuple(alone)


def test_only_a_classifier_of_ones_own_is_in_the_digest():
    def config(**model: Any) -> TrainConfig:
        return TrainConfig.model_validate({"model": model})

    plain = baseline_digest(TrainConfig())
    assert plain == "fc89d1dae4388bbb"  # As studies were recorded.
    assert baseline_digest(config(classifier="BabyCNN", code=["a 1"])) == plain
    own = [config(classifier="a:b", code=code) for code in (None, ["a 1"], ["a 2"])]
    assert len({baseline_digest(each) for each in own}) == 3
    assert "code" not in own[0].model_dump()["model"]
