"""Recorded tables: noise settings on many seeds, each epoch kept, the test set read at the end.

What a study would decide by another objective, or by another plan of seeds, is replayed on such a
table without training anything. Recording goes on where it was stopped; a table grows by seeds.
"""

import argparse
import copy
import json
import lzma
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from search_spaces.calibration import calibrate
from search_spaces.conditions import build_point
from search_spaces.registry import get_space
from search_spaces.sampling import sample
from study.records.json_files import plain
from trainables.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig, apply_overrides
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.metrics import EpochMetrics
from trainables.noise.controller import fork_epoch
from trainables.tasks.image_task import ImageTraining

HERE = Path(__file__).parent / "tables"
SETTINGS = 24
SEEDS = 12


@dataclass(frozen=True)
class Recorded:
    """A network with its training, and the spaces whose points are recorded."""

    train: TrainConfig
    spaces: tuple[str, ...]


def networks(images: str) -> dict[str, Recorded]:
    """What is recorded; ``images``: the folder of the CIFAR-10 images."""
    both = ("static_noise", "adaptive_noise")
    return {
        "babycnn_cifar10": Recorded(
            TrainConfig(
                data=DataConfig(dataset="imagefolder", data_dir=images, subset=0.5, batch_size=128),
                model=ModelConfig(classifier="BabyCNN"),
                optimizer=OptimizerConfig(lr=0.01, lr_restart_period=20),
                epochs=20,
            ),
            both,
        ),
        "tinycnn_100_digits": Recorded(
            TrainConfig(
                data=DataConfig(dataset="digits", subset=0.1, batch_size=25),
                model=ModelConfig(classifier="TinyCNN"),
                optimizer=OptimizerConfig(lr=0.02, weight_decay=0.0, lr_restart_period=100),
                epochs=100,
            ),
            both,
        ),
        "plaincnn_digits": Recorded(
            TrainConfig(
                data=DataConfig(dataset="digits", batch_size=128),
                model=ModelConfig(classifier="PlainCNN"),
                optimizer=OptimizerConfig(
                    lr=0.05, momentum=0.9, weight_decay=0.0, lr_restart_period=60
                ),
                epochs=60,
            ),
            ("noise",),
        ),
    }


