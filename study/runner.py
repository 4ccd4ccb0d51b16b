"""Assembles Ray Tune: one call runs one batch of trials, be it the baselines or the search.

Tune's own persistence is not used (its checkpoints, its restore, its loggers): the ledger, the
Optuna journal and the trials' checkpoints are what a study goes on from.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from study.config import RunsConfig
from study.interrupts import handed_to_tune
from trainables.config import TrainConfig
from trainables.data import Dataset
from trainables.errors import InputError
from trainables.tune_trainable import NoiseTrainable, TrialSpec, data_key

WORKER_ENVIRONMENT = {
    # glibc gives large blocks back to the system after every batch; half of TinyCNN's time was
    # page faults. It must stand in the process's environment before it starts.
    "MALLOC_MMAP_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    # cuBLAS is deterministic only with a fixed workspace.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}

_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Interrupts are ours to handle (study.interrupts).
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A snapshot of the experiment is of no use to us: make it rare.
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
}


@dataclass(frozen=True)
class Capacity:
    """What the machine or cluster offers and how many trials run at once on it."""

    cpus: float
    gpus: float
    concurrent: int

    def describe(self, config: RunsConfig) -> str:
        """One line for the start of a study."""
        gpu = ""
        if config.gpus_per_trial:
            packing = (
                f"{int(1 / config.gpus_per_trial + 1e-9)} trials share a GPU"
                if config.gpus_per_trial < 1
                else f"{config.gpus_per_trial:g} GPUs each"
            )
            gpu = f", {self.gpus:g} GPUs ({packing})"
        return (
            f"{self.concurrent} trials at once: {self.cpus:g} cores, "
            f"{config.cpus_per_trial:g} a trial{gpu}"
        )


@contextmanager
def ray_session(config: RunsConfig) -> Iterator[None]:
    """Connect to Ray, or start it on this machine, and leave it as it was."""
    os.environ.update({key: os.environ.get(key, value) for key, value in _QUIET.items()})
    started = not ray.is_initialized()
    if started:
        options: dict[str, Any] = {
            "address": config.address or "local",
            "runtime_env": {"env_vars": WORKER_ENVIRONMENT},
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": True,
        }
        if config.address is None:
            # The dashboard would be one more server and one more second.
            options["include_dashboard"] = False
        ray.init(**options)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def capacity(config: RunsConfig) -> Capacity:
    """How many trials fit on what Ray has.

    Raises:
        InputError: if not even one does.
    """
    total = ray.cluster_resources()
    cpus, gpus = float(total.get("CPU", 0)), float(total.get("GPU", 0))
    # A GPU's fractions are packed whole: 0.4 of one packs two, not two and a half.
    share = config.gpus_per_trial
    by_gpu = (
        int(gpus) * int(1 / share + 1e-9) if 0 < share < 1 else int(gpus / share) if share else None
    )
    by_cpu = int(cpus / config.cpus_per_trial) if config.cpus_per_trial else None
    limits = [limit for limit in (by_cpu, by_gpu, config.max_concurrent) if limit is not None]
    concurrent = min(limits, default=1)
    if concurrent < 1:
        raise InputError(
            f"cpus_per_trial = {config.cpus_per_trial:g}, gpus_per_trial = {share:g}: no trial "
            f"fits, there are {cpus:g} cores and {gpus:g} GPUs"
        )
    return Capacity(cpus=cpus, gpus=gpus, concurrent=concurrent)


def put_datasets(
    pairs: Sequence[tuple[TrainConfig, Dataset]],
) -> dict[str, ray.ObjectRef]:
    """Put each data set into Ray's object store once; workers read it there without a copy."""
    references: dict[str, ray.ObjectRef] = {}
    for config, dataset in pairs:
        key = data_key(config)
        if key not in references:
            references[key] = ray.put(dataset)
    return references


def run_trials(
    config: RunsConfig,
    spec: TrialSpec,
    searcher: Searcher,
    *,
    samples: int,
    callbacks: Sequence[tune.Callback],
    scheduler: Any = None,
    time_budget: float | None = None,
) -> None:
    """Run ``samples`` trials; what they report goes to the callbacks, nowhere else.

    Returns when all have ended, or when the time budget (seconds) is over.

    Raises:
        KeyboardInterrupt: after an interrupt, once Tune has come to its end.
    """
    room = capacity(config)
    scratch = tempfile.mkdtemp(prefix="noise-study-")
    resources = {"cpu": config.cpus_per_trial, "gpu": config.gpus_per_trial}
    trainable = tune.with_resources(tune.with_parameters(NoiseTrainable, spec=spec), resources)
    try:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=samples,
                max_concurrent_trials=min(room.concurrent, samples),
                reuse_actors=True,
                time_budget_s=time_budget,
                trial_dirname_creator=_short_name,
                trial_name_creator=_short_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                callbacks=list(callbacks),
                failure_config=tune.FailureConfig(max_failures=config.max_failures),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                verbose=0,
            ),
        )
        with handed_to_tune():
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _short_name(trial: Any) -> str:
    return f"{trial.config['key']}_{trial.trial_id}"


def gpu_memory_fraction(config: RunsConfig) -> float | None:
    """The share of a GPU's memory that a trial may use: Ray packs fractions, but enforces none."""
    return config.gpus_per_trial if 0 < config.gpus_per_trial < 1 else None
