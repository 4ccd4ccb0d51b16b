"""The noise of one epoch, as a training loop uses it: around its passes and before its steps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trainables.errors import InputError
from trainables.noise.controller import Injection
from trainables.noise.loop_checks import check_batch
from trainables.noise.loop_figures import Series
from trainables.noise.perturbations import global_norm
from trainables.noise.step_noise import STEP_NOISE, Perturbed
from trainables.noise_config import NoiseConfig, possible_kinds

OnStep = Callable[[int, int], None]


class EpochNoise:
    """What the steps of one epoch call: ``forward`` and ``before_step``.

    Attributes:
        injection: the noise of this epoch, and why there is any.
        losses: of the steps.
        passes: how often ``forward`` was called.
        norms: of the steps' gradients before any noise.
        watch: is shown each batch before any noise.
    """

    def __init__(
        self,
        noise: NoiseConfig,
        injection: Injection,
        perturbed: Perturbed,
        parameters: Sequence[Tensor],
        random: torch.Generator,
        *,
        measure: bool = False,
    ) -> None:
        """For one epoch.

        Args:
            parameters: what is trained, whose gradients' norms are measured.
            random: the noise's own stream, on the parameters' device.
            measure: keep the norms of what is perturbed (``step_noise.measured``).
        """
        self.injection = injection
        self.losses, self.norms = Series(), Series()
        self.passes = 0
        self.step_noise = STEP_NOISE[injection.kind](
            perturbed, injection.magnitude, random, norms=measure
        )
        self.on_step: Callable[[int], None] | None = None
        self.watch: Callable[[Any, Any], None] | None = None
        self._kinds = possible_kinds(noise)
        self._permanent = noise.permanent
        self._parameters = parameters
        self._first_draw: Tensor | None = None
        self._batch_checked = False

    @contextmanager
    def forward(self, x: Any, y: Any = None) -> Iterator[tuple[Any, Any]]:
        """What the model sees and its loss is taken against; forward and backward belong inside.

        Call it once for each micro-batch. Inputs are perturbed anew each time; weights get the same
        noise in all micro-batches of a step, and are restored, bit for bit, at the end.

        Args:
            x: floating-point inputs (B, …) where noise on inputs is possible, else anything.
            y: int64 or int32 classes (B,) where noise on labels is possible, else anything.
        """
        self.passes += 1
        if not self._batch_checked:
            check_batch(self._kinds, x, y, self.step_noise.on.classes or None)
            self._batch_checked = True
        if self.watch is not None:
            self.watch(x, y)
        x, y = self.step_noise.on_batch(x, y)
        if self.injection.kind != "weight":
            yield x, y
            return
        if self._first_draw is None:
            self._first_draw = self.step_noise.random.get_state()
        elif self._permanent:
            yield x, y
            return
        else:
            self.step_noise.random.set_state(self._first_draw)
        # Autocast keeps the weights that it has cast, and would not see that they change.
        torch.clear_autocast_cache()
        try:
            with self.step_noise.around_passes():
                yield x, y
        finally:
            torch.clear_autocast_cache()

    def before_step(
        self,
        loss: float | Tensor,
        *,
        grad_norm: float | Tensor | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """Measure the gradients, then perturb them; call it after ``backward``, before the step.

        Args:
            loss: of the step, as a mean over its samples; over all its micro-batches.
            grad_norm: the global norm before clipping, which ``clip_grad_norm_`` returns; without
                it the gradients are taken to be unclipped.
            scaler: what the loss was scaled by; the gradients are unscaled where they are not yet.
        """
        if scaler is not None and scaler.is_enabled():
            self._unscale(scaler)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            raise InputError("no parameter has a gradient: call before_step after loss.backward()")
        self.losses.append(loss)
        self.norms.append(global_norm(gradients) if grad_norm is None else grad_norm)
        self.step_noise.on_gradients()
        self._first_draw = None

    def _unscale(self, scaler: torch.amp.GradScaler) -> None:
        raise InputError(
            "a GradScaler is for AdaptiveNoise(…, optimizer=…) only; use bf16, or none"
        )

    def stepped(self) -> None:
        """The optimiser's step is done; whoever watches the epoch is told."""
        if self.on_step is not None:
            self.on_step(len(self.losses))
