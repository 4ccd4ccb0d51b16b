"""Ray clusters for tests: several nodes, each with processes of its own, on this one machine."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ray.cluster_utils import Cluster

from study.tune.connect import leave_ray

FAST_HEALTH = {
    # A node that is gone refuses at once and is noticed after seconds, not after half a minute; one
    # that is only slow, on a loaded machine, has time to answer.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
    # The head forks a server for each client; gRPC's handlers in that fork may end it.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    # Test machines may be short of memory for reasons of their own.
    "RAY_memory_monitor_refresh_ms": "0",
}
"""Environment of a cluster and of everybody who connects to it."""

_STORE = 150 * 2**20


@contextmanager
def ray_cluster(
    nodes: int = 2, *, cpus: float = 2, gpus: float = 1, head_cpus: float = 0, **head: object
) -> Iterator[Cluster]:
    """A head and ``nodes`` workers' nodes; ``cluster.address`` is what ``--address`` takes.

    The GPUs are logical: Ray schedules by them, and nothing uses one. The head runs no trials
    unless it gets cores. Call ``add_worker(cluster)`` and ``cluster.remove_node(node)`` from the
    main thread.

    Args:
        nodes: how many nodes besides the head.
        cpus: logical cores of each.
        gpus: logical GPUs of each.
        head_cpus: logical cores of the head.
        head: further arguments of the head's node.
    """
    with _environment(FAST_HEALTH):
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": head_cpus,
                "num_gpus": 0,
                "object_store_memory": _STORE,
                "include_dashboard": False,
                **head,
            },
        )
        try:
            for _ in range(nodes):
                add_worker(cluster, cpus=cpus, gpus=gpus, wait=False)
            cluster.wait_for_nodes(timeout=120)
            yield cluster
        finally:
            leave_ray()
            cluster.shutdown()


def add_worker(cluster: Cluster, *, cpus: float = 2, gpus: float = 1, wait: bool = True) -> object:
    """Add a node with logical cores and GPUs; it is what ``cluster.remove_node`` takes."""
    return cluster.add_node(wait=wait, num_cpus=cpus, num_gpus=gpus, object_store_memory=_STORE)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
