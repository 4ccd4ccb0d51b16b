"""What the callbacks have in common: a loop whose hooks come one by one instead of in a block."""

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from trainables.adaptive_noise import AdaptiveNoise, Epoch
from trainables.errors import InputError


class Steps:
    """An ``AdaptiveNoise`` driven by hooks.

    ``max_norm`` is what the gradients are clipped to, before the noise: who clips after a callback
    has been called would clip the noise as well.
    """

    def __init__(self, noise: AdaptiveNoise, max_norm: float | None) -> None:
        self.noise = noise
        self._max_norm = max_norm or None
        self._epoch: Epoch | None = None
        self._passes = ExitStack()

    @property
    def open(self) -> bool:
        """Whether an epoch is under way."""
        return self._epoch is not None

    def begin_epoch(self) -> None:
        self._epoch = self.noise.epoch()
        self._epoch.__enter__()

    def perturb(self, x: Any = None, y: Any = None) -> tuple[Any, Any]:
        """The batch with its noise, and noisy weights until ``restore`` is called."""
        if self._epoch is None:
            return x, y
        return self._passes.enter_context(self._epoch.forward(x, y))

    def restore(self) -> None:
        self._passes.close()

    def before_step(self, loss: float | Tensor, scaler: Any = None) -> None:
        """Clip, measure, perturb."""
        self.restore()
        if self._epoch is None:
            return
        norm = None
        if self._max_norm is not None:
            norm = nn.utils.clip_grad_norm_(self.noise.model.parameters(), self._max_norm)
        self._epoch.before_step(loss, grad_norm=norm, scaler=scaler)

    def end_epoch(self, val_loss: Any, val_accuracy: Any) -> None:
        if self._epoch is None:
            return
        self._epoch.validated(val_loss, val_accuracy)
        self._epoch.__exit__(None, None, None)
        self._epoch = None

    def abandon(self, error: BaseException) -> None:
        """Training ended in the middle of an epoch: the weights are restored, the epoch is not."""
        self.restore()
        if self._epoch is not None:
            self._epoch.__exit__(type(error), error, None)
            self._epoch = None


def metric(known: Any, name: str | None, given: bool) -> Any:
    """What validation gave under ``name``; None where nothing is to be found, and nothing asked."""
    if name is None:
        return None
    if name not in known and given:
        raise InputError(
            f"{name!r}: validation gave no such metric; it gave {', '.join(known) or 'none'}"
        )
    return known.get(name)
