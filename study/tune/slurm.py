"""The batch script of a Slurm job that runs a command of this project, and its submission."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.errors import StudyFailedError
from trainables.errors import InputError

_PORT = 6379

_ONE_NODE = 'bash -c "$note_pid" - {command} &'

# One Ray over all nodes by Ray's own command. Whoever reaches its ports needs the token, which lies
# in the home folder that the nodes share.
_NODES = """\
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
ray get-auth-token --generate > /dev/null
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpu-bind=none \\
    ray symmetric-run --address "$head:{port}" --min-nodes "$SLURM_JOB_NUM_NODES" \\
    -- env RAY_ADDRESS=auto bash -c "$note_pid" - {command} &"""

_SCRIPT = """\
#!/bin/bash
# Made by noise-study slurm, which prints it with --print; sbatch takes it as it stands.
{head}

export PATH={path}:"$PATH"
{setup}
# Slurm sends TERM to this shell before the time limit. It goes to the command, which stops as at
# one Ctrl-C; then the job queues again, and goes on from what was recorded. A job that is cancelled
# is no more RUNNING, and its command has had its TERM.
driver=$(mktemp)
export driver
note_pid='echo $$ > "$driver"; exec "$@"'
stopping=
stop() {{
    # Where Slurm does not answer, the limit is what comes: it says so only once.
    state=$(squeue --noheader --job "$SLURM_JOB_ID" --format=%T)
    [ "${{state:-RUNNING}}" = RUNNING ] || return
    stopping=1
    kill -TERM "$(cat "$driver")" 2> /dev/null || kill -TERM "$job"
}}
trap stop TERM

{start}
job=$!
wait "$job"
while kill -0 "$job" 2> /dev/null; do wait "$job"; done
wait "$job"
code=$?
rm -f "$driver"
if [ -n "$stopping" ] && [ "$code" -ne 0 ]; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {restarts} ]; then
        echo "not queued again: it was {restarts} times (--max-restarts); submit it to go on"
        exit "$code"
    fi
    echo "the time limit is near: queued again"
    # Slurm ends this shell; if it ended by itself meanwhile, the job would count as failed.
    scontrol requeue "$SLURM_JOB_ID" && sleep 300
fi
exit "$code"
"""


@dataclass(frozen=True)
class SlurmJob:
    """What a job asks of Slurm.

    Args:
        name: of the job, and in the name of its output file.
        command: the words to run; the driver, on the first node.
        nodes: with several, Ray is started on all of them.
        cpus: cores of the node; None: the whole node. Of several nodes it is always the whole.
        gpus: GPUs a node.
        memory: a node, as Slurm writes it (``32G``); empty: the partition's own.
        time: limit, as Slurm writes it (``1-12:00:00``).
        stop_before: seconds before the limit in which it stops and queues again.
        restarts: how often it may be queued again.
        partition, account: empty: the user's own.
        more: further options of sbatch, word for word.
        setup: lines of shell before the command, such as ``module load cuda``.
        symmetric: start Ray as for several nodes; None: where there are several.
        programs: the folder of Python's programs, on the nodes.
    """

    name: str
    command: Sequence[str]
    nodes: int = 1
    cpus: int | None = None
    gpus: int = 0
    memory: str = ""
    time: str = "1-00:00:00"
    stop_before: int = 300
    restarts: int = 100
    partition: str = ""
    account: str = ""
    more: Sequence[str] = ()
    setup: Sequence[str] = ()
    symmetric: bool | None = None
    programs: str = str(Path(sys.executable).parent)

    def options(self) -> list[str]:
        """The options of sbatch."""
        whole = self.cpus is None or self.nodes > 1
        lines = [
            f"--job-name={self.name}",
            f"--output=slurm-{self.name}-%j.out",
            "--open-mode=append",
            f"--nodes={self.nodes}",
            "--ntasks-per-node=1",
            "--exclusive" if whole else f"--cpus-per-task={self.cpus}",
            f"--time={self.time}",
            f"--signal=B:TERM@{self.stop_before}",
            "--requeue",
        ]
        given = {
            "--gpus-per-node": str(self.gpus or ""),
            "--mem": self.memory,
            "--partition": self.partition,
            "--account": self.account,
        }
        lines += [f"{name}={value}" for name, value in given.items() if value]
        return [*lines, *self.more]

    def script(self) -> str:
        """The batch script."""
        several = self.nodes > 1 if self.symmetric is None else self.symmetric
        start = (_NODES if several else _ONE_NODE).format(
            command=shlex.join(self.command), port=_PORT
        )
        return _SCRIPT.format(
            head="\n".join(f"#SBATCH {line}" for line in self.options()),
            path=shlex.quote(self.programs),
            setup="".join(f"{line}\n" for line in self.setup),
            start=start,
            restarts=self.restarts,
        )


def submit(job: SlurmJob) -> str:
    """Submit a job; returns its number. ``StudyFailedError``: in Slurm's own words, if refused."""
    if shutil.which("sbatch") is None:
        raise InputError(
            "sbatch is not here: submit from a login node of the cluster, or add --print and give "
            "sbatch what it prints"
        )
    try:
        done = subprocess.run(
            ["sbatch", "--parsable"],
            input=job.script(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StudyFailedError(f"sbatch does not answer: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise StudyFailedError(f"Slurm takes no such job: {said}")
    return done.stdout.strip().partition(";")[0]
