"""A task of one's own behind the seam: imported by name, its metrics and its state checked."""

import copy
import math
import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import Parameter

from trainables.config import TrainConfig
from trainables.errors import FOREIGN, InputError
from trainables.metrics import Mode, TaskMetric
from trainables.noise.epoch_noise import EpochNoise
from trainables.noise_config import possible_kinds
from trainables.own_import import check_unchanged, import_own
from trainables.random_streams import Stream, stream_seed
from trainables.task_config import TaskConfig
from trainables.tasks.task import Figures, Task

_READ: Mapping[str, Mode] = {"loss": "min", "accuracy": "max"}
"""The metrics that the signals read, as rows call them, and which way they are better."""

_TAKEN = frozenset({"lr", "clean_train_accuracy"})
"""Names that rows have for something else."""


def task_class(name: str) -> type[Task]:
    """The class that a dotted name means, which has all that a task needs; its code is run."""
    where = f"task = {name!r}"
    found = import_own("task", name, "a subclass of trainables.tasks.task.Task")
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise InputError(f"{where}: not a subclass of Task (trainables.tasks.task)")
    lacking = sorted(getattr(found, "__abstractmethods__", ()))
    if lacking:
        raise InputError(f"{where}: it lacks {', '.join(lacking)}; write them (docs/own-task.md)")
    metrics = getattr(found, "metrics", None)
    if not isinstance(metrics, Mapping) or not all(
        isinstance(said, TaskMetric) for said in metrics.values()
    ):
        raise InputError(
            f'{where}: metrics must declare what it measures: {{"loss": TaskMetric("min", "nats")}}'
        )
    if "loss" not in found.signals:
        raise InputError(f"{where}: signals must say which metric is the loss: {{'loss': NAME}}")
    for reads, metric in found.signals.items():
        if reads not in _READ or metric not in metrics:
            raise InputError(
                f"{where}: signals[{reads!r}] = {metric!r}: give one of metrics "
                f"({', '.join(metrics)}) for loss and, if there is one, for accuracy"
            )
    for metric, said in metrics.items():
        if said.mode not in ("max", "min"):
            raise InputError(f"{where}: metrics[{metric!r}].mode = {said.mode!r}: max or min")
        role: str = _canonical(found).get(str(metric), str(metric))
        if said.mode != _READ.get(role, said.mode):
            raise InputError(
                f"{where}: metrics[{metric!r}].mode = {said.mode!r}: what is read as the {role} "
                f"must be {_READ[role]}; give another metric, or this one with the other sign"
            )
        if role in _TAKEN:
            raise InputError(f"{where}: metrics: the name {metric!r} is taken; call it otherwise")
    return found


def described(config: TaskConfig) -> TaskConfig:
    """A task's configuration with what its class says of itself."""
    assert config.name is not None
    found = task_class(config.name)
    names = _canonical(found)
    metrics = {names.get(name, name): said for name, said in found.metrics.items()}
    if len(metrics) < len(found.metrics):
        raise InputError(
            f"task = {config.name!r}: loss and accuracy are what the signals read; call other "
            "metrics otherwise"
        )
    version = str(found.version)
    return TaskConfig.model_validate(
        {**config.model_dump(), "metrics": metrics, "version": version}
    )


def own_task(config: TrainConfig) -> "OwnTask":
    """The task that a run's configuration names; its source must be what was recorded."""
    assert config.task.name is not None
    check_unchanged("task", config.task.name, config.task.code)
    return OwnTask(config.task.name, task_class(config.task.name))


def check_kinds(config: TrainConfig, task: Task) -> None:
    """Refuse noise that a task can't have, with what to add to it."""
    where, kinds = f"task = {config.task.name!r}", possible_kinds(config.noise)
    if "label" in kinds and not task.classes:
        raise InputError(f"{where}: noise on labels needs their number; give it classes = N")
    if config.noise.scaling == "step" and "gradient" in kinds and task.step_rate is None:
        raise InputError(
            f"{where}: noise.scaling = 'step' needs the optimiser's rate; give it a property "
            "step_rate: the learning rate / (1 − momentum) of its SGD. Or take relative"
        )


def _canonical(kind: type[Task]) -> dict[str, str]:
    """A metric's own name → the name that rows have for it, where it is another."""
    return {metric: reads for reads, metric in kind.signals.items()}


