"""A study as a job of Slurm: cut by time limits, it ends as if nothing had been."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.records.ledger_view import LedgerState, read_ledger
from study.tune.cores import cores_here
from study.tune.slurm import SlurmJob
from tests.support.faulty_models import let_go
from tests.support.slurm import Slurm, slurm_cluster
from tests.support.study_processes import ROOT, check_whole, count, study_process, wait_until

CONFIGS = [
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 0.01},
    {"noise/policy": "always", "noise/kind": "input", "noise/magnitude": 0.1},
    {"noise/policy": "always", "noise/kind": "gradient", "noise/magnitude": 0.1},
    {"noise/policy": "always", "noise/kind": "label", "noise/magnitude": 0.1},
]


SLOW = "tests.support.faulty_models:slow"
"""It trains for minutes, unless it is let go."""


def words_of(folder: Path, epochs: int, classifier: str = "BabyCNN") -> list[str]:
    file = folder / "configs.json"
    file.write_text(json.dumps(CONFIGS))
    return [
        "run", "--name", "cut", "--storage", str(folder), "--dataset", "digits", "--classifier",
        classifier, "--epochs", str(epochs), "--configs", str(file), "--race-seeds", "1",
        "--baseline-seeds", "1", "--trust", SLOW,
    ]  # fmt: skip


def ledger_of(folder: Path) -> LedgerState:
    return read_ledger(folder / "cut" / "ledger.jsonl")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as found:
        _at_home(found, tmp_path_factory.mktemp("home"))
        yield found


def _at_home(slurm: Slurm, home: Path) -> None:
    """Jobs' processes find this source, and leave their tokens in a folder."""
    slurm.environment |= {"PYTHONPATH": str(ROOT), "HOME": str(home)}


def submitted(slurm: Slurm, folder: Path, words: list[str], *options: str) -> str:
    with study_process(["slurm", *options, "--", *words], slurm.environment) as process:
        said = process.communicate()[0]
    assert process.returncode == 0, said
    return said.split()[1]


def output_of(job: str) -> str:
    path = ROOT / f"slurm-cut-{job}.out"
    return path.read_text() if path.exists() else ""


def await_epochs(slurm: Slurm, job: str, ledger: Path, more: int) -> None:
    """Wait until the study has trained some more epochs; it must not end before."""
    wanted = count(ledger, '"epoch"') + more

    def there() -> bool:
        assert slurm.state(job)["JobState"] != "FAILED", output_of(job)
        return count(ledger, '"epoch"') >= wanted

    wait_until(there)


def await_state(slurm: Slurm, job: str, name: str, value: str) -> None:
    wait_until(lambda: slurm.state(job)[name] == value)


@pytest.fixture(autouse=True)
def _no_outputs_left() -> Iterator[None]:
    yield
    for path in ROOT.glob("slurm-cut-*.out"):
        path.unlink()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_cut_three_times_ends_equal_to_an_undisturbed_one(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", str(tmp_path))
    slurm.environment["FAULTS"] = str(tmp_path)
    (cut := tmp_path / "cut").mkdir()
    job = submitted(slurm, cut, words_of(cut, 40, SLOW), "--time", "60")
    ledger = cut / "cut" / "ledger.jsonl"
    for number in range(1, 4):
        await_epochs(slurm, job, ledger, 3)
        if number < 3:
            # What Slurm sends before the limit.
            slurm.ask("scancel", "--batch", "--signal=TERM", job)
        else:
            slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        await_state(slurm, job, "Restarts", str(number))
        assert "queued again" in output_of(job)
        slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    let_go()
    wait_until(lambda: slurm.state(job)["JobState"] not in {"PENDING", "RUNNING", "COMPLETING"})
    assert slurm.state(job)["JobState"] == "COMPLETED", output_of(job)
    check_whole(cut / "cut")
    (whole := tmp_path / "whole").mkdir()
    with study_process(words_of(whole, 40, SLOW)) as process:
        assert "trial-0003" in process.communicate()[0]
    undisturbed, found = ledger_of(whole).trials, ledger_of(cut).trials
    assert found.keys() == undisturbed.keys()
    for key, trial in undisturbed.items():
        assert str(found[key].history) == str(trial.history)
        assert found[key].values == trial.values


@pytest.mark.slow
def test_the_script_of_several_nodes_runs_a_study_on_rays_own_command(
    slurm: Slurm, tmp_path: Path
) -> None:
    job = SlurmJob(
        name="cut", command=["noise-study", *words_of(tmp_path, 3)], time="60", symmetric=True
    )
    script = tmp_path / "job.sh"
    script.write_text(job.script())
    number = slurm.ask("sbatch", "--parsable", f"--chdir={ROOT}", str(script)).strip()
    ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"}
    wait_until(lambda: slurm.state(number)["JobState"] in ended)
    assert slurm.state(number)["JobState"] == "COMPLETED", output_of(number)
    assert "On head node" in output_of(number)
    check_whole(tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_on_two_nodes_is_cut_and_ends_equal_to_one_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS", str(tmp_path))
    # A trial fills a node.
    whole = ["--cpus-per-trial", str(os.cpu_count())]
    for name in ("slurm", "home", "cut", "whole"):
        (tmp_path / name).mkdir()
    cut = tmp_path / "cut"
    with slurm_cluster(tmp_path / "slurm", nodes=2) as two:
        _at_home(two, tmp_path / "home")
        words = [*words_of(cut, 10, SLOW), *whole]
        job = submitted(two, cut, words, "--nodes", "2", "--time", "60")
        await_epochs(two, job, cut / "cut" / "ledger.jsonl", 14)
        two.ask("scancel", "--batch", "--signal=TERM", job)
        await_state(two, job, "Restarts", "1")
        assert "queued again" in output_of(job)
        let_go()
        wait_until(lambda: two.state(job)["JobState"] not in {"PENDING", "RUNNING", "COMPLETING"})
        assert two.state(job)["JobState"] == "COMPLETED", output_of(job)
    check_whole(cut / "cut")
    found = ledger_of(cut).trials
    assert len({trial.tags["node"].split()[0] for trial in found.values()}) == 2
    with study_process([*words_of(tmp_path / "whole", 10, SLOW), *whole]) as process:
        assert "trial-0003" in process.communicate()[0]
    for key, trial in ledger_of(tmp_path / "whole").trials.items():
        assert str(found[key].history) == str(trial.history)
        assert found[key].values == trial.values


@pytest.mark.slow
def test_what_fails_is_not_queued_again_and_what_is_cancelled_stays_so(
    slurm: Slurm, tmp_path: Path
) -> None:
    words = [*words_of(tmp_path, 60), "--cpus-per-trial", "64"]
    refused = submitted(slurm, tmp_path, words, "--cpus", "1")
    await_state(slurm, refused, "JobState", "FAILED")
    assert slurm.state(refused)["ExitCode"] == "2:0"
    assert "this machine has 1 cores" in output_of(refused)
    job = submitted(slurm, tmp_path, words_of(tmp_path, 60))
    await_epochs(slurm, job, tmp_path / "cut" / "ledger.jsonl", 5)
    slurm.ask("scancel", job)
    await_state(slurm, job, "JobState", "CANCELLED")
    assert slurm.state(job)["Restarts"] == "0"


def test_the_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    allowed = os.sched_getaffinity(0)
    assert cores_here() == len(allowed)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert cores_here() == 1
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4000")
    assert cores_here() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores_here() == 1
    finally:
        os.sched_setaffinity(0, allowed)
