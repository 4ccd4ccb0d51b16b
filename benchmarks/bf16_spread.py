"""Does bf16 cost power? ``python -m benchmarks.bf16_spread``: the paired spread beside fp32's.

A baseline and static label noise are trained on the same seeds in both precisions. What decides how
many seeds a verdict needs is the standard deviation of trial − baseline over the seeds: it is shown
for both, with their ratio; twice the spread needs four times the seeds. bf16 is autocast, which any
CPU computes, though slowly without the instructions.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from study.formats import markdown_table
from trainables.config import TrainConfig
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.device import set_up_torch
from trainables.metrics import objective_value
from trainables.tasks.image_task import ImageTraining

PRECISIONS = ("fp32", "bf16")
NOISE = {"policy": "always", "kind": "label", "magnitude": 0.2}
FIGURES = ("tail_val_loss", "final test loss", "final test accuracy")

Differences = Mapping[str, Sequence[float]]
"""Figure → trial − baseline, a number a seed."""


class Ratio(NamedTuple):
    """Of two standard deviations over the same seeds, with its interval."""

    value: float
    low: float
    high: float
    correlation: float


def spread_ratio(ours: Sequence[float], other: Sequence[float], level: float = 0.95) -> Ratio:
    """sd(ours) / sd(other), paired, with the interval that inverts Pitman's and Morgan's test.

    Pitman, A note on normal correlation (Biometrika 31, 1939); Morgan, the same volume. Of n pairs
    with the correlation r and the ratio w of the variances: w · (K ± √(K² − 1)), K = 1 + 2 (1 − r²)
    t² / (n − 2), t Student's quantile of n − 2 degrees of freedom. Exact where both are normal.
    """
    n = len(ours)
    if n < 3 or n != len(other):
        raise ValueError(f"{n} and {len(other)} differences: at least 3 pairs are needed")
    r = float(np.corrcoef(ours, other)[0, 1])
    ratio = float(np.std(ours, ddof=1) / np.std(other, ddof=1))
    t = float(stats.t.ppf((1 + level) / 2, n - 2))
    k = 1 + 2 * (1 - r**2) * t**2 / (n - 2)
    half = math.sqrt(k + math.sqrt(k**2 - 1))
    return Ratio(ratio, ratio / half, ratio * half, r)


def train_config(classifier: str, epochs: int, subset: float) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "data": {"dataset": "digits", "subset": subset, "batch_size": 25},
            "model": {"classifier": classifier},
            "optimizer": {"lr": 0.02, "weight_decay": 0.0, "lr_restart_period": epochs},
            "epochs": epochs,
        }
    )


def figures(config: TrainConfig, data: DeviceData) -> list[float]:
    """Train to the end; the ``FIGURES``."""
    set_up_torch(config.threads, config.device, config.precision, config.deterministic)
    training = ImageTraining(config, data)
    while not training.finished:
        training.run_epoch()
    test = training.evaluate("test", per_class=False)
    tail = objective_value("tail_val_loss", training.history)
    return [tail, test.loss, test.accuracy]


def differences(config: TrainConfig, seeds: int) -> dict[str, Differences]:
    """Precision → figure → trial − baseline, of seeds 1 to ``seeds``."""
    data = DeviceData(load_dataset(config.data), config.device)
    found = {}
    for precision in PRECISIONS:
        rows = []
        for seed in range(1, seeds + 1):
            base = config.model_copy(update={"seed": seed, "precision": precision})
            noise = config.noise.model_copy(update=NOISE)
            trial = base.model_copy(update={"noise": noise})
            rows.append(np.subtract(figures(trial, data), figures(base, data)))
        found[precision] = dict(zip(FIGURES, np.transpose(rows).tolist(), strict=True))
    return found


def report(found: Mapping[str, Differences]) -> str:
    lines = []
    for name in FIGURES:
        fp32, bf16 = (found[precision][name] for precision in PRECISIONS)
        ratio = spread_ratio(bf16, fp32)
        lines.append(
            [
                name,
                *(f"{np.mean(each):+.4f}" for each in (fp32, bf16)),
                *(f"{np.std(each, ddof=1):.4f}" for each in (fp32, bf16)),
                f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
                f"{ratio.correlation:.2f}",
            ]
        )
    header = ["trial − baseline", "mean, fp32", "bf16", "sd, fp32", "bf16", "ratio of sds (95 %)"]
    return markdown_table([*header, "correlation"], lines, "lrrrrrr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", default="BabyCNN")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--subset", type=float, default=0.5, help="of the digits' training images")
    given = parser.parse_args()
    config = train_config(given.classifier, given.epochs, given.subset)
    print(report(differences(config, given.seeds)))


if __name__ == "__main__":
    main()