class OwnTask(Task):
    """A user's task as a training sees it: seeded, its figures checked, failures told by name."""

    def __init__(self, name: str, kind: type[Task]) -> None:
        self._where = f"task = {name!r}"
        self._names = _canonical(kind)
        self._declared = frozenset(kind.metrics)
        try:
            self.inner = kind()
        except FOREIGN as error:
            raise self._failed("made without arguments", error) from error

    def _failed(self, what: str, error: BaseException) -> InputError:
        return InputError(f"{self._where}: {what}, it raised {type(error).__name__}: {error}")

    def _seed(self, stream: Stream, epoch: int = 0) -> None:
        """Seed the generators that a task may draw from without being told."""
        seed = stream_seed(self._run_seed, stream, epoch)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)

    def _call(self, what: str, *arguments: Any) -> Any:
        try:
            return getattr(self.inner, what)(*arguments)
        except (InputError, torch.cuda.OutOfMemoryError):
            raise
        except FOREIGN as error:
            raise self._failed(f"in {what}", error) from error

    def _read(self, what: str) -> Any:
        try:
            return getattr(self.inner, what)
        except FOREIGN as error:
            raise self._failed(f"asked for {what}", error) from error

    def setup(self, config: TrainConfig, seed: int) -> None:
        self._run_seed = seed
        self._seed("init")
        # Its own copy: what it changes there would change what a run is known by.
        self._call("setup", config.model_copy(deep=True), seed)
        self.classes = int(self._read("classes"))
        steps = self.steps_per_epoch
        if not isinstance(steps, int) or steps < 1:
            raise InputError(f"{self._where}: steps_per_epoch = {steps!r}: at least 1, whole")
        parameters = self.named_parameters()
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in parameters):
            raise InputError(
                f"{self._where}: named_parameters must give pairs (name, parameter), as "
                "model.named_parameters() does"
            )
        if not any(p.requires_grad for _, p in parameters):
            raise InputError(f"{self._where}: named_parameters has nothing to train")
        check_kinds(config, self)

    @property
    def steps_per_epoch(self) -> int:
        steps: int = self._read("steps_per_epoch")
        return steps

    @property
    def step_rate(self) -> float | None:
        rate: float | None = self._read("step_rate")
        return rate

    def named_parameters(self) -> Iterable[tuple[str, Parameter]]:
        return list(self._call("named_parameters"))

    def train_epoch(self, epoch: int, noise: EpochNoise) -> Figures:
        self._seed("model", epoch)
        told = self._call("train_epoch", epoch, noise)
        if not len(noise.losses):
            raise InputError(
                f"{self._where}: train_epoch made no step that noise.before_step was told of; "
                "call it before each step of the optimiser"
            )
        if not noise.passes:
            raise InputError(
                f"{self._where}: train_epoch made no pass inside noise.forward, so that no noise "
                "could reach inputs, labels or weights; surround each forward and backward pass"
            )
        return self._figures("train_epoch", {} if told is None else told)

    def validate(self) -> Figures:
        return self._whole("validate")

    def test(self) -> Figures:
        # Whatever was evaluated before.
        self._seed("model", -1)
        return self._whole("test")

    def _whole(self, what: str) -> Figures:
        found = self._figures(what, self._call(what))
        lacking = [n for n in self._declared if self._names.get(n, n) not in found]
        if lacking:
            raise InputError(f"{self._where}: {what} lacks {', '.join(sorted(lacking))}")
        return found

    def _figures(self, what: str, told: Any) -> dict[str, float]:
        if not isinstance(told, Mapping):
            raise InputError(
                f"{self._where}: {what} must return metrics as a mapping, not {type(told).__name__}"
            )
        found: dict[str, float] = {}
        for name, value in told.items():
            if name not in self._declared and name != "lr":
                raise InputError(
                    f"{self._where}: {what} returned {name!r}, which metrics does not declare; it "
                    f"declares: {', '.join(sorted(self._declared))}"
                )
            try:
                number = float(value)
            except (TypeError, ValueError, RuntimeError):
                raise InputError(
                    f"{self._where}: {what} returned {name} = {value!r}, which is no number"
                ) from None
            found[self._names.get(str(name), str(name))] = number
        accuracy = found.get("accuracy", 0.0)
        if not (math.isnan(accuracy) or 0 <= accuracy <= 1):
            raise InputError(f"{self._where}: {what}: accuracy = {accuracy:g} is not in [0, 1]")
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"task": self._call("state_dict")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._call("load_state_dict", state["task"])

    def weights(self) -> Any:
        # Of a state_dict() as it is, training would change what is kept.
        return copy.deepcopy(self._call("weights"))

    def load_weights(self, weights: Any) -> None:
        self._call("load_weights", weights)
