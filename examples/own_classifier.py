"""A classifier of one's own, one of timm's, and weights that a training starts from.

    noise-study run --classifier own_classifier:two_layers
    noise-study run --classifier timm:resnet18 --weights FILE.safetensors

Run as a script it trains the first for three epochs, starts another training from its weights,
and trains one of timm's where that is installed (``pip install -e ".[timm]"``).
"""

from importlib.util import find_spec

from torch import nn

from study.api import SingleRunOptions, train_run
from trainables.config import DataConfig, ModelConfig, TrainConfig


def two_layers(num_classes: int, image_size: int, in_channels: int) -> nn.Module:
    """Called with what it asks for by name; weights are drawn from torch's global generator."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(in_channels * image_size**2, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )


def main() -> None:
    data = DataConfig(dataset="digits", image_size=8, channels=1, batch_size=64)
    mine = TrainConfig(data=data, model=ModelConfig(classifier="own_classifier:two_layers"))
    first = train_run(mine.model_copy(update={"epochs": 3}), SingleRunOptions(save_as="first"))
    print(f"from the start: {first.metrics['test_accuracy']:.3f}")
    model = ModelConfig(classifier="own_classifier:two_layers", weights=str(first.weights))
    second = train_run(
        mine.model_copy(update={"epochs": 3, "model": model}), SingleRunOptions(save_as="second")
    )
    print(f"from its weights: {second.metrics['test_accuracy']:.3f}")
    if find_spec("timm"):
        small = data.model_copy(update={"image_size": 16, "subset": 0.2})
        theirs = TrainConfig(data=small, model=ModelConfig(classifier="timm:test_resnet"), epochs=1)
        third = train_run(theirs, SingleRunOptions(save_as="timm"))
        print(f"timm's: {third.metrics['test_accuracy']:.3f}")


if __name__ == "__main__":
    main()
