"""Assembles Ray Tune: one run of it has the baselines, the search, and what comes after.

Tune's own checkpoints, restore and loggers are not used: a study goes on from the ledger, Optuna's
journal and the trials' own checkpoints.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from study.config import RunsConfig
from study.tune.capacity import reserved_cores
from study.tune.failures import is_refusal
from study.tune.interrupts import handed_to_tune
from study.tune.limits import TimeIsOver
from study.tune.lost_nodes import ForgiveLostNodes
from study.tune.notebook import silent_reporter
from study.tune.ray_patches import fit, given_up_if, started_processes
from study.tune.stages import StagedScheduler, Stages, TellsFailures
from trainables.config import TrainConfig
from trainables.data.dataset import Dataset
from trainables.memory import words
from trainables.trial_spec import data_key
from trainables.tune_trainable import NoiseTrainable


def put_datasets(
    pairs: Sequence[tuple[TrainConfig, Dataset]], say: Callable[[str], None]
) -> dict[str, ray.ObjectRef]:
    """Put each data set into Ray's object store once; workers read it there without a copy."""
    wanted = {data_key(config): dataset for config, dataset in reversed(pairs)}
    needed = sum(dataset.bytes for dataset in wanted.values())
    room = ray.cluster_resources().get("object_store_memory", math.inf)
    if needed > room:
        say(
            f"the images take {words(needed)}, and Ray's object store has {words(int(room))}: Ray "
            "keeps the rest in files on its disk, from which reading is slower"
        )
    return {key: ray.put(dataset) for key, dataset in wanted.items()}


def run_trials(config: RunsConfig, stages: Stages, *, callbacks: Sequence[tune.Callback]) -> None:
    """Run one stage after the other, each within its limits, which may change meanwhile.

    It ends early where a stage has no time left, and where what follows a stage raised. After an
    interrupt KeyboardInterrupt follows, once Tune has come to its end.
    """
    resources = {"cpu": reserved_cores(config), "gpu": config.gpus_per_trial}
    scratch = tempfile.TemporaryDirectory(prefix="noise-study-", ignore_cleanup_errors=True)
    with scratch as folder, handed_to_tune(), given_up_if(is_hopeless):
        fit(
            trainable=tune.with_resources(NoiseTrainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=stages,
                scheduler=StagedScheduler(stages),
                num_samples=-1,  # as many as the searcher hands out
                reuse_actors=True,
                trial_dirname_creator=_short_name,
                trial_name_creator=_short_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                stop=TimeIsOver(lambda: stages.now.limits),
                callbacks=[*callbacks, TellsFailures(stages), ForgiveLostNodes()],
                failure_config=tune.FailureConfig(max_failures=config.max_failures),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                verbose=0,
                progress_reporter=silent_reporter(),
            ),
        )


def is_hopeless(trial: Trial) -> bool:
    """Whether no other try of a trial that failed could end otherwise."""
    # On a cluster another node may have what this one lacks.
    return bool(started_processes()) and is_refusal(trial)


def _short_name(trial: Any) -> str:
    return f"{trial.config['key']}_{trial.trial_id}"


def gpu_memory_fraction(config: RunsConfig) -> float | None:
    """The share of a GPU's memory that a trial may use; Ray packs fractions, but enforces none."""
    return config.gpus_per_trial if 0 < config.gpus_per_trial < 1 else None
