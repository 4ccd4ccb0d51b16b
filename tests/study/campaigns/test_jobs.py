"""A study as a job of a cluster: submitted with a folder of code, stopped, submitted again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ray.job_submission import JobSubmissionClient

from study.commands.study import main as noise_study
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from study.tune.connect import ray_session
from tests.support.clusters import ray_cluster
from tests.support.servers import free_port
from tests.support.study_processes import ROOT, check_whole, count, wait_until

CODE = """
import time
from pathlib import Path

import torch
from job_parts.small import net as small

from trainables.metric_config import metric

Path("{seen}").joinpath(__file__.replace("/", "+")).touch()


def net(num_classes):
    return small(num_classes)


def plain(parameters, lr, weight_decay):
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)


@metric("max", "share", worst=0.0)
def hits(logits, labels):
    if Path("{seen}/slow").exists():
        time.sleep(0.5)
    return float((logits.argmax(1) == labels).float().mean())
"""
PARTS = """
from trainables.models.networks import BabyCNN


def net(num_classes):
    return BabyCNN(num_classes)
"""
EPOCHS = 6
pytestmark = pytest.mark.slow


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """From where each process has imported the code: a file for each place."""
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


@pytest.fixture
def code(tmp_path: Path, seen: Path) -> Path:
    """What its user has in a folder: a module, and a package that it imports."""
    folder = tmp_path / "code"
    (folder / "job_parts").mkdir(parents=True)
    (folder / "job_net.py").write_text(CODE.format(seen=seen))
    (folder / "job_parts" / "__init__.py").touch()
    (folder / "job_parts" / "small.py").write_text(PARTS)
    return folder


@contextmanager
def job_server() -> Iterator[str]:
    """The address to which jobs are submitted, of a cluster of one node.

    Several on one machine would share Ray's folder of what jobs bring: each that fetches it takes
    it from the others (Ray's own packaging removes it first).
    """
    # The second is fixed by default: another Ray of this machine has it, and no job would start.
    ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}
    # What a job's driver and workers find is what the head finds: the project, no code of a test.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        # Ray's own note of which cluster is meant, as ray start writes it: without it a job may be
        # given the Ray of another test. The path is short: sockets lie below it.
        with (
            TemporaryDirectory(prefix="ray-job-", ignore_cleanup_errors=True) as folder,
            ray_cluster(
                nodes=0, head_cpus=2, include_dashboard=True, temp_dir=folder, **ports
            ) as cluster,
        ):
            (Path(folder) / "ray_current_cluster").write_text(cluster.address)
            yield f"http://127.0.0.1:{ports['dashboard_port']}"


def submit(server: str, code: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``ray job submit`` as its user types it, from a folder without code."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", server]
    command += ["--working-dir", str(code), *words]
    done: list[subprocess.CompletedProcess[str]] = []

    def taken() -> bool:
        done.append(
            subprocess.run(
                command, capture_output=True, text=True, check=False, cwd="/", timeout=280
            )
        )
        told = done[-1].stdout + done[-1].stderr
        # On a busy machine the server is there before what it hands jobs to; and what a job that
        # was just stopped has brought is still there, and then not.
        again = "No available agent to submit job", "give the same command again"
        return not any(words in told for words in again)

    wait_until(taken)
    return done[-1]


def test_a_job_takes_its_code_along_and_goes_on_when_it_was_stopped(
    tmp_path: Path, code: Path, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = ["--storage", str(tmp_path / "shared")]
    words = ["--classifier", "job_net:net", "--optimizer", "job_net:plain"]
    words += ["--metric", "job_net:hits", "--dataset", "synthetic", "--batch-size", "32"]
    words += ["--synthetic-train", "300", "--synthetic-test", "100", "--epochs", str(EPOCHS)]
    words += ["--trials", "3", "--baseline-seeds", "1", "--race-seeds", "1", "--device", "cpu"]
    words += ["--space", "adaptive_noise_small", "--no-calibrate"]
    ledger = StudyFolder.of(tmp_path / "shared", "job").ledger
    with job_server() as server:
        run = ["--name", "job", *storage, "--address", "auto", *words]
        (seen / "slow").touch()
        first = ["--submission-id", "one", "--no-wait"]
        submitted = submit(server, code, *first, "--", "noise-study", "run", *run)
        assert submitted.returncode == 0, submitted.stdout + submitted.stderr
        jobs = JobSubmissionClient(server)

        def trains() -> bool:
            assert not jobs.get_job_status("one").is_terminal(), jobs.get_job_logs("one")
            return count(ledger, '"type":"epochs"') > 1

        wait_until(trains)
        jobs.stop_job("one")
        wait_until(lambda: jobs.get_job_status("one").is_terminal())
        (seen / "slow").unlink()
        done = sum(record.finished for record in read_ledger(ledger).trials.values())
        again = submit(server, code, "--", "noise-study", "run", *run)
        assert again.returncode == 0, again.stdout + again.stderr
    assert done < 4
    # Ray's copies alone: no process has found the user's folder.
    assert list(seen.iterdir())
    assert all("runtime_resources" in place.name for place in seen.iterdir())
    # It is the study of one machine, whose workers look where this process finds the code.
    monkeypatch.syspath_prepend(code)
    assert noise_study(["run", "--name", "here", *storage, *words]) == 0
    here = read_ledger(StudyFolder.of(tmp_path / "shared", "here").ledger).trials
    there = read_ledger(ledger).trials
    assert there.keys() == here.keys()
    for key, record in there.items():
        assert str(record.history) == str(here[key].history)
    check_whole(tmp_path / "shared" / "job")


def test_a_ray_that_was_there_before_is_asked_for_code(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--storage", str(tmp_path / "studies"), "--dataset", "digits"]
    words += ["--classifier", "job_net:net", "--epochs", "6"]
    with ray_session(StudyConfig()):
        monkeypatch.syspath_prepend(code)
        assert noise_study(words) == 2
    told = capsys.readouterr().err
    assert "job_net:net: job_net, job_parts, job_parts.small is not there" in told
    assert not (tmp_path / "studies").exists()
