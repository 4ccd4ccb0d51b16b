"""The callback of Hugging Face's Trainer: decisions and weights are those of ``noise-train``."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.runs import EAGER, NOISES, device_data, run, small_config
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.lr_schedule import learning_rate
from trainables.models.registry import build_configured
from trainables.random_streams import stream_seed

transformers = pytest.importorskip("transformers")
from trainables.callbacks.transformers import NoiseCallback  # noqa: E402


class Classifier(nn.Module):
    """A model as the library's are: it returns its loss beside its logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(pixel_values)
        assert labels is not None
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The batches of ``noise-train``, epoch after epoch; an item is a batch."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.data, self.epoch = config, device_data(config), -1

    def __len__(self) -> int:
        return self.data.steps_per_epoch(32)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index == 0:
            self.epoch += 1
            batches = self.data.train_batches(self.config.seed, self.epoch, 32)
            self.batches = [(x.clone(), y.clone()) for x, y in batches]
        x, y = self.batches[index]
        return {"pixel_values": x, "labels": y}


class Trainer(transformers.Trainer):  # type: ignore[misc]
    def get_train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=None)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return torch.utils.data.DataLoader(self.eval_dataset, batch_size=None)


def model_of(config: TrainConfig, layout: torch.memory_format) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "init"))
        net = build_configured(config, 10).to(memory_format=layout)
    return Classifier(net)


def fit(
    tmp_path: Path,
    config: TrainConfig,
    *,
    keep: bool = False,
    resume: Any = None,
    stop: int = 0,
    restore: bool = True,
) -> Any:
    # The library's files hold contiguous weights only.
    layout = torch.contiguous_format if keep else torch.channels_last
    model, batches = model_of(config, layout), Batches(config)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    steps = len(batches)

    def factor(step: int) -> float:
        rate = learning_rate(config.optimizer, step, steps_per_epoch=steps, epochs=config.epochs)
        return rate / config.optimizer.lr

    callback = NoiseCallback(config, classes=10)
    args = transformers.TrainingArguments(
        str(tmp_path),
        num_train_epochs=config.epochs,
        eval_strategy="epoch",
        save_strategy="epoch" if keep else "no",
        max_grad_norm=0.0,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        restore_callback_states_from_checkpoint=restore,
    )
    validation = [
        {"pixel_values": x, "labels": y} for x, y in device_data(config).eval_batches("val")
    ]

    class Stop(transformers.TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = stop > 0 and state.epoch >= stop

    if resume:
        batches.epoch = 2
    trainer = Trainer(
        model,
        args,
        train_dataset=batches,
        eval_dataset=validation,
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)),
        callbacks=[callback, Stop()],
    )
    trainer.train(resume_from_checkpoint=resume)
    # The trainer may have made the callback anew from what it kept.
    [noise] = [c.noise for c in trainer.callback_handler.callbacks if isinstance(c, NoiseCallback)]
    return noise, model


@pytest.mark.parametrize(
    "noise",
    NOISES.values(),
    ids=NOISES,
)
def test_decisions_and_weights_are_those_of_noise_train(
    tmp_path: Path, noise: dict[str, Any]
) -> None:
    config = small_config(noise)
    rows, ours = run(config)
    mine, model = fit(tmp_path, config)
    for told, row in zip(mine.history, rows, strict=True):
        for name in ("noise_kind", "noise_magnitude", "noise_phase", "signals"):
            assert getattr(told, name) == getattr(row, name), name
        assert told.train_loss == pytest.approx(row.train_loss, rel=1e-6)
        assert told.grad_norm == row.grad_norm
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(model.net.state_dict()[name], tensor), name


def test_a_resumed_training_goes_on_with_the_same_noise(tmp_path: Path) -> None:
    config = small_config(EAGER)
    whole, model = fit(tmp_path / "whole", config, keep=True)
    first, _ = fit(tmp_path / "cut", config, keep=True, stop=3)
    assert len(first.history) == 3
    with pytest.raises(InputError, match="restore_callback_states_from_checkpoint"):
        fit(tmp_path / "cut", config, keep=True, resume=True, restore=False)
    again, second = fit(tmp_path / "cut", config, keep=True, resume=True)
    assert again.history == whole.history
    for name, tensor in model.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 1, bias=False)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.mse_loss(self.net(x), labels)}


