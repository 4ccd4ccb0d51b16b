"""The grid of an experiment: its configuration, its groups, and the runs that they mean.

A group is one classifier with one optimizer, momentum, learning rate and subset of the data. It is
trained once without noise on each seed, its pinned baseline, and once with each distribution of
the noise on each seed. Nothing here imports Ray or torch.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, Self, get_args

from pydantic import BeforeValidator, ValidationError, model_validator

from study.checks import check_runs, check_train
from study.config import RunsConfig
from study.formats import exact
from study.names import NAME_PATTERN
from study.presets import standard
from study.records.folder import StudyFolder
from study.records.planned_run import BASELINE, PlannedRun
from study.tune.address import address_of
from study.tune.cores import trials_here
from trainables.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    apply_overrides,
)
from trainables.documents import read_mapping
from trainables.errors import InputError, nearest
from trainables.noise.kinds import NOISE_KINDS
from trainables.noise_config import Distribution, NoiseConfig
from trainables.optimizer_config import OPTIMIZERS
from trainables.presets import paper as paper_run
from trainables.settings import FrozenConfig, parse_config, setting

AXES: Mapping[str, str] = {
    "classifiers": "model/classifier",
    "optimizers": "optimizer/optimizer",
    "momenta": "optimizer/momentum",
    "lrs": "optimizer/lr",
    "subsets": "data/subset",
    "distributions": "noise/distribution",
    "seeds": "seed",
}
"""The grid's axes, and the setting of a run that each varies."""


def _as(kind: type[FrozenConfig], name: str) -> BeforeValidator:
    """Read a point of an axis exactly as a single run reads that setting."""

    def check(value: object) -> object:
        try:
            return getattr(kind.model_validate({name: value}), name)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    return BeforeValidator(check)


class ExperimentConfig(RunsConfig):
    """Everything that decides an experiment: ``DIR/NAME/experiment_config.json`` holds one.

    Those settings of ``train`` that the grid varies (``AXES``) are replaced in every run.
    """

    name: str = setting(
        "experiment",
        "the experiment's name: one folder, one MLflow experiment",
        option="--name",
        pattern=NAME_PATTERN,
    )
    train: TrainConfig = TrainConfig(noise=NoiseConfig(policy="on_stagnation"))
    classifiers: tuple[Annotated[str, _as(ModelConfig, "classifier")], ...] = setting(
        ("BabyCNN",), "the models, separated by commas", option="--classifiers"
    )
    optimizers: tuple[Annotated[str, _as(OptimizerConfig, "optimizer")], ...] = setting(
        ("SGD",),
        ", ".join(OPTIMIZERS) + ", or your own as package.module:function",
        option="--optimizers",
    )
    momenta: tuple[Annotated[float, _as(OptimizerConfig, "momentum")], ...] = setting(
        (0.9,), "momenta of SGD; Adam has none", option="--momenta"
    )
    lrs: tuple[Annotated[float, _as(OptimizerConfig, "lr")], ...] = setting(
        (1e-2,), "learning rates", option="--lrs"
    )
    subsets: tuple[Annotated[float, _as(DataConfig, "subset")], ...] = setting(
        (1.0,), "stratified fractions of the training data", option="--subsets"
    )
    distributions: tuple[Annotated[str, _as(NoiseConfig, "distribution")], ...] = setting(
        get_args(Distribution),
        "distributions of the noise, each compared with the baseline",
        option="--distributions",
    )
    codes: dict[str, tuple[str, ...]] = setting(
        {}, "the source of all code of one's own, by its name, as it was when it was recorded"
    )
    seeds: tuple[Annotated[int, _as(TrainConfig, "seed")], ...] = setting(
        (0,), "seeds on which each group runs, baseline and noise alike", option="--seeds",
    )  # fmt: skip

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for axis in AXES:
            values = getattr(self, axis)
            if not values:
                raise ValueError(f"{axis} = []: give at least one")
            doubled = [value for value, count in Counter(values).items() if count > 1]
            if doubled:
                raise ValueError(
                    f"{axis} = {list(values)}: {doubled[0]!r} is given more than once; every run "
                    "of an experiment is made once"
                )
        return self

    @model_validator(mode="after")
    def _has_noise(self) -> Self:
        noise = self.train.noise
        if noise.policy == "off":
            raise ValueError(
                "train.noise.policy = 'off': an experiment compares noise with the baseline; "
                "on_stagnation: adaptive noise, always: static noise of --kind"
            )
        has_distribution = NOISE_KINDS[noise.kind].has_distribution
        if noise.policy == "always" and not has_distribution and len(self.distributions) > 1:
            raise ValueError(
                f"distributions = {list(self.distributions)}: {noise.kind} noise has no "
                "distribution, all of these would be the same run; give one"
            )
        return self


@dataclass(frozen=True)
class Group:
    """What is compared with and without noise. ``momentum`` is None where there is none."""

    classifier: str
    optimizer: str
    momentum: float | None
    lr: float
    subset: float

    @property
    def label(self) -> str:
        """A stable name, e.g. ``BabyCNN-SGD-m0.9-lr0.01-s1``."""
        momentum = "" if self.momentum is None else f"-m{exact(self.momentum)}"
        name = self.classifier.replace(":", ".")
        optimizer = self.optimizer.replace(":", ".")
        tail = f"lr{exact(self.lr)}-s{exact(self.subset)}"
        return f"{name}-{optimizer}{momentum}-{tail}"

    @property
    def overrides(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "model/classifier": self.classifier,
            "optimizer/optimizer": self.optimizer,
            "optimizer/lr": self.lr,
            "data/subset": self.subset,
        }
        return values if self.momentum is None else {**values, "optimizer/momentum": self.momentum}


