"""Where each kind of noise enters a training step: before, around or after the backward pass."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import Parameter

from trainables.noise.perturbations import (
    InputNoise,
    NoiseNorms,
    ParameterNoise,
    perturb_labels,
    select_parameters,
)
from trainables.noise_config import NoiseConfig, possible_kinds


class Perturbed:
    """What a run's noise perturbs, with the buffers that all of its epochs share."""

    def __init__(
        self,
        noise: NoiseConfig,
        parameters: Iterable[tuple[str, Parameter]],
        classes: int,
        rate: float | None = None,
    ) -> None:
        """Made while the parameters are the run's initial ones: scaling ``step`` measures them.

        ``rate`` is the optimiser's ``step_rate``; only gradient noise of that scaling needs it.
        """
        selected = select_parameters(parameters, noise.layers)
        self.names = tuple(selected)
        if rate is None and "gradient" not in possible_kinds(noise):
            rate = 1.0  # No gradient is perturbed, so nothing is multiplied with it.
        self.parameters = ParameterNoise(
            selected.values(), distribution=noise.distribution, scaling=noise.scaling, rate=rate
        )
        self.inputs = InputNoise(distribution=noise.distribution, scaling=noise.scaling)
        self.classes = classes
        self.permanent = noise.permanent


@dataclass
class StepNoise:
    """The noise of one epoch's steps; this one is a clean epoch's, the kinds replace a part of it.

    Attributes:
        random: the noise's own stream, on the device.
        measured: those norms, a step each.
    """

    on: Perturbed
    sigma: float
    random: torch.Generator
    norms: bool
    measured: list[NoiseNorms] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return self.on.names

    def on_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The images that the model sees, and the labels that its loss is taken against."""
        return images, labels

    def around_passes(self) -> AbstractContextManager[object]:
        """What surrounds the forward and the backward pass."""
        return nullcontext()

    def on_gradients(self) -> None:
        """Called after the gradients' norm is taken, before the optimiser's step."""

    def keep(self, norms: NoiseNorms | None) -> None:
        if norms is not None:
            self.measured.append(norms)


class _Gradient(StepNoise):
    def on_gradients(self) -> None:
        self.keep(self.on.parameters.perturb_gradients(self.sigma, self.random, norms=self.norms))


class _Weight(StepNoise):
    @contextmanager
    def around_passes(self) -> Iterator[None]:
        weights, draw = self.on.parameters, (self.sigma, self.random)
        if self.on.permanent:
            self.keep(weights.perturb_weights(*draw, norms=self.norms))
            yield
            return
        with weights.noisy_weights(*draw, norms=self.norms) as norms:
            self.keep(norms)
            yield


class _Input(StepNoise):
    @property
    def names(self) -> tuple[str, ...]:
        return ("input",)

    def on_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        noisy, norms = self.on.inputs.perturb(images, self.sigma, self.random, norms=self.norms)
        self.keep(norms)
        return noisy, labels


class _Label(StepNoise):
    def on_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images, perturb_labels(labels, self.sigma, self.on.classes, self.random)


STEP_NOISE: dict[str, type[StepNoise]] = {
    "none": StepNoise,
    "gradient": _Gradient,
    "weight": _Weight,
    "input": _Input,
    "label": _Label,
}
"""The noise of a step by its kind."""
