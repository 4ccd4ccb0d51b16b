"""The training of ``own_loop.py`` in Lightning; it needs the extra ``lightning``."""

import logging
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from own_loop import EPOCHS, NOISE, deep_network
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from trainables.callbacks.lightning import NoiseCallback


class Digits(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = deep_network()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.network(x), y)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self.network(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_accuracy", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(settings: dict[str, object]) -> float:
    """Train; returns the last epoch's validation accuracy."""
    seed_everything(0, verbose=False)
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images / 8 - 1).float()
    digits = TensorDataset(pixels, torch.tensor(labels))
    training, validation = random_split(digits, [1500, 297])
    callback = NoiseCallback(settings, val_accuracy="val_accuracy")
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        Digits(),
        DataLoader(training, batch_size=128, shuffle=True, drop_last=True),
        DataLoader(validation, batch_size=297),
    )
    print(callback.noise.explain())
    return callback.noise.history[-1].val_accuracy


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    without = train({"policy": "off"})
    print(f"without noise {without:.3f}, with adaptive noise {train(NOISE):.3f}")
