"""``noise-study slurm``: what it refuses before a job is queued, and what it prints."""

import stat
from pathlib import Path

import pytest

from study.commands.study import main

RUN = ["--", "run", "--name", "mine"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no command"),
        (["--", "rnu"], "did you mean 'run'? allowed: confirm, experiment, resume, run"),
        (["--", "controls"], "no such command"),
        (["--", "--help"], "noise-study slurm --help explains this one"),
        (["--", "experiment", "--print-config"], "--print-config: trains nothing"),
        (["--", "run", "--lr", "x"], "train.optimizer.lr (--lr) = 'x'"),
        (["--", "run", "--adress", "auto"], "--adress: no such option"),
        ([*RUN, "--address", "auto"], "--address: the job starts Ray on its own nodes"),
        ([*RUN, "--address=auto"], "--address: the job starts Ray on its own nodes"),
        (["--", "resume", "mine", "--trials", "+4"], "each time the job is queued again"),
        (["--time", "3x", *RUN], "--time = '3x': allowed: MINUTES, HH:MM:SS"),
        (["--time", "5", *RUN], "--time = 5: no more than the 300 s before the limit"),
        (["--nodes", "0", *RUN], "--nodes = 0: 1 or more"),
        (["--nodes", "2", "--cpus", "3", *RUN], "--cpus = 3: several nodes are taken whole"),
        (["--gpus", "-1", *RUN], "--gpus = -1: 0 or more"),
        (["--stop-before", "1", *RUN], "--stop-before = 1: 10 or more"),
        (["--max-restarts", "-1", *RUN], "--max-restarts = -1: 0 or more"),
        (["--memory", "1 G", *RUN], "--memory = '1 G': one word"),
        (["--partition", "a\nb", *RUN], "--partition = 'a\\nb': one word"),
        (["--account", "$(rm)", *RUN], "--account = '$(rm)': one word"),
        (["--sbatch", "a100", *RUN], "--sbatch = 'a100': an option of sbatch"),
        (["--setup", "a\nb", *RUN], "--setup: a line each"),
        (["--tiem", "5", *RUN], "--tiem: no such option; did you mean --time?"),
    ],
)
def test_bad_input_is_told_before_anything_is_queued(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    taken = _sbatch(tmp_path, monkeypatch, "echo 7")
    assert main(["slurm", *words]) == 2
    assert told in capsys.readouterr().err
    assert not taken.exists()


@pytest.mark.parametrize(
    ("time", "fits"),
    [("6", True), ("5:01", True), ("0:05:01", True), ("0-1", True), ("1-0:0", True),
     ("0-00:05", False), ("0-00:05:01", True), ("5:00", False)],
)  # fmt: skip
def test_a_time_limit_is_read_as_slurm_reads_it(
    time: str, fits: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["slurm", "--print", "--time", time, *RUN]) == (0 if fits else 2)
    assert (f"#SBATCH --time={time}\n" in capsys.readouterr().out) == fits


def test_what_is_asked_of_slurm_stands_in_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--nodes", "3", "--gpus", "4", "--memory", "32G", "--partition", "a,b", "--account",
             "us", "--sbatch=--constraint=a100", "--setup", "module load x", "--stop-before", "90",
             "--max-restarts", "5"]  # fmt: skip
    data = ["--dataset", "cifar10", "--data-dir", "a b"]
    assert main(["slurm", "--print", *asked, *RUN, *data]) == 0
    script = capsys.readouterr().out
    for line in ("--nodes=3", "--gpus-per-node=4", "--mem=32G", "--partition=a,b", "--account=us",
                 "--constraint=a100", "--signal=B:TERM@90", "--exclusive", "--job-name=mine",
                 "--requeue"):  # fmt: skip
        assert f"\n#SBATCH {line}\n" in script
    assert "\nmodule load x\n" in script
    assert "-ge 5 ]" in script
    assert "ray symmetric-run" in script
    assert "noise-study run --name mine --dataset cifar10 --data-dir 'a b' &" in script


def test_a_job_is_submitted_and_a_refusal_is_told_in_slurms_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["slurm", *RUN]) == 2
    assert "sbatch is not here" in capsys.readouterr().err
    taken = _sbatch(tmp_path, monkeypatch, "echo '41;cluster'")
    assert main(["slurm", *RUN]) == 0
    assert "job 41 is queued" in capsys.readouterr().out
    assert taken.read_text().startswith("#!/bin/bash\n")
    _sbatch(tmp_path, monkeypatch, "echo 'invalid partition' >&2; exit 1")
    assert main(["slurm", *RUN]) == 1
    assert "Slurm takes no such job: invalid partition" in capsys.readouterr().err


def _sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Path:
    """An ``sbatch`` that keeps what it is given; Slurm itself is in tests/study/tune."""
    taken, program = folder / "taken", folder / "sbatch"
    program.write_text(f"#!/bin/sh\ncat > {taken}\n{does}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return taken