def grid_run(group: Group, noise: str, seed: int) -> PlannedRun:
    """One run of the grid; ``noise`` is a distribution, or ``BASELINE``."""
    name = f"{group.label}-{noise}"  # e.g. BabyCNN-SGD-m0.9-lr0.01-s1-gaussian
    if noise == BASELINE:
        return PlannedRun("baseline", name, seed, {**group.overrides, "noise/policy": "off"})
    return PlannedRun("trial", name, seed, {**group.overrides, "noise/distribution": noise})


def groups(config: ExperimentConfig) -> tuple[Group, ...]:
    """The groups in the grid's order. Momentum multiplies SGD only."""
    return tuple(
        Group(classifier, optimizer, momentum, lr, subset)
        for classifier, optimizer in product(config.classifiers, config.optimizers)
        for momentum in (config.momenta if optimizer == "SGD" else (None,))
        for lr, subset in product(config.lrs, config.subsets)
    )


def baselines(config: ExperimentConfig) -> tuple[PlannedRun, ...]:
    return tuple(
        _with_code(config, group, grid_run(group, BASELINE, seed))
        for group, seed in product(groups(config), config.seeds)
    )


def noisy_runs(config: ExperimentConfig) -> tuple[PlannedRun, ...]:
    return tuple(
        _with_code(config, group, grid_run(group, noise, seed))
        for group, noise, seed in product(groups(config), config.distributions, config.seeds)
    )


def _with_code(config: ExperimentConfig, group: Group, run: PlannedRun) -> PlannedRun:
    code = config.codes.get(group.classifier)
    changes = {**run.changes, **({"model/code": list(code)} if code else {})}
    others = apply_overrides(config.train, group.overrides).with_identities(config.codes).codes
    if others:
        changes["codes"] = [[name, list(identity)] for name, identity in others]
    return replace(run, changes=changes)


def own_names(config: ExperimentConfig) -> dict[str, str]:
    """The code of one's own that the grid's runs name → the setting that names it."""
    names: dict[str, str] = {}
    for group in groups(config):
        run = apply_overrides(config.train, group.overrides)
        names |= {name: setting for setting, name in run.own_names.items()}
    return names


def stored_experiment(folder: StudyFolder) -> ExperimentConfig | None:
    """The grid that a folder holds; None if there is none."""
    path = folder.experiment
    if not path.exists():
        return None
    return parse_config(ExperimentConfig, read_mapping(path), where=str(path))


def size(config: ExperimentConfig) -> str:
    return (
        f"{len(groups(config))} groups, {len(baselines(config))} baselines and "
        f"{len(noisy_runs(config))} runs with noise, {config.train.epochs} epochs each"
    )


def check_experiment(config: ExperimentConfig) -> ExperimentConfig:
    """Check an experiment against this machine.

    It returns with the device resolved, and with what its metrics say of themselves.
    """
    check_runs(config)
    checked, elsewhere = config.train, address_of(config) is not None
    for classifier, optimizer, subset in product(
        config.classifiers, config.optimizers, config.subsets
    ):
        point = {
            "model/classifier": classifier,
            "optimizer/optimizer": optimizer,
            "data/subset": subset,
        }
        train = apply_overrides(config.train, point)
        checked = check_train(train, elsewhere=elsewhere, at_once=trials_here(config))
    model = config.train.model.model_copy(update={"content": checked.model.content})
    found = {"device": checked.device, "measured": checked.measured, "model": model}
    return config.model_copy(update={"train": config.train.model_copy(update=found)})


def asked(config: ExperimentConfig) -> str:
    train, noise = config.train, config.train.noise
    kind = "adaptive noise" if noise.policy == "on_stagnation" else f"static {noise.kind} noise"
    return (
        f"Does {kind} ({', '.join(config.distributions)}) help on {train.data.what} within "
        f"{train.epochs} epochs? {len(groups(config))} groups of classifier, optimizer and "
        f"learning rate, each beside its pinned baseline, on n = {len(config.seeds)} seeds."
    )


def small() -> ExperimentConfig:
    """Minutes on two cores: BabyCNN on the embedded digits, SGD and Adam, two seeds."""
    train = standard().train
    noise = train.noise.model_copy(update={"policy": "on_stagnation"})
    return ExperimentConfig(
        # A grid compares the training accuracy as it is; what was recorded goes on.
        train=train.model_copy(update={"noise": noise, "clean_gap": False}),
        optimizers=("SGD", "Adam"),
        seeds=(0, 1),
    )


def paper() -> ExperimentConfig:
    """The report's grid: 48 groups of 300 epochs on CIFAR-10, a baseline and two noises each."""
    return ExperimentConfig(
        name="paper",
        train=paper_run(),
        classifiers=("resnet18", "SimpleCNN", "TinyCNN", "BabyCNN"),
        optimizers=("SGD", "Adam"),
        momenta=(0.0, 0.9),
        lrs=(0.1, 0.01, 0.001, 1e-4),
    )


PRESETS: dict[str, Callable[[], ExperimentConfig]] = {"small": small, "paper": paper}
"""All presets of experiments by name."""


def experiment_preset(name: str) -> ExperimentConfig:
    if name not in PRESETS:
        raise InputError(f"preset = {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]()
