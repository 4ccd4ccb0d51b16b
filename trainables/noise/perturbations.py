"""Perturbations of gradients, weights, inputs and labels (METHOD, section 6).

All of a model's noise is one draw into one reused flat buffer, of which every tensor takes a view:
small models spend their time on calls, large ones on fresh memory. Nothing here waits for the
device: the sizes of tensors are known, and their root mean squares stay tensors.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from trainables import torch_parts
from trainables.errors import InputError
from trainables.noise.kinds import MAX_LABEL_PROBABILITY
from trainables.noise_config import Distribution, Scaling


@dataclass(frozen=True, slots=True)
class NoiseNorms:
    """L2 norms (k,) of the k tensors that one call perturbed, on the device: reading them waits."""

    before: Tensor
    after: Tensor


def select_parameters(
    named_parameters: Iterable[tuple[str, Parameter]], layers: Sequence[str] = ()
) -> dict[str, Parameter]:
    """The trainable parameters with any of ``layers`` in their name; without layers, all."""
    trainable = {name: p for name, p in named_parameters if p.requires_grad}
    for fragment in layers:
        if not any(fragment in name for name in trainable):
            raise InputError(
                f"noise.layers = {fragment!r}: no trainable parameter's name contains it; "
                f"the names are: {', '.join(trainable)}"
            )
    if not layers:
        return trainable
    return {
        name: p for name, p in trainable.items() if any(fragment in name for fragment in layers)
    }


class ParameterNoise:
    """Noise on a fixed list of parameters: on their gradients, or on the weights themselves.

    ``gradient_unit`` is the σ of gradient noise of magnitude 1 under scaling ``step``, else None.

    The buffers (one of the parameters' size for the noise, for removable weight noise one more for
    the clean weights) are made at the first use and kept. A magnitude of 0 changes and draws
    nothing.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        *,
        distribution: Distribution = "gaussian",
        scaling: Scaling = "relative",
        rate: float | None = None,
    ) -> None:
        """Take the parameters that take part (see ``select_parameters``), all on one device.

        Their order fixes which draw goes where. Scaling ``relative`` multiplies σ by the RMS of
        each tensor that is perturbed. So does ``step`` for weights; for gradients it multiplies σ
        by the RMS that all the parameters together have *now* and divides it by ``rate``, how far
        a constant gradient of 1 moves a weight in a step.
        """
        self._parameters: list[Tensor] = list(parameters)
        self._distribution: Distribution = distribution
        self._relative = scaling != "absolute"
        self.gradient_unit: float | None = None
        if scaling == "step":
            assert rate is not None, "scaling step needs the optimiser's rate"
            self.gradient_unit = root_mean_square(self._parameters) / rate
        self._noise: _FlatNoise | None = None
        self._clean: list[Tensor] | None = None
        self._weights_noisy = False

    def perturb_gradients(
        self, sigma: float, generator: Generator, *, norms: bool = False
    ) -> NoiseNorms | None:
        """Add noise to the gradients in place; call it after backward, before the optimiser.

        σ is the noise's standard deviation, in units that the scaling says. The stream
        ``generator`` is the noise's own, on the parameters' device. Parameters without a gradient
        are left alone. ``norms``: return those of the gradients before and after.
        """
        gradients = [p.grad for p in self._parameters]
        if self.gradient_unit is None:
            return self._perturb(gradients, sigma, generator, relative=self._relative, norms=norms)
        sigma *= self.gradient_unit
        return self._perturb(gradients, sigma, generator, relative=False, norms=norms)

    def perturb_weights(
        self, sigma: float, generator: Generator, *, norms: bool = False
    ) -> NoiseNorms | None:
        """Add noise to the weights in place, for good (setting ``permanent``).

        Arguments and result as in ``perturb_gradients``, of the weights.
        """
        return self._perturb(
            self._parameters, sigma, generator, relative=self._relative, norms=norms
        )

    @contextmanager
    def noisy_weights(
        self, sigma: float, generator: Generator, *, norms: bool = False
    ) -> Iterator[NoiseNorms | None]:
        """Noise on the weights for the body (forward and backward), then the old ones, bit for bit.

        The gradient is then taken at the perturbed point and applied to the clean one. The weights
        are restored when the body raises, too. Enter no autocast region before: its cache of cast
        weights would not see the change. Arguments and result as in ``perturb_weights``.
        """
        assert not self._weights_noisy, "the weights carry noise already"
        if self._clean is None:
            self._clean = [torch.empty_like(p) for p in self._parameters]
        torch_parts.copy_(self._clean, self._parameters)
        self._weights_noisy = True
        try:
            yield self.perturb_weights(sigma, generator, norms=norms)
        finally:
            torch_parts.copy_(self._parameters, self._clean)
            self._weights_noisy = False

    def _perturb(
        self,
        tensors: Sequence[Tensor | None],
        sigma: float,
        generator: Generator,
        *,
        relative: bool,
        norms: bool,
    ) -> NoiseNorms | None:
        present = [tensor for tensor in tensors if tensor is not None]
        if not present or (sigma == 0 and not norms):
            return NoiseNorms(torch.empty(0), torch.empty(0)) if norms else None
        with torch.no_grad():
            lengths: list[Tensor] = []
            if norms or (relative and sigma != 0):
                lengths = torch_parts.norms(present)
            if sigma != 0:
                if self._noise is None:
                    self._noise = _FlatNoise(self._parameters, self._distribution)
                views = self._noise.draw(1.0 if relative else sigma, generator)
                if len(present) < len(tensors):
                    pairs = zip(views, tensors, strict=True)
                    views = [view for view, tensor in pairs if tensor is not None]
                if relative:
                    factors = [sigma / math.sqrt(max(1, t.numel())) for t in present]
                    torch_parts.add_scaled_(present, views, lengths, factors)
                else:
                    torch_parts.add_(present, views)
            if not norms:
                return None
            return NoiseNorms(torch.stack(lengths), tensor_norms(present))


