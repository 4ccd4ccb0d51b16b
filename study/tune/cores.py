"""How many of this machine's cores this process may use, and how many trials have theirs."""

import os

from study.config import RunsConfig

_EPSILON = 1e-9


def cores_here() -> int:
    """All of them, unless the process is bound to some, or Slurm gave its job fewer of the node.

    Slurm says so to a job (``SLURM_CPUS_ON_NODE``) where it does not bind it, too.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = bound or os.cpu_count() or 1
    share = os.environ.get("SLURM_CPUS_ON_NODE", "") if "SLURM_JOB_ID" in os.environ else ""
    return min(cores, int(share)) if share.isdecimal() and int(share) else cores


def cores_of(config: RunsConfig) -> float:
    """Cores that a trial keeps busy: its own, and one for each process that reads ahead for it."""
    own = config.cpus_per_trial
    return own + config.train.data.stream_workers if own else 0.0


def trials_by_cores(cores: float, config: RunsConfig) -> int | None:
    """How many trials so many cores of a machine are for; None: any number.

    Where a trial has its cores, but its processes that read ahead have not, one fits.
    """
    if not config.cpus_per_trial:
        return None
    alone = int(cores / config.cpus_per_trial + _EPSILON)
    return max(int(cores / cores_of(config) + _EPSILON), min(alone, 1))


def trials_here(config: RunsConfig) -> int:
    """How many trials run at once on this machine, if there are so many; at least one."""
    limits = (config.max_concurrent, trials_by_cores(cores_here(), config))
    return max(1, min((limit for limit in limits if limit is not None), default=1))
