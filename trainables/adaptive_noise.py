"""The method for a training loop of one's own: ``AdaptiveNoise``.

It measures what the signals read, decides before each epoch as ``noise-train`` does, and perturbs
inputs, labels, weights or gradients in the loop's steps. docs/own-loop.md leads through it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.noise.assumed import AssumedBy
from trainables.noise.baseline_history import History
from trainables.noise.calibrated import travelled_for
from trainables.noise.controller import Injection, NoiseController
from trainables.noise.explain import explanation
from trainables.noise.loop_checks import (
    Configuration,
    check_batch,
    check_model,
    listed,
    rate_of,
    reads_validation,
    settings_of,
)
from trainables.noise.loop_figures import Series, history_of, number, plain
from trainables.noise.perturbations import global_norm
from trainables.noise.ranks import generator_of_rank, over_ranks
from trainables.noise.step_noise import STEP_NOISE, Perturbed
from trainables.noise.travel import Travelled
from trainables.noise_config import possible_kinds
from trainables.torch_parts import subtract_

if TYPE_CHECKING:
    import pandas as pd

Number = float | Tensor | None


class AdaptiveNoise:
    """The noise of one training, for any PyTorch loop.

    ::

        noise = AdaptiveNoise(model, "best_config.json", epochs=E, seed=0)
        for epoch in range(E):
            with noise.epoch() as e:
                for x, y in loader:
                    with e.forward(x, y) as (x, y):
                        loss = criterion(model(x), y)
                        loss.backward()
                    e.before_step(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                e.validated(val_loss, val_accuracy)

    What can't be right for a model, an optimiser or a batch is refused with an ``InputError``.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Configuration,
        *,
        epochs: int,
        seed: int = 0,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        classes: int | None = None,
    ) -> None:
        """Make it where the model has its initial weights, on the device that it trains on.

        Args:
            epochs: the budget that decays refer to.
            seed: of the noise's own random stream; nothing else is drawn from it.
            optimizer: what trains the model; needed for a ``GradScaler``, and for scaling ``step``
                where ``config`` does not say a learning rate.
            classes: how many there are, for label noise; by default those of ``config``.
        """
        self.noise, whole = settings_of(config)
        self.epochs = epochs
        self.seed = seed
        self.model = model
        self.optimizers = listed(optimizer)
        if epochs < 1:
            raise InputError(f"epochs = {epochs}: must be at least 1")
        named = check_model(model)
        if classes is None and whole is not None and whole.data.classes:
            classes = len(whole.data.classes)
        self.kinds = possible_kinds(self.noise)
        self.classes = classes
        self._parameters = list(named.values())
        self._perturbed = Perturbed(
            self.noise, named.items(), classes or 0, rate_of(self.noise, self.optimizers, whole)
        )
        self._controller = NoiseController(self.noise, epochs)
        self._history: list[EpochMetrics] = []
        self._under_way: Epoch | None = None
        self._batch_checked = False
        self.travelled: Travelled | None = None

    @classmethod
    def calibrated(
        cls,
        baseline_history: History,
        model: nn.Module,
        config: Configuration,
        *,
        assumed: AssumedBy = None,
        seed: int = 0,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        classes: int | None = None,
    ) -> Self:
        """The same with settings that were found in another training, as they are to be here.

        ``travelled`` has what became of each setting, and prints as a table.

        Args:
            baseline_history: of the same loop with the policy ``off``, over the whole budget.
            assumed: what the settings assumed; by default the file beside that of ``config``.
        """
        found = travelled_for(model, config, baseline_history, listed(optimizer), assumed)
        given: dict[str, Any] = {"seed": seed, "optimizer": optimizer, "classes": classes}
        made = cls(model, found.noise, epochs=found.epochs, **given)
        made.travelled = found
        return made

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """The statistics of the epochs so far; NaN for what the loop did not tell."""
        return tuple(self._history)

    def table(self) -> "pd.DataFrame":
        """The history as a table, an epoch a row."""
        import pandas as pd

        return pd.DataFrame([row.to_dict() for row in self._history])

    def epoch(self) -> "Epoch":
        """The next epoch, for a ``with`` statement; its noise is decided now."""
        if self._under_way is not None:
            raise InputError("the epoch before is not over: leave its with-block first")
        if len(self._history) >= self.epochs:
            raise InputError(
                f"epochs = {self.epochs}: all of them are done; decays refer to this budget, so "
                "give the whole budget at the start"
            )
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        if [id(p) for p in trainable] != [id(p) for p in self._parameters]:
            raise InputError(
                "the model's trainable parameters are not those that it began with; make an "
                "AdaptiveNoise for each stage in which others are trained"
            )
        return Epoch(self, self._controller.step(self._history))

    def explain(self) -> str:
        """Why there is noise in the epoch under way, or would be in the next one, or why not."""
        decided = self._controller.step(self._history)
        return explanation(self.noise, decided, len(self._history), self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """What it needs to go on, in plain types; take it between two epochs."""
        if self._under_way is not None:
            raise InputError("an epoch is under way: take the state between two epochs")
        return {
            "noise": self.noise.model_dump(mode="json"),
            "epochs": self.epochs,
            "seed": self.seed,
            "history": [plain(row) for row in self._history],
            # The weights it was measured on are gone by then.
            "gradient_unit": self._perturbed.parameters.gradient_unit,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; between two epochs, too."""
        if self._under_way is not None:
            raise InputError("an epoch is under way: load the state between two epochs")
        history, unit = history_of(state, self.epochs)
        given = {"noise": self.noise.model_dump(mode="json"), "epochs": self.epochs}
        for name, value in {**given, "seed": self.seed}.items():
            if state[name] != value:
                raise InputError(
                    f"{name} = {value!r}: the state was taken with {state[name]!r}; make the "
                    "AdaptiveNoise with the same settings"
                )
        self._history = history
        self._perturbed.parameters.gradient_unit = unit


class Epoch:
    """One epoch: what the loop calls in its steps. Made by ``AdaptiveNoise.epoch``."""

    def __init__(self, owner: AdaptiveNoise, injection: Injection) -> None:
        self.injection = injection
        self._owner = owner
        number = len(owner._history)
        device = owner._parameters[0].device
        self._random = generator_of_rank(owner.seed, number, device, injection.kind)
        self._step_noise = STEP_NOISE[injection.kind](
            owner._perturbed, injection.magnitude, self._random, norms=False
        )
        self._losses, self._norms = Series(), Series()
        self._finite_only = False
        self._weights_before: list[Tensor] = []
        self._first_draw: Tensor | None = None
        self._closed = False

    def __enter__(self) -> Self:
        self._owner._under_way = self
        self._weights_before = [p.detach().clone() for p in self._owner._parameters]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._owner._under_way = None
        if kind is None and not self._closed:
            raise InputError("the epoch was not closed: call validated(val_loss) at its end")

    @contextmanager
    def forward(self, x: Any, y: Any = None) -> Iterator[tuple[Any, Any]]:
        """What the model sees and its loss is taken against; forward and backward belong inside.

        Call it once for each micro-batch. Inputs are perturbed anew each time; weights get the same
        noise in all micro-batches of a step, and are restored, bit for bit, at the end.

        Args:
            x: floating-point inputs (B, …) where noise on inputs is possible, else anything.
            y: int64 or int32 classes (B,) where noise on labels is possible, else anything.
        """
        owner = self._owner
        if not owner._batch_checked:
            check_batch(owner.kinds, x, y, owner.classes)
            owner._batch_checked = True
        x, y = self._step_noise.on_batch(x, y)
        if self.injection.kind != "weight":
            yield x, y
            return
        if self._first_draw is None:
            self._first_draw = self._random.get_state()
        elif self._owner.noise.permanent:
            yield x, y
            return
        else:
            self._random.set_state(self._first_draw)
        # Autocast keeps the weights that it has cast, and would not see that they change.
        torch.clear_autocast_cache()
        try:
            with self._step_noise.around_passes():
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
        gradients = [p.grad for p in self._owner._parameters if p.grad is not None]
        if not gradients:
            raise InputError("no parameter has a gradient: call before_step after loss.backward()")
        self._losses.append(loss)
        self._norms.append(global_norm(gradients) if grad_norm is None else grad_norm)
        self._step_noise.on_gradients()
        self._first_draw = None

    def _unscale(self, scaler: torch.amp.GradScaler) -> None:
        optimizers = self._owner.optimizers
        if not optimizers:
            raise InputError("a GradScaler needs the optimizer: AdaptiveNoise(…, optimizer=…)")
        # The scaler leaves out steps whose gradients overflow; so do the means.
        self._finite_only = True
        for optimizer in optimizers:
            try:
                scaler.unscale_(optimizer)
            except RuntimeError as error:
                if "already been called" not in str(error):
                    raise

    def validated(
        self, val_loss: Number = None, val_accuracy: Number = None, train_accuracy: Number = None
    ) -> EpochMetrics:
        """Close the epoch with what validation gave; returns its statistics.

        Of several processes each calls it; those that have not validated leave the arguments out.

        Args:
            val_loss: mean over the validation samples, with clean weights and inputs.
            val_accuracy: in [0, 1]; None where there is no such thing.
        """
        owner = self._owner
        if self._closed:
            raise InputError("validated was called already in this epoch")
        if not len(self._losses):
            raise InputError("no step was made in this epoch: call before_step in each of them")
        told = over_ranks(
            train_loss=self._losses.mean(finite_only=self._finite_only),
            train_accuracy=number(train_accuracy),
            val_loss=number(val_loss),
            val_accuracy=number(val_accuracy),
            grad_norm=self._norms.mean(finite_only=self._finite_only),
        )
        if val_loss is None and math.isnan(told["val_loss"]) and reads_validation(owner.noise):
            raise InputError(
                "val_loss: the signals of these settings read it; give it to validated, or leave "
                "out the signals val_loss_plateau and overfitting"
            )
        row = EpochMetrics(
            epoch=len(owner._history),
            weight_update_norm=self._update_norm(),
            lr=owner.optimizers[0].param_groups[0]["lr"] if owner.optimizers else math.nan,
            **told,
            **self.injection.recorded(),
        )
        owner._history.append(row)
        self._closed = True
        return row

    def _update_norm(self) -> float:
        """How far the weights moved in this epoch; the weights before are used up."""
        before, self._weights_before = self._weights_before, []
        subtract_(before, [p.detach() for p in self._owner._parameters])
        return float(global_norm(before))
