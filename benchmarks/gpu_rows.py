"""Several trials on one GPU, against as many bare loops; needs a CUDA GPU."""

import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.child import Child, together, wait_for_start
from benchmarks.images import dataset
from benchmarks.loop_rows import BATCH, make_config
from benchmarks.rows import Benchmark, Measured, Options
from trainables.data.device_data import DeviceData
from trainables.device import autocast
from trainables.tasks.image_task import ImageTraining


def _training(classifier: str, train: int) -> ImageTraining:
    on_gpu = {"device": "cuda", "precision": "bf16", "deterministic": False}
    data = DeviceData(dataset(train, train // 10), "cuda")
    return ImageTraining(make_config(classifier, **on_gpu), data)


def _seconds(epoch: Callable[[], object], epochs: int) -> float:
    epoch()
    torch.cuda.synchronize()
    wait_for_start()
    began = time.perf_counter()
    for _ in range(epochs):
        epoch()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def our_epochs(*, classifier: str, train: int, epochs: int, trials: int) -> float:
    """Seconds of some epochs of one of ``trials`` concurrent runs, validation included."""
    torch.cuda.set_per_process_memory_fraction(1 / trials)
    return _seconds(_training(classifier, train).run_epoch, epochs)


def bare_epochs(*, classifier: str, train: int, epochs: int, trials: int) -> float:
    """The same with nothing but steps on batches that lie on the GPU: airbench's way of looping.

    Order, crops and flips are drawn on the GPU; there are no statistics and no validation.
    """
    torch.cuda.set_per_process_memory_fraction(1 / trials)
    bare = _training(classifier, train)
    images = torch.randn(train, 3, 32, 32, device="cuda").to(
        torch.bfloat16, memory_format=torch.channels_last
    )
    labels = torch.randint(10, (train,), device="cuda")

    def epoch() -> None:
        bare.model.train()
        order = torch.randperm(train, device="cuda")
        for start in range(0, train - BATCH + 1, BATCH):
            index = order[start : start + BATCH]
            batch = images[index]
            batch = torch.where(
                torch.rand(BATCH, 1, 1, 1, device="cuda") < 0.5, batch.flip(3), batch
            )
            bare.optimizer.zero_grad(set_to_none=True)
            with autocast("bf16", "cuda"):
                logits = bare.model(batch)
            torch.nn.functional.cross_entropy(logits.float(), labels[index]).backward()  # type: ignore[no-untyped-call]
            bare.optimizer.step()

    return _seconds(epoch, epochs)


def _gpu(classifier: str, trials: int, options: Options) -> Measured:
    train = 10 * BATCH if options.quick else 50_000
    epochs = 1 if options.quick or classifier == "resnet18" else 3
    arguments = {"classifier": classifier, "train": train, "epochs": epochs, "trials": trials}
    images = epochs * (train // BATCH) * BATCH
    pairs = []
    for _ in range(options.rounds):
        rates = []
        for name in ("our_epochs", "bare_epochs"):
            children = [Child(f"benchmarks.gpu_rows:{name}", arguments) for _ in range(trials)]
            rates.append(sum(images / took for took in together(children)))
        pairs.append((rates[0], rates[1]))
    name = torch.cuda.get_device_name()
    return Measured(pairs, f"{trials} at once on one {name}, bf16, validation in ours only")


def _no_gpu() -> str:
    return "" if torch.cuda.is_available() else "there is no CUDA GPU here"


BENCHMARKS = tuple(
    Benchmark(
        f"gpu_{classifier.lower()}_{trials}",
        "images/s",
        None,
        "ours/other",
        partial(_gpu, classifier, trials),
        lacking=_no_gpu,
    )
    for classifier in ("BabyCNN", "TinyCNN", "resnet18")
    for trials in (1, 2, 4, 8)
)
