"""The loop: against a conventional one, against the bare minimum, with noise, in bf16."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.child import Child, call, together, wait_for_start
from benchmarks.images import dataset
from benchmarks.rows import Benchmark, Goal, Measured, Options, Pair, cores
from trainables.adaptive_noise import AdaptiveNoise
from trainables.config import TrainConfig
from trainables.data.device_data import DeviceData
from trainables.device import autocast
from trainables.tasks.image_task import ImageTraining

BATCH = 256

_IDLE = {"policy": "on_stagnation", "warmup_epochs": 0, "window": 2, "trigger_epochs": 1_000_000}
"""All signals are read, and no noise comes of it."""


def make_config(classifier: str, **fields: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "model": {"classifier": classifier},
            "data": {"batch_size": BATCH},
            "optimizer": {"lr": 0.01},
            "epochs": 10_000,
            **fields,
        }
    )


def our_throughput(*, classifier: str, train: int, val: int, epochs: int, precision: str) -> float:
    """Train some epochs, validation included; returns the seconds they took."""
    config = make_config(classifier, precision=precision)
    training = ImageTraining(config, DeviceData(dataset(train, val), "cpu"))
    warm = ImageTraining(config, DeviceData(dataset(3 * BATCH, BATCH), "cpu"))
    warm.run_epoch()
    wait_for_start()
    began = time.perf_counter()
    for _ in range(epochs):
        training.run_epoch()
    return time.perf_counter() - began


def bare_epoch(
    training: ImageTraining, images: torch.Tensor, labels: torch.Tensor, steps: int
) -> None:
    """Nothing but forward, backward and the optimiser's step on one fixed batch."""
    model, optimizer = training.model, training.optimizer
    model.train()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        with autocast(training.config.precision, training.device):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def against_bare(classifier: str, steps: int, rounds: int) -> list[Pair]:
    """(images a second of our training, of bare steps), by rounds, in this process."""
    data = DeviceData(dataset(steps * BATCH, 10), "cpu")
    ours, bare = (
        ImageTraining(make_config(classifier), data),
        ImageTraining(make_config(classifier), data),
    )
    images, labels = next(iter(data.train_batches(0, 0, BATCH)))
    seconds = _interleaved(
        [ours.run_epoch, lambda: bare_epoch(bare, images, labels, steps)], rounds
    )
    return [(steps * BATCH / a, steps * BATCH / b) for a, b in seconds]


def against_off(classifier: str, fields: dict[str, Any], steps: int, rounds: int) -> list[Pair]:
    """(seconds of an epoch with ``fields`` set, of one without), by rounds, in this process."""
    data = DeviceData(dataset(steps * BATCH, 10), "cpu")
    ours, other = (
        ImageTraining(make_config(classifier, **fields), data),
        ImageTraining(make_config(classifier), data),
    )
    return _interleaved([ours.run_epoch, other.run_epoch], rounds)


