"""A Slurm on this machine, from Debian's packages; several nodes have networks of their own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
SlurmctldHost={host}({address})
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=3600
MpiDefault=none
{nodes}
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


class Network:
    """A bridge of this machine, with a network of its own for each node of a cluster."""

    def __init__(self, nodes: int) -> None:
        self.bridge, self._subnet = f"nbr{os.getpid() % 10**6}", f"10.77.{os.getpid() % 256}"
        self.addresses = {f"n{n}": f"{self._subnet}.{n}" for n in range(2, 2 + nodes)}
        self.address = f"{self._subnet}.1"

    def __enter__(self) -> "Network":
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        self._ip(f"link add {self.bridge} type bridge")
        self._ip(f"addr add {self.address}/24 dev {self.bridge}")
        self._ip(f"link set {self.bridge} up")
        for name, address in self.addresses.items():
            space, link = self.space_of(name), f"{self.bridge}{name}"
            self._ip(f"netns add {space}")
            self._ip(f"link add {link} type veth peer name e0 netns {space}")
            self._ip(f"link set {link} master {self.bridge} up")
            for words in (f"addr add {address}/24 dev e0", "link set e0 up", "link set lo up"):
                self._ip(f"-n {space} {words}")

    def __exit__(self, *problem: object) -> None:
        for name in self.addresses:
            self._ip(f"netns del {self.space_of(name)}", check=False)
        self._ip(f"link del {self.bridge}", check=False)

    def space_of(self, name: str) -> str:
        return f"{self.bridge}-{name}"

    def inside(self, name: str, hosts: Path) -> list[str]:
        """Words before a shell's command that runs on a node, with its name and its hosts."""
        shell = f'hostname {name} && mount --bind {hosts} /etc/hosts && exec "$@"'
        space = f"--net=/run/netns/{self.space_of(name)}"
        return ["nsenter", space, *_ALONE, "--mount", "--uts", "bash", "-c", shell, "-"]

    @staticmethod
    def _ip(words: str, *, check: bool = True) -> None:
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
        done = subprocess.run(
            ["ip", *words.split()],
            env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and done.returncode:
            pytest.skip(f"no networks can be made here: ip {words}: {done.stderr}")


# Jobs see no other processes: Ray's own command refuses a node where a Ray runs, and ends all that
# it finds.
_ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@contextmanager
def slurm_cluster(folder: Path, nodes: int = 1) -> Iterator[Slurm]:
    """A cluster of this machine, ended with the body; the test is skipped where none can start."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    programs = PROGRAMS if nodes == 1 else (*PROGRAMS, "ip", "nsenter")
    missing = [name for name in programs if shutil.which(name, path=path) is None]
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
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(config)}
    of = {name: f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in
          ("socket", "pid-file", "seed-file", "log-file")}  # fmt: skip
    of["socket"] = f"--socket={folder}/munge.sock"
    started: list[subprocess.Popen[bytes]] = []
    network = nullcontext() if nodes == 1 else Network(nodes)
    with (folder / "daemons.log").open("wb") as log, network as net:
        config.write_text(_written(folder, net))
        inside = [list(_ALONE)]
        if net is not None:
            inside = [net.inside(name, folder / "hosts") for name in net.addresses]
        daemon = ["slurmd", "-D", "-f", str(config)]
        commands = [
            ["munged", "--foreground", "--force", f"--key-file={key}", *of.values()],
            ["slurmctld", "-D", "-f", str(config)],
            *([*words, *daemon] for words in inside),
        ]
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


def _written(folder: Path, net: Network | None) -> str:
    host = socket.gethostname().partition(".")[0]
    address, addresses = "127.0.0.1", {host: "127.0.0.1"}
    if net is not None:
        address, addresses = net.address, net.addresses
        known = {"localhost": "127.0.0.1", host: address, **addresses}
        lines = [f"{found} {name}" for name, found in known.items()]
        (folder / "hosts").write_text("\n".join(lines) + "\n")
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    return _CONFIG.format(
        host=host,
        address=address,
        nodes="\n".join(
            f"NodeName={name} NodeAddr={found} CPUs={os.cpu_count()} State=UNKNOWN"
            for name, found in addresses.items()
        ),
        controller=ports[0],
        daemon=ports[1],
        folder=folder,
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
