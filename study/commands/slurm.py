"""``noise-study slurm``: a command as a job of Slurm, which goes on after each time limit."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from study.commands.dispatch import NOISE_STUDY, dispatch
from study.commands.options import read_arguments
from study.commands.settings import option
from study.tune.slurm import SlurmJob, submit
from trainables.errors import InputError

_END = "--"
_TIME = re.compile(r"(\d+-)?\d+(:\d\d?){0,2}")
_WORD = re.compile(r"[\w.,:+=@%/-]+")
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


@dataclass(frozen=True)
class SlurmOptions:
    """What the job asks of Slurm."""

    nodes: Annotated[
        int,
        option("--nodes", help="with several, Ray is started on all of them, whole", value="N"),
    ] = 1
    cpus: Annotated[
        int,
        option("--cpus", help="cores of the node", value="N", default="the whole node"),
    ] = 0
    gpus: Annotated[int, option("--gpus", help="GPUs a node", value="N")] = 0
    memory: Annotated[
        str,
        option("--memory", help="a node, e.g. 32G", value="SIZE", default="the partition's"),
    ] = ""
    time: Annotated[
        str,
        option(
            "--time",
            help="time limit, as Slurm writes it: MINUTES, HH:MM:SS or DAYS-HH:MM:SS; at each the "
            "command stops, and goes on in the same job, queued again",
            value="TIME",
        ),
    ] = "1-00:00:00"
    stop_before: Annotated[
        int,
        option("--stop-before", help="seconds before the limit in which it stops", value="SECONDS"),
    ] = 300
    max_restarts: Annotated[
        int, option("--max-restarts", help="how often it is queued again", value="N")
    ] = 100
    partition: Annotated[
        str, option("--partition", help="where it runs", value="NAME", default="Slurm's")
    ] = ""
    account: Annotated[
        str, option("--account", help="who is charged", value="NAME", default="your own")
    ] = ""
    sbatch: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        option(
            "--sbatch",
            help="a further option of sbatch, in one word, e.g. --sbatch=--constraint=a100",
            value="OPTION",
            default="none",
        ),
    ] = ()
    setup: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        option(
            "--setup",
            help="a line of shell before the command, e.g. 'module load cuda'",
            value="LINE",
            default="none",
        ),
    ] = ()
    print_script: Annotated[
        bool, option("--print", help="print the batch script, and submit nothing")
    ] = False


def slurm(arguments: Sequence[str]) -> int:
    words = list(arguments)
    cut = words.index(_END) if _END in words else len(words)
    command = words[cut + 1 :]
    options = read_arguments(
        SlurmOptions,
        words[:cut],
        prog=f"{NOISE_STUDY} slurm",
        description="Run a command as a job of Slurm: noise-study slurm OPTIONS -- COMMAND, e.g. "
        "noise-study slurm --time 08:00:00 --gpus 1 -- run --name a --device cuda "
        "--gpus-per-trial 0.25. Submit it from a login node, in the folder where the command would "
        "be typed; --storage lies where the nodes reach it. docs/cluster.md leads through it.",
    )
    job = _job(options, [NOISE_STUDY, *command], _name(command))
    if options.print_script:
        print(job.script(), end="")
        return 0
    number = submit(job)
    print(
        f"job {number} is queued: {job.name}\n"
        f"  where it is:  squeue --job {number}\n"
        f"  what it says: tail -f slurm-{job.name}-{number}.out\n"
        f"  end it:       scancel {number}"
    )
    return 0


def _name(command: Sequence[str]) -> str:
    """The job's name, after a look at the command as it would be read in the job.

    ``InputError`` for whatever is wrong with it; what depends on the node is looked at there.
    """
    if not command:
        raise InputError(
            f"no command: {NOISE_STUDY} slurm OPTIONS -- run …; allowed: {', '.join(_READERS)}"
        )
    if command[0] in {"-h", "--help"}:
        raise InputError(f"{command[0]}: no command; {NOISE_STUDY} slurm --help explains this one")
    if "--address" in command or any(word.startswith("--address=") for word in command):
        raise InputError("--address: the job starts Ray on its own nodes; leave the option out")
    name = ""

    def reading(read: Callable[[Sequence[str]], str]) -> Callable[[Sequence[str]], int]:
        def of(words: Sequence[str]) -> int:
            nonlocal name
            name = read(words)
            return 0

        return of

    dispatch(
        f"{NOISE_STUDY} slurm … --",
        {key: (reading(read), "") for key, read in _READERS.items()},
        command,
    )
    return name


def _of_run(words: Sequence[str]) -> str:
    from study.commands.run import study_config

    return study_config(words).name


def _of_resume(words: Sequence[str]) -> str:
    from study.commands.run import resumed_config

    if any(word.startswith(("+", "--trials=+")) for word in words):
        raise InputError(
            "trials (--trials) = +N: each time the job is queued again N would be added once more; "
            "give how many there shall be"
        )
    return resumed_config(words).name


def _of_confirm(words: Sequence[str]) -> str:
    from study.commands.confirm import read_confirm

    return f"{read_confirm(words)[0].name}-confirm"


def _of_experiment(words: Sequence[str]) -> str:
    from study.commands.experiment import read_experiment

    config, options = read_experiment(words)
    if options.print_config:
        raise InputError("--print-config: trains nothing; type it without slurm")
    return config.name


_READERS: Mapping[str, Callable[[Sequence[str]], str]] = {
    "run": _of_run,
    "resume": _of_resume,
    "confirm": _of_confirm,
    "experiment": _of_experiment,
}
"""The commands that a job may run: given again, each goes on with what was interrupted."""


def _job(options: SlurmOptions, command: Sequence[str], name: str) -> SlurmJob:
    at_least = {"--nodes": (options.nodes, 1), "--cpus": (options.cpus, 0),
                "--gpus": (options.gpus, 0), "--stop-before": (options.stop_before, 10),
                "--max-restarts": (options.max_restarts, 0)}  # fmt: skip
    for option_name, (value, least) in at_least.items():
        if value < least:
            raise InputError(f"{option_name} = {value}: {least} or more")
    if options.cpus and options.nodes > 1:
        raise InputError(
            f"--cpus = {options.cpus}: several nodes are taken whole; leave it out, or ask for one"
        )
    words = {"--memory": options.memory, "--partition": options.partition,
             "--account": options.account}  # fmt: skip
    for option_name, text in words.items():
        if text and not _WORD.fullmatch(text):
            raise InputError(f"{option_name} = {text!r}: one word, of letters, digits and .,:-")
    for text in options.sbatch:
        if not text.startswith("-") or "\n" in text:
            raise InputError(f"--sbatch = {text!r}: an option of sbatch, e.g. --constraint=a100")
    if any("\n" in line for line in options.setup):
        raise InputError("--setup: a line each; give the option once more for another")
    limit = _seconds(options.time)
    if limit <= options.stop_before:
        raise InputError(
            f"--time = {options.time}: no more than the {options.stop_before} s before the limit "
            "in which it stops (--stop-before)"
        )
    return SlurmJob(
        name=name,
        command=command,
        nodes=options.nodes,
        cpus=options.cpus or None,
        gpus=options.gpus,
        memory=options.memory,
        time=options.time,
        stop_before=options.stop_before,
        restarts=options.max_restarts,
        partition=options.partition,
        account=options.account,
        more=options.sbatch,
        setup=options.setup,
    )


def _seconds(time: str) -> int:
    """A time limit in seconds: MINUTES, MINUTES:SS, HH:MM:SS, DAYS-HH, -HH:MM or -HH:MM:SS."""
    if not _TIME.fullmatch(time):
        raise InputError(
            f"--time = {time!r}: allowed: MINUTES, HH:MM:SS, DAYS-HH:MM:SS, e.g. 08:00:00"
        )
    days, _, clock = time.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0, *(*parts, 0)[:2]
    return int(days or 0) * _DAY + hours * _HOUR + minutes * _MINUTE + seconds