def _trainer(tmp_path: Path, model: nn.Module, *callbacks: Any, **options: Any) -> Any:
    torch.manual_seed(1)
    data = [{"x": torch.randn(4), "labels": torch.randn(1)} for _ in range(16)]
    args = transformers.TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=8,
        save_strategy="no",
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        logging_strategy="no",
        **{"num_train_epochs": 1, **options},
    )
    return transformers.Trainer(
        model, args, train_dataset=data, eval_dataset=data, callbacks=list(callbacks)
    )


def _train(tmp_path: Path, model: nn.Module, callback: Any, **options: Any) -> None:
    _trainer(tmp_path, model, callback, **options).train()


def test_clipping_comes_before_the_noise_and_accumulated_batches_are_one_step(
    tmp_path: Path,
) -> None:
    gradient = {"policy": "always", "kind": "gradient", "magnitude": 5.0, "scaling": "absolute"}
    callback, model = NoiseCallback(gradient, x="x"), Line()
    _train(tmp_path, model, callback, max_grad_norm=0.001, gradient_accumulation_steps=2)
    [row] = callback.noise.history
    assert row.grad_norm > 0.01
    fresh = Line()
    torch.manual_seed(1)
    data = [(torch.randn(4), torch.randn(1)) for _ in range(16)]
    x, y = (torch.stack(part) for part in zip(*data, strict=True))
    loss = fresh(x, y)["loss"]
    loss.backward()
    assert row.train_loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert fresh.net.weight.grad is not None
    assert row.grad_norm == pytest.approx(float(fresh.net.weight.grad.norm()), rel=1e-4)
    assert model.net.weight.grad is None or float(model.net.weight.grad.norm()) == 0.0


def test_a_training_after_one_that_an_exception_ended_is_a_new_one(tmp_path: Path) -> None:
    class Breaks(Line):
        broken = True

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            if self.broken:
                raise OSError("no more data")
            return super().forward(x, labels)

    class Looks(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.weight = kwargs["model"].net.weight.detach().clone()

    callback = NoiseCallback({"policy": "always", "kind": "weight", "magnitude": 5.0}, x="x")
    model, looks = Breaks(), Looks()
    before = model.net.weight.detach().clone()
    trainer = _trainer(tmp_path, model, callback, looks, max_grad_norm=0.5)
    with pytest.raises(OSError, match="no more data"):
        trainer.train()
    assert not torch.equal(model.net.weight, before)
    model.broken = False
    for _ in range(2):
        trainer.train()
        assert len(callback.noise.history) == 1
        assert (len(model._forward_hooks), trainer.args.max_grad_norm) == (0, 0.5)
        assert not torch.equal(looks.weight, model.net.weight)
        before, first = model.net.weight.detach().clone(), before
        assert torch.equal(looks.weight, first)


def test_what_cant_be_right_is_refused(tmp_path: Path) -> None:
    class Silent(Line):
        def forward(self, x: Tensor, labels: Tensor) -> Any:
            return (super().forward(x, labels)["loss"],)

    with pytest.raises(InputError, match="has no loss"):
        _train(tmp_path, Silent(), NoiseCallback({"policy": "off"}, x="x"))
    named = NoiseCallback({"policy": "off"}, x="x", val_accuracy="eval_accuracy")
    with pytest.raises(InputError, match="eval_accuracy"):
        _train(tmp_path, Line(), named, eval_strategy="epoch")


def test_an_epoch_without_an_evaluation_has_no_validation_loss(tmp_path: Path) -> None:
    callback = NoiseCallback({"policy": "off"}, x="x")
    options = {"num_train_epochs": 3, "eval_strategy": "epoch", "eval_delay": 2}
    _train(tmp_path, Line(), callback, **options)
    assert [math.isnan(row.val_loss) for row in callback.noise.history] == [True, False, False]