def against_plain(classifier: str, steps: int, rounds: int) -> list[Pair]:
    """(seconds of an epoch with an idle ``AdaptiveNoise``, of the same loop without), by rounds."""
    data = DeviceData(dataset(steps * BATCH, 10), "cpu")
    plain, watched = (ImageTraining(make_config(classifier), data) for _ in range(2))
    noise = AdaptiveNoise(watched.model, _IDLE, epochs=10_000, optimizer=watched.optimizer)

    def with_noise() -> None:
        watched.model.train()
        with noise.epoch() as e:
            for x, y in data.train_batches(0, 0, BATCH):
                watched.optimizer.zero_grad()
                with e.forward(x, y) as (noisy_x, noisy_y):
                    loss = F.cross_entropy(watched.model(noisy_x), noisy_y)
                    loss.backward()  # type: ignore[no-untyped-call]
                e.before_step(loss)
                watched.optimizer.step()
            assert not e.validated(1.0).injected

    def without() -> None:
        plain.model.train()
        for x, y in data.train_batches(0, 0, BATCH):
            plain.optimizer.zero_grad()
            loss = F.cross_entropy(plain.model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            plain.optimizer.step()

    return _interleaved([with_noise, without], rounds)


def _interleaved(sides: list[Callable[[], object]], rounds: int) -> list[Pair]:
    """CPU seconds of both sides, in turns; the first round only warms up.

    One thread does all the work, so other load on the machine disturbs CPU time least.
    """
    pairs: list[Pair] = []
    for number in range(rounds + 1):
        took = []
        # Who goes first changes: the second finds warmer caches.
        for index in (0, 1) if number % 2 else (1, 0):
            began = time.process_time()
            sides[index]()
            took.append((index, time.process_time() - began))
        if number:
            pairs.append((dict(took)[0], dict(took)[1]))
    return pairs


def _conventional(classifier: str, options: Options, precision: str = "fp32") -> Measured:
    train, val = (4 * BATCH, BATCH) if options.quick else (50_000, 5_000)
    epochs = 1
    shared: dict[str, Any] = {"classifier": classifier, "train": train, "val": val}
    trained = epochs * (train // BATCH) * BATCH
    pairs, best = [], []
    for _ in range(options.rounds):
        children = [
            Child(
                "benchmarks.loop_rows:our_throughput",
                shared | {"epochs": epochs, "precision": precision},
            )
            for _ in range(cores())
        ]
        seconds = together(children)
        others: dict[int, float] = {}
        for workers in (0,) if options.quick else (0, 1, 2):
            arguments = shared | {
                "batch": BATCH,
                "epochs": epochs,
                "threads": cores(),
                "workers": workers,
            }
            target = "benchmarks.conventional:throughput"
            other = Child(target, arguments, ours=False, threads=cores())
            (others[workers],) = together([other])
        winner = max(others, key=others.__getitem__)
        best.append(winner)
        pairs.append((sum(trained / took for took in seconds), others[winner]))
    return Measured(
        pairs,
        f"ours: {cores()} runs at once in {precision}, one thread each; the other: one run with "
        f"{cores()} threads in fp32, best of 0 to 2 workers (by rounds: "
        f"{', '.join(map(str, best))}). What is left to gain beside the network's own arithmetic, "
        f"loop_vs_bare_{classifier[:4].lower()} shows",
    )


def _bare(classifier: str, options: Options) -> Measured:
    steps = 3 if options.quick else {"BabyCNN": 100, "TinyCNN": 25}[classifier]
    pairs = call(
        "benchmarks.loop_rows:against_bare",
        classifier=classifier,
        steps=steps,
        rounds=options.rounds,
    )
    return Measured(pairs, "CPU time of one thread; statistics, batches and augmentation are ours")


def _own_loop(classifier: str, options: Options) -> Measured:
    pairs = call(
        "benchmarks.loop_rows:against_plain",
        classifier=classifier,
        steps=3 if options.quick else {"BabyCNN": 50, "TinyCNN": 20}[classifier],
        # Short rounds, many of them: what is measured is smaller than what one is disturbed by.
        rounds=options.rounds if options.quick else 4 * options.rounds,
    )
    return Measured(pairs, "CPU time of an epoch without validation, one thread; no noise comes")


def _noise(kind: str, options: Options) -> Measured:
    noise = {"policy": "always", "kind": kind, "magnitude": 0.01}
    pairs = call(
        "benchmarks.loop_rows:against_off",
        classifier="TinyCNN",
        fields={"noise": noise},
        steps=3 if options.quick else 25,
        rounds=options.rounds,
    )
    return Measured(pairs, "CPU time of an epoch, one thread")


def _bf16(options: Options) -> Measured:
    steps = 3 if options.quick else 25
    seconds = call(
        "benchmarks.loop_rows:against_off",
        classifier="TinyCNN",
        fields={"precision": "bf16"},
        steps=steps,
        rounds=options.rounds,
    )
    pairs = [(steps * BATCH / a, steps * BATCH / b) for a, b in seconds]
    return Measured(pairs, "CPU time of one thread")


def _slices(classifier: str, options: Options) -> Measured:
    """Slices of 32 against whole batches; what other sizes give is told."""
    steps = 3 if options.quick else {"BabyCNN": 50, "TinyCNN": 12}[classifier]
    by_size: dict[int, list[Pair]] = {}
    for size in (32,) if options.quick else (16, 32, 64, 128):
        seconds = call(
            "benchmarks.loop_rows:against_off",
            classifier=classifier,
            fields={"slice": size},
            steps=steps,
            rounds=options.rounds,
        )
        by_size[size] = [(steps * BATCH / a, steps * BATCH / b) for a, b in seconds]
    told = ", ".join(
        f"{size}: {median(a / b for a, b in pairs):.2f}" for size, pairs in by_size.items()
    )
    return Measured(
        by_size[32],
        f"CPU time of one thread; slices of 32 against whole batches of {BATCH}. Ratio by size of "
        f"a slice: {told}",
    )


def _no_bf16() -> str:
    """What the processor lacks: bf16 is computed without it, too, but slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        return ""
    return "this processor has no bf16 instructions (avx512_bf16 or amx_bf16)"


BENCHMARKS = (
    Benchmark(
        "loop_vs_conventional_baby",
        "images/s",
        Goal(5.0, ">="),
        "ours/other",
        partial(_conventional, "BabyCNN"),
    ),
    Benchmark(
        "loop_vs_conventional_tiny",
        "images/s",
        Goal(4.0, ">="),
        "ours/other",
        partial(_conventional, "TinyCNN"),
    ),
    Benchmark(
        "loop_vs_bare_baby", "images/s", Goal(0.75, ">="), "ours/other", partial(_bare, "BabyCNN")
    ),
    Benchmark(
        "loop_vs_bare_tiny", "images/s", Goal(0.9, ">="), "ours/other", partial(_bare, "TinyCNN")
    ),
    Benchmark(
        "noise_overhead_gradient", "s", Goal(1.15, "<="), "ours/other", partial(_noise, "gradient")
    ),
    Benchmark(
        "noise_overhead_weight", "s", Goal(1.25, "<="), "ours/other", partial(_noise, "weight")
    ),
    Benchmark(
        "own_loop_overhead_baby", "s", Goal(1.02, "<="), "ours/other", partial(_own_loop, "BabyCNN")
    ),
    Benchmark(
        "own_loop_overhead_tiny", "s", Goal(1.01, "<="), "ours/other", partial(_own_loop, "TinyCNN")
    ),
    # No goals: what a slice gains is the machine's, and none is set unless asked for.
    Benchmark("slices_baby", "images/s", None, "ours/other", partial(_slices, "BabyCNN")),
    Benchmark("slices_tiny", "images/s", None, "ours/other", partial(_slices, "TinyCNN")),
    Benchmark(
        "bf16_vs_fp32_tiny",
        "images/s",
        Goal(1.3, ">="),
        "ours/other",
        _bf16,
        lacking=_no_bf16,
    ),
    Benchmark(
        "bf16_vs_conventional_tiny",
        "images/s",
        Goal(5.0, ">="),
        "ours/other",
        partial(_conventional, "TinyCNN", precision="bf16"),
        lacking=_no_bf16,
    ),
)
