"""How many of this machine's cores this process may use."""

import os


def cores_here() -> int:
    """All of them, unless the process is bound to some, or Slurm gave its job fewer of the node.

    Slurm says so to a job (``SLURM_CPUS_ON_NODE``) where it does not bind it, too.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = bound or os.cpu_count() or 1
    share = os.environ.get("SLURM_CPUS_ON_NODE", "") if "SLURM_JOB_ID" in os.environ else ""
    return min(cores, int(share)) if share.isdecimal() and int(share) else cores
