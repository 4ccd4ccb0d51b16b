"""The training of ``own_loop.py`` in Hugging Face's Trainer; needs the extra ``transformers``."""

import tempfile

import torch
from own_loop import EPOCHS, NOISE, deep_network
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import random_split
from transformers import Trainer, TrainingArguments, set_seed

from trainables.callbacks.transformers import NoiseCallback


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = deep_network()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def train(settings: dict[str, object], folder: str) -> float:
    """Train; returns the last epoch's validation accuracy."""
    set_seed(0)
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images / 8 - 1).float()
    digits = [{"x": x, "labels": int(y)} for x, y in zip(pixels, labels, strict=True)]
    training, validation = random_split(digits, [1500, 297])
    model = Digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    callback = NoiseCallback(settings, x="x", val_accuracy="eval_accuracy")
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=128,
            per_device_eval_batch_size=297,
            dataloader_drop_last=True,
            max_grad_norm=0.0,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
            use_cpu=True,
            report_to=[],
        ),
        train_dataset=training,
        eval_dataset=validation,
        optimizers=(optimizer, ConstantLR(optimizer, 1.0)),
        compute_metrics=lambda p: {"accuracy": (p.predictions.argmax(1) == p.label_ids).mean()},
        callbacks=[callback],
    )
    trainer.train()
    print(callback.noise.explain())
    return callback.noise.history[-1].val_accuracy


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        without = train({"policy": "off"}, folder)
        print(f"without noise {without:.3f}, with adaptive noise {train(NOISE, folder):.3f}")
