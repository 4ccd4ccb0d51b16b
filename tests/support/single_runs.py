"""Small single runs through the command line, and what they left behind."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.commands.train import main
from study.run.epoch_log import EpochLog
from study.run.files import RunFiles, find_runs

if TYPE_CHECKING:
    import torch

SMALL = (
    *("--dataset", "synthetic", "--synthetic-train", "240", "--synthetic-test", "100"),
    *("-c", "BabyCNN", "-b", "32", "-e", "4", "-g", "cpu"),
)
"""BabyCNN on 216 synthetic images, 6 steps an epoch, for 4 epochs."""

OFF = ("--policy", "off")

QUICK = (
    *("--flag-min-epochs", "0", "--flag-window-size", "2", "--consecutive-flag-trigger", "1"),
    *("--max-injection-epochs", "1", "--min-cooldown-epochs", "1", "--max-cooldown-epochs", "1"),
    *("--flag-low-weight-update-thr", "1e9"),
)
"""The controller at its quickest: one signal is always raised, one noisy epoch, one of rest."""

EAGER = (*QUICK, "--signals", "low_weight_update")
"""Adaptive gradient noise in epoch 2, by that signal alone."""

LONG = (*EAGER, "-e", "6", "--relative-max-noise", "2")

STATIC = ("-nt", "gradient", "-nm", "1")


@dataclass(frozen=True)
class Artefacts:
    """The files of one run, read."""

    files: RunFiles

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.files.metrics / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def column(self, name: str, key: str) -> list[Any]:
        return [line[key] for line in self.lines(name)]

    @property
    def noise(self) -> list[dict[str, Any]]:
        return self.lines("noise")

    @property
    def epochs(self) -> list[dict[str, Any]]:
        return self.lines("epoch_metrics")

    @property
    def noisy(self) -> list[int]:
        """The epochs with noise."""
        return [line["epoch"] for line in self.noise if line["kind"] != "none"]

    @property
    def config(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.files.config.read_text())
        return values

    @property
    def final(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.files.final.read_text())
        return values


def train(folder: Path, *words: str, small: Sequence[str] = SMALL) -> Artefacts:
    """Run ``noise-train`` to its end in ``folder``."""
    code = main([*small, *words, "--checkpoint-dir", str(folder)])
    assert code == 0
    return artefacts(folder)


def artefacts(folder: Path) -> Artefacts:
    """The only run under ``folder``."""
    (files,) = find_runs(folder)
    return Artefacts(files)


Run = Callable[..., Artefacts]


def figures(run: Artefacts) -> list[tuple[float, float]]:
    """What two runs with the same numbers agree in."""
    return [(row["train_loss"], row["val_loss"]) for row in run.epochs]


def lr_of(run: Artefacts) -> list[float]:
    return run.column("epoch_metrics", "lr")


def model_of(run: Artefacts) -> dict[str, "torch.Tensor"]:
    import torch

    (path,) = run.files.weights_files()
    model: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return model


def same_files(one: Artefacts, other: Artefacts) -> None:
    """Two runs left the same behind, apart from the clock."""
    import torch

    for name in EpochLog.NAMES:
        paths = [run.files.metrics / f"{name}.jsonl" for run in (one, other)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name
    finals = [{k: v for k, v in run.final.items() if k != "seconds"} for run in (one, other)]
    assert finals[0] == finals[1]
    weights = [model_of(run) for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