class InputNoise:
    """Noise on batches, written into a reused buffer so that the batch itself stays as it is."""

    def __init__(
        self, *, distribution: Distribution = "gaussian", scaling: Scaling = "relative"
    ) -> None:
        """Scaling ``relative`` or ``step`` multiplies σ by the RMS of the whole batch."""
        self._distribution: Distribution = distribution
        self._relative = scaling != "absolute"
        self._noise: _FlatNoise | None = None
        self._layout: object = None

    def perturb(
        self, batch: Tensor, sigma: float, generator: Generator, *, norms: bool = False
    ) -> tuple[Tensor, NoiseNorms | None]:
        """The batch with noise added.

        Args:
            batch: augmented, normalised images, float (B, channels, size, size).
            sigma: the noise's standard deviation, in units of the batch's RMS if relative.
            generator: the noise's own random stream, on the batch's device.
            norms: whether to return the batch's norm before and after.

        Returns:
            The noisy batch, of the same shape and memory layout, and the norms if asked for. The
            batch lies in a buffer that the next call overwrites; with σ = 0 it is ``batch``.
        """
        with torch.no_grad():
            noisy = batch if sigma == 0 else self._add(batch, sigma, generator)
            return noisy, (
                NoiseNorms(tensor_norms([batch]), tensor_norms([noisy])) if norms else None
            )

    def _add(self, batch: Tensor, sigma: float, generator: Generator) -> Tensor:
        layout = (batch.shape, batch.stride(), batch.dtype, batch.device)
        if self._noise is None or layout != self._layout:
            self._noise, self._layout = _FlatNoise([batch], self._distribution), layout
        (noise,) = self._noise.draw(1.0 if self._relative else sigma, generator)
        if not self._relative:
            return noise.add_(batch)
        factor = sigma / math.sqrt(max(1, batch.numel()))
        return torch.addcmul(batch, noise, torch.linalg.vector_norm(batch) * factor, out=noise)


def perturb_labels(labels: Tensor, sigma: float, num_classes: int, generator: Generator) -> Tensor:
    """The labels with each replaced, with probability min(σ, 0.5), by a uniformly random class.

    The random class may be the true one.

    Args:
        labels: int64 (B,), classes 0 … ``num_classes`` − 1; left as they are.
        sigma: the magnitude σ.
        generator: the noise's own random stream, on the labels' device.
    """
    if sigma == 0:
        return labels
    probability = min(sigma, MAX_LABEL_PROBABILITY)
    chance = torch.rand(labels.shape, generator=generator, device=labels.device)
    random = torch.randint(
        num_classes, labels.shape, generator=generator, device=labels.device, dtype=labels.dtype
    )
    return torch.where(chance < probability, random, labels)


def tensor_norms(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of each tensor, shape (k,), on the tensors' device."""
    return torch.stack(torch_parts.norms(tensors))


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of all tensors together, shape (), on the tensors' device."""
    return torch.linalg.vector_norm(tensor_norms(tensors))


def root_mean_square(tensors: Sequence[Tensor]) -> float:
    """The RMS of all elements of the tensors together; it waits for the device."""
    size = sum(tensor.numel() for tensor in tensors)
    with torch.no_grad():
        return float(global_norm(tensors)) / math.sqrt(max(1, size))


class _FlatNoise:
    """Noise for some tensors, drawn at once into one buffer and cut into views shaped as they are.

    The views take the tensors' own strides: channels-last weights are then added to at full speed.
    """

    def __init__(self, tensors: Sequence[Tensor], distribution: Distribution) -> None:
        self._distribution: Distribution = distribution
        first = tensors[0]
        dtype = first.dtype if all(t.dtype == first.dtype for t in tensors) else torch.float32
        sizes = [tensor.numel() for tensor in tensors]
        self._flat = torch.empty(sum(sizes), dtype=dtype, device=first.device)
        self._views = [
            # On "meta", empty_like says how a dense tensor laid out like this one is strided.
            piece.as_strided(like.shape, torch.empty_like(like, device="meta").stride())
            for piece, like in zip(self._flat.split(sizes), tensors, strict=True)
        ]

    def draw(self, sigma: float, generator: Generator) -> list[Tensor]:
        """Fresh noise of standard deviation ``sigma``, valid until the next draw.

        Gaussian N(0, σ²) or uniform U(−√3σ, √3σ), which has the same variance.
        """
        if self._distribution == "gaussian":
            self._flat.normal_(0.0, sigma, generator=generator)
        else:
            bound = math.sqrt(3.0) * sigma
            self._flat.uniform_(-bound, bound, generator=generator)
        return self._views
