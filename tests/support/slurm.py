"""A Slurm of one node on this machine, from Debian's packages."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = (
    "unshare",
    "munged",
    "slurmctld",
    "slurmd",
    "sbatch",
    "scontrol",
    "squeue",
    "scancel",
    "srun",
)
_PATIENCE = 60.0

# A job that is queued again waits until its last credential has expired, two minutes elsewhere.
_CONFIG = """\
ClusterName=noise
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=3600
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A cluster that takes jobs; ``environment`` is what its commands need."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def state(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job: ``JobState``, ``Restarts``, ``ExitCode``, …"""
        words = self.ask("scontrol", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def one_node_slurm(folder: Path) -> Iterator[Slurm]:
    """A cluster of this machine, ended with the body; the test is skipped where none can start."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} (apt install slurmctld slurmd munge)")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons are started by root alone")
    # munge refuses a folder that others could write to, or can't enter.
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(_written(folder))
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(config)}
    of = {name: f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in
          ("socket", "pid-file", "seed-file", "log-file")}  # fmt: skip
    of["socket"] = f"--socket={folder}/munge.sock"
    commands = (
        ["munged", "--foreground", "--force", f"--key-file={key}", *of.values()],
        ["slurmctld", "-D", "-f", str(config)],
        # Its jobs see no other processes: Ray's own command refuses a node where a Ray runs, and
        # ends all that it finds.
        [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "slurmd",
            "-D",
            "-f",
            str(config),
        ],
    )
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "daemons.log").open("wb") as log:
        try:
            for command in commands:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                _await(folder / "munge.sock" if command[0] == "munged" else None)
            slurm = Slurm(environment)
            if not _idle(environment):
                pytest.skip(f"Slurm does not start here: {(folder / 'daemons.log').read_text()}")
            yield slurm
        finally:
            if len(started) == len(commands):
                subprocess.run(["scancel", "--me"], env=environment, check=False, timeout=60)
            for process in reversed(started):
                # unshare waits for its child, deaf to SIGTERM; with it all of its namespace ends.
                process.kill()
                process.wait(60)


def _written(folder: Path) -> str:
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    return _CONFIG.format(
        host=socket.gethostname().partition(".")[0],
        controller=ports[0],
        daemon=ports[1],
        folder=folder,
        cores=os.cpu_count(),
    )


def _await(path: Path | None) -> None:
    deadline = time.monotonic() + _PATIENCE
    while path is not None and not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def _idle(environment: dict[str, str]) -> bool:
    """Whether the node comes up in time."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        found = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if found.stdout.strip() == "idle":
            return True
        time.sleep(0.5)
    return False