class Recorder:
    """Trains what a table lacks, on one thread; a seed's settings fork from its baseline."""

    def __init__(self, name: str, recorded: Recorded, folder: Path = HERE) -> None:
        self.path = folder / f"{name}.json.xz"
        self.recorded = recorded
        self.data = DeviceData(load_dataset(recorded.train.data), recorded.train.device)
        self.table = read_table(self.path) if self.path.exists() else self._begin()

    def _begin(self) -> dict[str, Any]:
        train = self.recorded.train
        base = ImageTraining(train, self.data)
        while not base.finished:
            base.run_epoch()
        settings = []
        share = SETTINGS // len(self.recorded.spaces)
        for name in self.recorded.spaces:
            settings += self._points(name, base.history, share)
        return {
            "train": train.model_dump(mode="json", exclude={"data": {"data_dir"}}),
            "settings": settings,
            "runs": [],
        }

    def _points(self, name: str, history: list[EpochMetrics], wanted: int) -> list[dict[str, Any]]:
        """Points of a space whose noise begins on the baseline's course: those that a search opens
        with, up to half, then random ones."""
        train, space = self.recorded.train, get_space(name)
        found = calibrate(space, train, history)
        box, conditions = found.distributions, found.conditions
        columns = sample(box, 10 * wanted, seed=1)
        rows = [{path: column[i] for path, column in columns.items()} for i in range(10 * wanted)]
        points = [
            *found.opening[: wanted // 2],
            *(build_point(box, conditions, row.get) for row in rows),
        ]
        overrides = [space.overrides(point) for point in points]
        begins = [
            each
            for each in overrides
            if fork_epoch(history, apply_overrides(train, each).noise, train.epochs) is not None
        ]
        return begins[:wanted]

    def record(self, seeds: int, jobs: int = 1) -> None:
        """Train seeds 1 to ``seeds``, each written as it ends; ``jobs`` of them side by side."""
        done = {(run["setting"], run["seed"]) for run in self.table["runs"]}
        wanted = [None, *range(len(self.table["settings"]))]
        open_seeds = [
            seed
            for seed in range(1, seeds + 1)
            if not all((setting, seed) in done for setting in wanted)
        ]
        for runs in self._recorded(open_seeds, jobs):
            seed = runs[0]["seed"]
            self.table["runs"] = [r for r in self.table["runs"] if r["seed"] != seed] + runs
            self.table["runs"].sort(key=lambda run: run["seed"])
            write_table(self.path, self.table)
            print(f"{self.path.name}: seed {seed} of {seeds}", flush=True)

    def _recorded(self, seeds: list[int], jobs: int) -> Iterable[list[dict[str, Any]]]:
        if jobs == 1:
            yield from map(self.seed, seeds)
            return
        # The first table is written, so that each process finds the same settings.
        write_table(self.path, self.table)
        given = (self.path.name.split(".")[0], self.recorded, self.path.parent)
        with ProcessPoolExecutor(jobs, get_context("spawn"), _begin_in_process, given) as pool:
            for each in as_completed([pool.submit(_seed_in_process, seed) for seed in seeds]):
                yield each.result()

    def seed(self, seed: int) -> list[dict[str, Any]]:
        train = self.recorded.train.model_copy(update={"seed": seed})
        baseline = ImageTraining(train, self.data)
        states = []
        while not baseline.finished:
            # A copy does not change when training goes on.
            states.append(copy.deepcopy(baseline.state_dict()))
            baseline.run_epoch()
        runs = [self._row(None, baseline)]
        for index, overrides in enumerate(self.table["settings"]):
            config = apply_overrides(train, overrides)
            begins = fork_epoch(baseline.history, config.noise, train.epochs)
            if begins is None:
                runs.append({**runs[0], "setting": index})
                continue
            run = ImageTraining(config, self.data)
            run.load_state_dict(states[begins])
            while not run.finished and (not run.history or run.history[-1].finite):
                run.run_epoch()
            runs.append(self._row(index, run))
        return runs

    def _row(self, setting: int | None, run: ImageTraining) -> dict[str, Any]:
        final = run.evaluate("test", per_class=False)
        best = run.evaluate_best("test") if run.best else None
        figures = {
            "setting": setting,
            "seed": run.config.seed,
            "noisy": [row.epoch for row in run.history if row.injected],
            **{
                name: [getattr(row, name) for row in run.history]
                for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
            },
            "final_test": [final.accuracy, final.loss],
            "best_test": [best.accuracy, best.loss] if best else None,
        }
        return dict(plain(figures))


_here: list[Recorder] = []


def _begin_in_process(name: str, recorded: Recorded, folder: Path) -> None:
    _here.append(Recorder(name, recorded, folder))


def _seed_in_process(seed: int) -> list[dict[str, Any]]:
    return _here[0].seed(seed)


def read_table(path: Path) -> dict[str, Any]:
    with lzma.open(path, "rt") as file:
        table: dict[str, Any] = json.load(file)
    return table


def print_reports(report: Callable[[Path], str], prog: str, about: str | None) -> None:
    """The command line of what is replayed on the tables: a report of each, or of one."""
    parser = argparse.ArgumentParser(prog=prog, description=about)
    names = sorted(path.name.split(".")[0] for path in HERE.glob("*.json.xz"))
    parser.add_argument("--table", choices=names, help="only this one")
    given = parser.parse_args()
    for name in [given.table] if given.table else names:
        print(report(HERE / f"{name}.json.xz"))


def write_table(path: Path, table: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    with lzma.open(part, "wt") as file:
        json.dump(_short(table), file, separators=(",", ":"))
    part.replace(path)


def _short(value: Any) -> Any:
    """Numbers with seven digits: what fp32 sums carry."""
    match value:
        case float():
            return float(f"{value:.7g}") if math.isfinite(value) else None
        case dict():
            return {name: _short(each) for name, each in value.items()}
        case list() | tuple():
            return [_short(each) for each in value]
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--images", default="data/cifar10-images")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="seeds side by side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the table lies")
    given = parser.parse_args()
    recorded = networks(given.images)[given.name]
    recorded = replace(recorded, train=recorded.train.model_copy(update={"device": given.device}))
    Recorder(given.name, recorded, given.folder).record(given.seeds, given.jobs)


if __name__ == "__main__":
    main()
