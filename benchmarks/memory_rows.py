"""What a second concurrent trial costs in memory, with the data set in Ray's object store."""

import os
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.child import call
from benchmarks.images import dataset
from benchmarks.rows import Benchmark, Goal, Measured, Options
from trainables.config import TrainConfig


def proportional_set_size(pid: int) -> float:
    """MB of a process on Linux: its own memory, and of what is shared its share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def share_of_the_store(pid: int) -> float:
    """MB of a process's proportional set size that lie in Ray's object store."""
    held, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = "plasma" in line
        elif inside and line.startswith("Pss:"):
            held += int(line.split()[1])
    return held * 1024 / 1e6


def _config(quick: bool) -> TrainConfig:
    return TrainConfig.model_validate(
        {"data": {"batch_size": 128}, "optimizer": {"lr": 0.01}, "epochs": 3 if quick else 4}
    )


def _sizes(quick: bool) -> tuple[int, int]:
    return (2_000, 500) if quick else (45_000, 15_000)


def ours(*, quick: bool) -> dict[str, float]:
    """MB of the second of two concurrent trials, beyond a worker that has imported torch and Ray.

    ``data`` is what of it lies in the object store. Tune makes trials as actors, too.
    """
    import ray

    from study.config import StudyConfig
    from study.tune.connect import ray_session
    from study.tune.runner import put_datasets
    from trainables.trial_spec import TrialSpec
    from trainables.tune_trainable import NoiseTrainable, SpecInStore

    @ray.remote(num_cpus=0)
    class Bare:
        def pid(self) -> int:
            import torch  # noqa: F401
            from ray import tune  # noqa: F401

            return os.getpid()

    config = _config(quick)
    study = StudyConfig(train=config)
    with ray_session(study), tempfile.TemporaryDirectory() as storage:
        bare: Any = Bare.remote()  # type: ignore[attr-defined]
        spec = TrialSpec(
            base=config.model_dump_json(),
            policy="off",
            checkpoint_root=storage,
            datasets=put_datasets([(config, dataset(*_sizes(quick)))], print),
        )
        actor: Any = ray.remote(num_cpus=0)(NoiseTrainable)
        same = {"role": "trial", "overrides_json": "{}", "spec": SpecInStore.put(spec)}
        trials = [actor.remote(config={"key": f"trial-{n:04d}", **same}) for n in range(2)]
        for _ in range(2):
            ray.get([trial.train.remote() for trial in trials])
        pids = [ray.get(trial.get_current_ip_pid.remote())[1] for trial in trials]
        training = [trial.train.remote() for trial in trials]
        peak, without = 0.0, proportional_set_size(ray.get(bare.pid.remote()))
        # While both train: the highest of what is seen counts.
        while ray.wait(training, num_returns=2, timeout=0)[1]:
            peak = max(peak, proportional_set_size(pids[1]))
            time.sleep(0.02)
        peak = max(peak, proportional_set_size(pids[1]))
        return {"beyond": peak - without, "data": share_of_the_store(pids[1])}


def private_copy(*, quick: bool) -> float:
    """The same of a run that holds the data set itself, alone in its process."""
    import torch  # noqa: F401
    from ray import tune  # noqa: F401

    from trainables.data.device_data import DeviceData
    from trainables.tasks.image_task import ImageTraining

    without = proportional_set_size(os.getpid())
    training = ImageTraining(_config(quick), DeviceData(dataset(*_sizes(quick)), "cpu"))
    training.run_epoch()
    return proportional_set_size(os.getpid()) - without


def _memory(options: Options) -> Measured:
    rounds = min(options.rounds, 2)
    pairs, data = [], []
    for _ in range(rounds):
        found = call("benchmarks.memory_rows:ours", quick=options.quick)
        copy = call("benchmarks.memory_rows:private_copy", quick=options.quick)
        pairs.append((found["beyond"], copy))
        data.append(found["data"])
    return Measured(
        pairs,
        "the other: a run that holds its own copy of the data set. Both are beyond a process that "
        f"has imported torch and Ray. Of ours {statistics.median(data):.0f} MB are its share of "
        "the data set, which Ray's store and both trials map",
    )


BENCHMARKS = (
    Benchmark("memory_per_trial", "MB", Goal(150.0, "<=", "ours"), "ours/other", _memory),
)
