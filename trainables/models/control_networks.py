"""Networks that only the controls train: variants of the registered ones, by dotted name."""

from torch import nn

from trainables.models.networks import DeepMLP


def short_mlp(num_classes: int) -> nn.Module:
    """Six layers: a learning rate that fits trains it, one five times too small hardly does."""
    return DeepMLP(num_classes, depth=6)
