"""The search on stuck networks that nothing was tuned on: ``python -m benchmarks.other_networks``.

As the stuck controls, everything as shipped, with other depths, widths, initial scales, learning
rates, momenta, batches, seeds and images. ``--images DIR`` is needed for those on photos.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from torch import nn

from study.campaigns.controls import Room, Studied
from study.campaigns.known_answers import FINAL, training
from study.formats import markdown_table
from trainables.config import TrainConfig
from trainables.models.networks import DeepMLP, PlainCNN


def mlp_12_30(num_classes: int) -> nn.Module:
    return DeepMLP(num_classes, depth=12, width=30)


def mlp_16_80(num_classes: int) -> nn.Module:
    return DeepMLP(num_classes, depth=16, width=80, init_std=0.07)


def mlp_28_40(num_classes: int) -> nn.Module:
    return DeepMLP(num_classes, depth=28, width=40, init_std=0.15)


def cnn_8_24(num_classes: int) -> nn.Module:
    return PlainCNN(num_classes, depth=8, width=24, init_std=0.03)


def cnn_18_12(num_classes: int) -> nn.Module:
    return PlainCNN(num_classes, depth=18, width=12, init_std=0.08)


def _named(function: Callable[..., nn.Module]) -> str:
    return f"benchmarks.other_networks:{function.__name__}"


def cases(images: str | None) -> dict[str, tuple[TrainConfig, int]]:
    """The training and the study's seed of each, by name."""
    own = partial(training, epochs=40)
    found = {
        "mlp 12 × 30": (own(_named(mlp_12_30), lr=0.2), 41),
        "mlp 16 × 80": (own(_named(mlp_16_80), lr=0.02, momentum=0.9, batch_size=64), 42),
        "mlp 28 × 40": (own(_named(mlp_28_40), lr=0.1, momentum=0.5), 43),
        "cnn 8 × 24": (own(_named(cnn_8_24), lr=0.1, batch_size=64), 44),
        "cnn 18 × 12": (own(_named(cnn_18_12), lr=0.03, momentum=0.9), 45),
    }
    if images is not None:
        photos = {"data_dir": images, "subset": 0.2}
        cnn, mlp = (
            training(name, 20, lr=lr, momentum=momentum, batch_size=64).model_dump()
            for name, lr, momentum in (("PlainCNN", 0.02, 0.9), (_named(mlp_12_30), 0.1, 0.5))
        )
        for name, settings, seed in (("cnn 12 × 16", cnn, 46), ("mlp 12 × 30", mlp, 47)):
            settings["data"] |= {"dataset": "imagefolder", **photos}
            found[f"{name}, photos"] = (TrainConfig.model_validate(settings), seed)
    return found


def _row(name: str, seed: int, studied: Studied, seconds: float) -> list[str]:
    fresh = studied.fresh_differences(FINAL)
    baselines = [each.metrics["final_val_accuracy"] for each in studied.summary.baseline]
    return [
        name,
        str(seed),
        " ".join(f"{each:.4f}" for each in baselines if each is not None),
        studied.winner,
        f"{math.fsum(fresh) / len(fresh):+.4f}" if fresh else "",
        str(len(fresh)),
        "yes" if studied.claimed else "no",
        f"{seconds:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", metavar="DIR", help="a folder of train/ and test/ images")
    parser.add_argument("--out", default="other-networks", metavar="DIR")
    parser.add_argument("--only", nargs="*", metavar="NAME")
    options = parser.parse_args()
    rows = []
    for name, (train, seed) in cases(options.images).items():
        if options.only and name not in options.only:
            continue
        room = Room(Path(options.out), seed, console=Console(stderr=True))
        began = time.monotonic()
        study_name = "-".join(name.replace("×", "").replace(",", "").split())
        rows.append(_row(name, seed, room.study(study_name, train), time.monotonic() - began))
        columns = "network seed baseline winner gain seeds claimed s"
        print(markdown_table(columns.split(), rows), flush=True)


if __name__ == "__main__":
    main()
