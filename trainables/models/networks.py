"""Our own networks: normalised images in, (B, channels, size, size), (B, classes) logits out.

Every class is a classifier under its name; it is made with the number of classes and the images'
shape, by which its first linear layer and its first convolution go. The method's
three CNNs pool before the ReLU. The two commute exactly: the maximum of a window and its ReLU are
the same number in either order, and the gradient reaches the same pixel, bit for bit. A quarter of
the values is left for the ReLU then, which makes a step on one core 10 to 25 % faster.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.data_config import FIRST_SHAPE, ImageShape


def _pooled(maps: Tensor) -> Tensor:
    """ReLU and 2×2 max-pool of a convolution's (B, C, H, W), halving H and W."""
    return F.relu(F.max_pool2d(maps, 2), inplace=True)


def _linear_of_maps(maps: Tensor, layer: nn.Linear) -> Tensor:
    """``layer(maps.flatten(1))`` for (B, C, H, W), without copying channels-last maps.

    There the few weights are brought into the order of the many activations; the other way round,
    which is what ``flatten`` does, costs BabyCNN 6 % of its step.
    """
    if maps.is_contiguous() or not maps.is_contiguous(memory_format=torch.channels_last):
        return F.linear(maps.flatten(1), layer.weight, layer.bias)
    weight = layer.weight.unflatten(1, maps.shape[1:]).permute(0, 2, 3, 1).flatten(1)
    return F.linear(maps.permute(0, 2, 3, 1).flatten(1), weight, layer.bias)


def _draw_small(network: nn.Module, std: float) -> None:
    """Weights from N(0, std²), biases 0."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=std)


class BabyCNN(nn.Module):
    """One convolution and one linear layer: 20,714 parameters for 10 classes at 32×32 RGB."""

    def __init__(self, num_classes: int, shape: ImageShape = FIRST_SHAPE) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, 8, 3, padding=1)
        self.fc1 = nn.Linear(8 * (shape.size // 2) ** 2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return _linear_of_maps(_pooled(self.conv1(images)), self.fc1)


class TinyCNN(nn.Module):
    """Two convolutions and two linear layers: 545,098 parameters for 10 classes at 32×32 RGB."""

    def __init__(self, num_classes: int, shape: ImageShape = FIRST_SHAPE) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * (shape.size // 4) ** 2, 128)
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = _pooled(self.conv2(_pooled(self.conv1(images))))
        logits: Tensor = self.fc2(F.relu(self.fc1(maps.flatten(1))))
        return logits


class SimpleCNN(nn.Module):
    """Three convolutions, four linear layers: 22,954,506 parameters for 10 classes at 32×32 RGB."""

    def __init__(self, num_classes: int, shape: ImageShape = FIRST_SHAPE) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 512, 3, padding=1)
        self.conv3 = nn.Conv2d(512, 512, 3, padding=1)
        self.fc1 = nn.Linear(512 * (shape.size // 8) ** 2, 2048)
        self.fc2 = nn.Linear(2048, 1024)
        self.fc3 = nn.Linear(1024, 512)
        self.fc4 = nn.Linear(512, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = images
        for convolution in (self.conv1, self.conv2, self.conv3):
            maps = _pooled(convolution(maps))
        hidden = maps.flatten(1)
        for layer in (self.fc1, self.fc2, self.fc3):
            hidden = F.relu(layer(hidden))
        logits: Tensor = self.fc4(hidden)
        return logits


class DeepMLP(nn.Module):
    """A deep, narrow ReLU network on 8×8 pixels, without normalisation or skips.

    Its weights are drawn from N(0, 0.1²), a common choice that is far too small for this depth:
    signals and gradients fade from layer to layer, and plain SGD does not begin to learn.
    """

    def __init__(
        self,
        num_classes: int,
        shape: ImageShape = FIRST_SHAPE,
        *,
        depth: int = 20,
        width: int = 50,
        init_std: float = 0.1,
    ) -> None:
        """``depth`` counts the linear layers, the last one included."""
        super().__init__()
        sizes = [shape.channels * 8 * 8, *[width] * (depth - 1), num_classes]
        self.depth = depth
        for index, size in enumerate(pairwise(sizes), 1):
            self.add_module(f"fc{index}", nn.Linear(*size))
        _draw_small(self, init_std)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.adaptive_avg_pool2d(images, 8).flatten(1)
        for index in range(1, self.depth):
            hidden = F.relu(self.get_submodule(f"fc{index}")(hidden))
        logits: Tensor = self.get_submodule(f"fc{self.depth}")(hidden)
        return logits


class PlainCNN(nn.Module):
    """A deep convolutional network without normalisation or skips.

    A stem of stride 4, a 2×2 max-pool, ``depth`` 3×3 convolutions and a linear layer; the weights
    are drawn from N(0, 0.05²). As in ``DeepMLP``, plain SGD does not begin to learn.
    """

    def __init__(
        self,
        num_classes: int,
        shape: ImageShape = FIRST_SHAPE,
        *,
        depth: int = 12,
        width: int = 16,
        init_std: float = 0.05,
    ) -> None:
        """``depth`` counts the convolutions after the stem."""
        super().__init__()
        self.depth = depth
        self.stem = nn.Conv2d(shape.channels, width, 4, stride=4)
        for index in range(1, depth + 1):
            self.add_module(f"conv{index}", nn.Conv2d(width, width, 3, padding=1))
        self.fc1 = nn.Linear(width * (shape.size // 8) ** 2, num_classes)
        _draw_small(self, init_std)

    def forward(self, images: Tensor) -> Tensor:
        maps = _pooled(self.stem(images))
        for index in range(1, self.depth + 1):
            maps = F.relu(self.get_submodule(f"conv{index}")(maps))
        return _linear_of_maps(maps, self.fc1)
