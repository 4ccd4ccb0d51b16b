"""Networks that only the controls train: variants of the registered ones, by dotted name."""

from torch import nn

from trainables.models.networks import DeepMLP


def short_mlp(num_classes: int) -> nn.Module:
    """Four layers: what noise gains at a learning rate too small, a fitting one gains, too."""
    return DeepMLP(num_classes, depth=4, width=100)
