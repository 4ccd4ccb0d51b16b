"""The callback of Lightning: decisions and weights are those of ``noise-train``."""

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

lightning = pytest.importorskip("lightning.pytorch")
from trainables.callbacks.lightning import NoiseCallback  # noqa: E402


class Batches(torch.utils.data.IterableDataset[list[Tensor]]):
    """The batches of ``noise-train``, epoch after epoch."""

    def __init__(self, config: TrainConfig, first: int = 0) -> None:
        self.config, self.epoch = config, first
        self.data = device_data(config)

    def __iter__(self) -> Any:
        epoch, self.epoch = self.epoch, self.epoch + 1
        torch.manual_seed(stream_seed(self.config.seed, "model", epoch))
        for x, y in self.data.train_batches(self.config.seed, epoch, 32):
            yield [x.clone(), y.clone()]


class Module(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.data = device_data(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "init"))
            self.net = build_configured(config, 10).to(memory_format=torch.channels_last)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self.net(x)
        self.log("val_loss", F.cross_entropy(logits, y), batch_size=len(y))
        right = (logits.argmax(1) == y).float().mean()
        self.log("val_accuracy", right, batch_size=len(y))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.net.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3
        )
        steps = self.data.steps_per_epoch(32)

        def factor(step: int) -> float:
            rate = learning_rate(
                self.config.optimizer, step, steps_per_epoch=steps, epochs=self.config.epochs
            )
            return rate / self.config.optimizer.lr

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def trainer(tmp_path: Path, callback: Any, **options: Any) -> Any:
    return lightning.Trainer(
        **{"max_epochs": 5, "accelerator": "cpu", "callbacks": [callback], **options},
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit(tmp_path: Path, config: TrainConfig, first: int = 0, **options: Any) -> Any:
    callback = NoiseCallback(config, val_accuracy="val_accuracy", classes=10)
    module = Module(config)
    training = torch.utils.data.DataLoader(Batches(config, first), batch_size=None)
    validation = torch.utils.data.DataLoader(list(module.data.eval_batches("val")), batch_size=None)
    path = options.pop("ckpt_path", None)
    trainer(tmp_path, callback, **options).fit(module, training, validation, ckpt_path=path)
    return callback, module


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
    callback, module = fit(tmp_path, config, enable_checkpointing=False)
    for mine, row in zip(callback.noise.history, rows, strict=True):
        for name in ("noise_kind", "noise_magnitude", "noise_phase", "signals", "train_loss"):
            assert getattr(mine, name) == getattr(row, name), name
        assert mine.grad_norm == row.grad_norm
        assert mine.val_accuracy == pytest.approx(row.val_accuracy)
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(module.net.state_dict()[name], tensor), name


def test_a_resumed_training_goes_on_with_the_same_noise(tmp_path: Path) -> None:
    config = small_config(EAGER)
    whole, module = fit(tmp_path / "whole", config, enable_checkpointing=False)
    keep = lightning.callbacks.ModelCheckpoint(tmp_path, filename="kept", save_weights_only=False)
    callback = NoiseCallback(config, val_accuracy="val_accuracy", classes=10)
    first = Module(config)
    loaders = [
        torch.utils.data.DataLoader(Batches(config), batch_size=None),
        torch.utils.data.DataLoader(list(first.data.eval_batches("val")), batch_size=None),
    ]
    interrupted = trainer(tmp_path, callback, callbacks=[callback, keep], limit_train_batches=None)
    interrupted.fit_loop.max_epochs = 5
    callback_epochs = 3

    class Stop(lightning.Callback):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = trainer.current_epoch + 1 >= callback_epochs

    interrupted.callbacks.insert(0, Stop())
    interrupted.fit(first, *loaders)
    assert len(callback.noise.history) == 3
    again, second = fit(
        tmp_path, config, first=3, ckpt_path=tmp_path / "kept.ckpt", enable_checkpointing=False
    )
    assert again.noise.history == whole.noise.history
    for name, tensor in module.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


class Line(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 1, bias=False)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def _loader() -> Any:
    torch.manual_seed(1)
    pairs = torch.utils.data.TensorDataset(torch.randn(16, 4), torch.randn(16, 1))
    return torch.utils.data.DataLoader(pairs, batch_size=8)


GRADIENT = {"policy": "always", "kind": "gradient", "magnitude": 5.0, "scaling": "absolute"}
QUIET = {"enable_checkpointing": False, "max_epochs": 1}


def test_clipping_comes_before_the_noise(tmp_path: Path) -> None:
    callback, module = NoiseCallback(GRADIENT), Line()
    before = module.net.weight.detach().clone()
    trainer(tmp_path, callback, gradient_clip_val=0.001, **QUIET).fit(module, _loader())
    assert float((module.net.weight - before).norm()) > 0.1
    assert callback.noise.history[0].grad_norm > 0.001


def test_a_callback_can_be_used_again_and_the_trainer_has_its_clipping(tmp_path: Path) -> None:
    callback = NoiseCallback(GRADIENT)
    for _ in range(2):
        clipped = trainer(tmp_path, callback, gradient_clip_val=0.5, **QUIET)
        clipped.fit(Line(), _loader())
        assert clipped.gradient_clip_val == 0.5
        assert len(callback.noise.history) == 1


def test_an_epoch_that_goes_on_in_its_midst_has_its_noise(tmp_path: Path) -> None:
    keep = lightning.callbacks.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3)
    callback = NoiseCallback(GRADIENT)
    trainer(tmp_path, callback, callbacks=[callback, keep], max_epochs=2).fit(Line(), _loader())
    again = NoiseCallback(GRADIENT)
    trainer(tmp_path, again, max_epochs=2, enable_checkpointing=False).fit(
        Line(), _loader(), ckpt_path=tmp_path / "step=3.ckpt"
    )
    assert len(again.noise.history) == 2
    assert again.noise.history[0] == callback.noise.history[0]


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    callback, module = NoiseCallback({"policy": "off"}), Line()
    trainer(tmp_path, callback, accumulate_grad_batches=2, **QUIET).fit(module, _loader())
    [row] = callback.noise.history
    fresh = Line()
    x, y = (torch.cat(part) for part in zip(*_loader(), strict=True))
    loss = F.mse_loss(fresh.net(x), y)
    loss.backward()
    assert row.train_loss == pytest.approx(float(loss), rel=1e-5)
    assert fresh.net.weight.grad is not None
    assert row.grad_norm == pytest.approx(float(fresh.net.weight.grad.norm()), rel=1e-5)
    assert math.isnan(row.val_loss)


def test_a_last_step_of_fewer_batches_has_their_mean_loss(tmp_path: Path) -> None:
    callback, module = NoiseCallback({"policy": "off"}), Line()
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)
    torch.manual_seed(1)
    pairs = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randn(24, 1))
    loader = torch.utils.data.DataLoader(pairs, batch_size=8)
    trainer(tmp_path, callback, accumulate_grad_batches=2, **QUIET).fit(module, loader)
    losses = [float(F.mse_loss(module.net(x), y)) for x, y in loader]
    [row] = callback.noise.history
    # A step of two batches, and one of the last alone.
    assert row.train_loss == pytest.approx(((losses[0] + losses[1]) / 2 + losses[2]) / 2)


def test_what_cant_be_right_is_refused(tmp_path: Path) -> None:
    by_value = {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}
    with pytest.raises(InputError, match="gradient_clip_algorithm"):
        trainer(tmp_path, NoiseCallback(GRADIENT), **by_value, **QUIET).fit(Line(), _loader())
    manual = Line()
    manual.automatic_optimization = False
    with pytest.raises(InputError, match="manual optimization"):
        trainer(tmp_path, NoiseCallback(GRADIENT), **QUIET).fit(manual, _loader())
