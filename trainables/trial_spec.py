"""What the workers of a study are told: no Ray, no torch, which a driver has no time for."""

from dataclasses import dataclass, field
from typing import Any

from trainables.config import TrainConfig

Row = dict[str, Any]


@dataclass(frozen=True)
class TrialSpec:
    """What all trials of a phase share; each worker fetches it once.

    Attributes:
        base: the base configuration, as JSON text.
        policy: what every trial's ``noise/policy`` is, unless its overrides set it.
        checkpoint_root: folder or URI of the study's checkpoints, reachable from every worker.
        datasets: data settings (``data_key``) → reference of the ``Dataset`` in Ray's object store.
        baselines: digest of a baseline (``baseline_digest``) → its whole history.
        grace: epochs after the first injection in which a trial is not judged.
        fork_first: the first epoch at which any trial's noise may begin; a baseline keeps no
            earlier checkpoint. None: baselines keep none.
        fork_disk_bytes: disk budget for the kept checkpoints of one baseline.
        fork_seed: the only seed whose baseline trials fork from; None: that of every seed.
        memory_fraction: share of a GPU's memory that a trial may use; None: all.
        evaluate_test: whether a run that is complete is evaluated on the test set, with its best
            weights by validation and with its final ones. A search never asks for it.
        baseline_tests: digest of a baseline → its figures on the test set, which are also those of
            a trial that never injects.
    """

    base: str
    policy: str
    checkpoint_root: str
    datasets: dict[str, Any]
    baselines: dict[str, list[Row]] = field(default_factory=dict)
    fork: bool = True
    grace: int = 0
    fork_first: int | None = None
    fork_disk_bytes: int = 2_000_000_000
    fork_seed: int | None = None
    memory_fraction: float | None = None
    evaluate_test: bool = False
    baseline_tests: dict[str, dict[str, float]] = field(default_factory=dict)
    tell_node: bool = False


def data_key(config: TrainConfig) -> str:
    """The part of a configuration that decides which images a run sees."""
    return config.data.model_dump_json(
        exclude={"batch_size", "workers", "stream_workers", "download"}
    )
