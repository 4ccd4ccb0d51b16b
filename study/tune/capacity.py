"""How many trials run at once, from the nodes that are alive."""

from dataclasses import dataclass
from typing import NamedTuple

import ray

from study.config import RunsConfig
from study.tune.cores import cores_of, trials_by_cores
from trainables.errors import InputError

_EPSILON = 1e-9


class Node(NamedTuple):
    """A living node: Ray's id, its address, its logical cores and GPUs."""

    id: str
    host: str
    cpus: float
    gpus: float

    @property
    def name(self) -> str:
        return f"{self.host} ({self.id[:8]})"


def alive_nodes() -> list[Node]:
    """The nodes of the cluster that Ray is connected to."""
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            cpus, gpus = float(has.get("CPU", 0)), float(has.get("GPU", 0))
            nodes.append(Node(node["NodeID"], node["NodeManagerAddress"], cpus, gpus))
    return nodes


def reserved_cores(config: RunsConfig) -> float:
    """What Ray is to reserve for a trial, so that it can start on each node where one fits."""
    nodes = [node.cpus for node in alive_nodes() if trials_on(node, config) != 0]
    return min([cores_of(config), *nodes])


def trials_on(node: Node, config: RunsConfig) -> int | None:
    """How many trials fit on a node; None: any number, since they ask for nothing.

    A trial's fraction lies on one GPU: with 0.4 a trial, a GPU holds two trials, and two GPUs four.
    """
    share = config.gpus_per_trial
    by_cores = trials_by_cores(node.cpus, config)
    limits = [] if by_cores is None else [by_cores]
    if 0 < share < 1:
        limits.append(int(node.gpus) * int(1 / share + _EPSILON))
    elif share:
        limits.append(int(node.gpus / share + _EPSILON))
    return min(limits, default=None)


@dataclass(frozen=True)
class Capacity:
    """What the nodes that can run trials offer, and how many trials run at once on them."""

    cpus: float
    gpus: float
    concurrent: int
    nodes: int = 1

    def describe(self, config: RunsConfig) -> str:
        """One line for the start of a study."""
        gpu = ""
        if config.gpus_per_trial:
            gpu = f", {self.gpus:g} GPUs ({packing(config.gpus_per_trial)})"
        where = f" on {self.nodes} nodes" if self.nodes > 1 else ""
        ahead = config.train.data.stream_workers
        workers = f" and {ahead} for its --stream-workers" if ahead else ""
        return (
            f"{self.concurrent} trials at once: {self.cpus:g} cores{where}, "
            f"{config.cpus_per_trial:g} a trial{workers}{gpu}"
        )


def packing(share: float) -> str:
    """What a trial's share of GPUs means: ``3 trials share a GPU, 0.1 of it is left over``."""
    if share >= 1:
        return f"{share:g} GPUs each"
    fit = int(1 / share + _EPSILON)
    left = 1 - fit * share
    text = f"{fit} trials share a GPU" if fit > 1 else "one trial a GPU"
    return text if left < _EPSILON else f"{text}, {left:.2g} of it is left over"


def capacity(config: RunsConfig) -> Capacity:
    """How many trials run at once on what Ray has; each must fit on one node."""
    nodes = alive_nodes()
    fits = [trials_on(node, config) for node in nodes]
    limits = [] if None in fits else [sum(fit or 0 for fit in fits)]
    if config.max_concurrent is not None:
        limits.append(config.max_concurrent)
    concurrent = min(limits, default=1)
    if concurrent < 1:
        raise InputError(_no_room(config, nodes))
    used = [node for node, fit in zip(nodes, fits, strict=True) if fit != 0]
    return Capacity(
        cpus=sum(node.cpus for node in used),
        gpus=sum(node.gpus for node in used),
        concurrent=concurrent,
        nodes=len(used),
    )


def _no_room(config: RunsConfig, nodes: list[Node]) -> str:
    has = "; ".join(
        f"{'this machine' if len(nodes) == 1 else node.name} has {node.cpus:g} cores and "
        f"{node.gpus:g} GPUs"
        for node in nodes[:4]
    )
    return (
        f"cpus_per_trial = {config.cpus_per_trial:g}, gpus_per_trial = "
        f"{config.gpus_per_trial:g}: no trial fits, {has}"
    )
