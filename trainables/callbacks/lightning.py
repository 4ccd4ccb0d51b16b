"""The noise in Lightning: ``Trainer(callbacks=[NoiseCallback("best_config.json")])``."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from trainables.adaptive_noise import AdaptiveNoise
from trainables.callbacks.steps import Steps, metric
from trainables.errors import InputError
from trainables.noise.loop_checks import Configuration


class NoiseCallback(Callback):
    """Injects the noise of a configuration; its history and decisions are those of ``noise``.

    It takes the trainer's clipping of gradients over, so that the noise comes after it.
    """

    noise: AdaptiveNoise

    def __init__(
        self,
        config: Configuration,
        *,
        seed: int = 0,
        val_loss: str = "val_loss",
        val_accuracy: str | None = None,
        x: int | str = 0,
        y: int | str = 1,
        classes: int | None = None,
    ) -> None:
        """Give the configuration, and where in batches and metrics things are.

        Args:
            val_loss, val_accuracy: the names under which the module logs them; None: it does not.
            x, y: position or key of inputs and labels in a batch, which is a list or a dict.
            classes: how many there are, for noise on labels.
        """
        self._config = config
        self._seed = seed
        self._names = (val_loss, val_accuracy)
        self._keys = (x, y)
        self._classes = classes
        self._losses: list[Tensor] = []
        self._kept: dict[str, Any] | None = None
        self._clip: int | float | None = None
        self._steps: Steps | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, with the weights on their device and before anything is trained."""
        if not pl_module.automatic_optimization:
            raise InputError("manual optimization: use AdaptiveNoise in training_step itself")
        if trainer.gradient_clip_val and str(trainer.gradient_clip_algorithm) not in _BY_NORM:
            raise InputError("gradient_clip_algorithm: 'norm' can be followed by noise, others not")
        if not trainer.max_epochs or trainer.max_epochs < 1:
            raise InputError("max_epochs: decays refer to it; give the Trainer a number of epochs")
        self.noise = AdaptiveNoise(
            pl_module,
            self._config,
            epochs=trainer.max_epochs,
            seed=self._seed,
            optimizer=trainer.optimizers,
            classes=self._classes,
        )
        if self._kept is not None and trainer.global_step:
            self.noise.load_state_dict(self._kept)
        else:
            self._kept = None
        self._losses.clear()
        self._clip, trainer.gradient_clip_val = trainer.gradient_clip_val, None
        self._steps = Steps(self.noise, float(self._clip) if self._clip else None)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._under_way.begin_epoch()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the noisy inputs and labels into the batch."""
        if not self._under_way.open:
            # Lightning goes on in the midst of an epoch without telling that it begins.
            self._under_way.begin_epoch()
        x, y = self._keys
        inputs, labels = _at(batch, x), _at(batch, y)
        noisy = self._under_way.perturb(inputs, labels)
        for key, before, after in ((x, inputs, noisy[0]), (y, labels, noisy[1])):
            if after is before:
                continue
            if not isinstance(batch, (list, dict)):
                raise InputError(f"a batch is a list or a dict, not {type(batch).__name__}")
            batch[key] = after  # type: ignore[index]

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        scaler = _scaler(trainer)
        scale = scaler.get_scale() if scaler is not None else 1.0
        # Lightning divides by the batches of a whole step, also where an epoch's last has fewer.
        self._losses.append(loss.detach() / scale * trainer.accumulate_grad_batches)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._under_way.restore()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        # A step may have no loss: ``before_step`` says what is wrong with it.
        loss = torch.stack(self._losses).mean() if self._losses else torch.tensor(float("nan"))
        self._under_way.before_step(loss, _scaler(trainer))
        self._losses.clear()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Before checkpoints are kept, which Lightning does last.
        if not trainer.sanity_checking and trainer.is_last_batch:
            self._close(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.gradient_clip_val = self._clip

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._steps is not None:
            self._steps.abandon(exception)
            trainer.gradient_clip_val = self._clip

    def state_dict(self) -> dict[str, Any]:
        """The noise's state as of the last whole epoch."""
        if self._steps is not None and not self._steps.open:
            self._kept = self.noise.state_dict()
        return {"noise": self._kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = state_dict["noise"]

    @property
    def _under_way(self) -> Steps:
        assert self._steps is not None, "training has not begun"
        return self._steps

    def _close(self, trainer: Trainer) -> None:
        if not self._under_way.open:
            return
        known = trainer.callback_metrics
        validated = bool(trainer.num_val_batches) and trainer.enable_validation
        loss, accuracy = (metric(known, name, validated) for name in self._names)
        self._under_way.end_epoch(loss, accuracy)
        self._kept = self.noise.state_dict()


_BY_NORM = ("None", "norm", "GradClipAlgorithmType.NORM")


def _scaler(trainer: Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _at(batch: Any, key: int | str) -> Any:
    try:
        return batch[key]
    except (KeyError, IndexError, TypeError):
        return None
