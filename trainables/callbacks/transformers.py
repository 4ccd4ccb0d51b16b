"""The noise in Hugging Face's Trainer: ``Trainer(…, callbacks=[NoiseCallback(…)])``."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from trainables.adaptive_noise import AdaptiveNoise
from trainables.callbacks.steps import Steps, metric
from trainables.errors import InputError
from trainables.noise.loop_checks import Configuration, settings_of

_AT_WORK: "WeakKeyDictionary[nn.Module, NoiseCallback]" = WeakKeyDictionary()
"""Whose hooks a model has: the trainer tells its callbacks nothing of an exception."""


class NoiseCallback(TrainerCallback, ExportableState):
    """Injects the noise of a configuration; its history and decisions are those of ``noise``.

    It takes the trainer's clipping of gradients over, so that the noise comes after it. The model
    is to return its loss, as the library's own do.
    """

    noise: AdaptiveNoise

    def __init__(
        self,
        config: Configuration,
        *,
        seed: int = 0,
        val_loss: str = "eval_loss",
        val_accuracy: str | None = None,
        x: str = "pixel_values",
        y: str = "labels",
        classes: int | None = None,
    ) -> None:
        """Give the configuration, and where in batches and metrics things are.

        Args:
            val_loss, val_accuracy: names of metrics of the evaluation; None: there is none.
            x, y: the model's arguments for inputs and labels, where noise perturbs them.
            classes: how many there are, for noise on labels.
        """
        self._given: dict[str, Any] = {
            "config": settings_of(config)[0].model_dump(mode="json"),
            "seed": seed,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "x": x,
            "y": y,
            "classes": classes,
        }
        self._config = config
        self.kept: dict[str, Any] | None = None
        self._steps: Steps | None = None
        self._losses: list[Tensor] = []
        self._summed = False
        self._metrics: Mapping[str, float] = {}
        self._ended = False
        self._clip = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin, with the weights on their device and before anything is trained."""
        if args.fp16:
            raise InputError("fp16 = True: its gradients are scaled where noise is added; use bf16")
        if state.global_step and self.kept is None:
            raise InputError(
                "a training that goes on needs the noise's state: set "
                "TrainingArguments(restore_callback_states_from_checkpoint=True)"
            )
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        earlier = _AT_WORK.get(model)
        if earlier is not None:
            earlier._abandon(model, goes_on=state.global_step > 0)
        self.noise = AdaptiveNoise(
            model,
            self._config,
            epochs=state.num_train_epochs,
            seed=self._given["seed"],
            optimizer=getattr(optimizer, "optimizer", optimizer),
            classes=self._given["classes"],
        )
        # A callback made anew from a checkpoint is told the noise's settings alone.
        self._given["classes"] = self.noise.classes
        if self.kept is not None and state.global_step:
            self.noise.load_state_dict(self.kept)
        else:
            self.kept = None
        self._args, self._clip = args, args.max_grad_norm or 0.0
        args.max_grad_norm = 0.0
        self._steps = Steps(self.noise, self._clip)
        self._hooks = [
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward, with_kwargs=True),
        ]
        _AT_WORK[model] = self

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._close()
        self._ended, self._metrics = False, {}
        self._under_way.begin_epoch()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        total = sum(float(loss) for loss in self._losses)
        # A loss that the library divided by the items of the whole step is a part of its mean.
        loss = total if self._summed else total / max(1, len(self._losses))
        self._losses.clear()
        self._under_way.before_step(loss)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._ended = True
        # Else the evaluation that follows closes the epoch.
        if not control.should_evaluate:
            self._close()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self._metrics = dict(kwargs["metrics"])
        if self._ended:
            self._close()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._ended:
            self._close()
        self._leave(kwargs["model"])

    def state(self) -> dict[str, Any]:
        """What the trainer keeps of it in ``trainer_state.json``."""
        return {"args": self._given, "attributes": {"kept": self.kept}}

    def _abandon(self, model: nn.Module, *, goes_on: bool) -> None:
        """Leave a training that an exception ended.

        ``goes_on``: the weights are a checkpoint's by now, and stay as they are.
        """
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self._under_way.restore()
        if goes_on:
            model.load_state_dict(weights)
        self._leave(model)

    def _leave(self, model: nn.Module) -> None:
        for hook in self._hooks:
            hook.remove()
        self._args.max_grad_norm = self._clip
        _AT_WORK.pop(model, None)

    @property
    def _under_way(self) -> Steps:
        assert self._steps is not None, "training has not begun"
        return self._steps

    def _before_forward(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not (model.training and self._under_way.open):
            return None
        self._under_way.restore()  # The micro-batch before is through.
        x, y = self._given["x"], self._given["y"]
        noisy = self._under_way.perturb(kwargs.get(x), kwargs.get(y))
        self._summed = kwargs.get("num_items_in_batch") is not None
        changed = {name: new for name, new in zip((x, y), noisy, strict=True) if name in kwargs}
        return args, {**kwargs, **changed}

    def _after_forward(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if not (model.training and self._under_way.open):
            return
        loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if loss is None:
            raise InputError("the model's output has no loss, which the signals read")
        self._losses.append(loss.detach().mean())

    def _close(self) -> None:
        if not self._under_way.open:
            return
        names = (self._given["val_loss"], self._given["val_accuracy"])
        loss, accuracy = (metric(self._metrics, name, bool(self._metrics)) for name in names)
        self._under_way.end_epoch(loss, accuracy)
        self.kept = self.noise.state_dict()
