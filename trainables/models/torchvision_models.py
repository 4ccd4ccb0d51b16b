"""torchvision's classifiers, and their pre-trained weights.

They are made for 224×224: their stem alone divides the sides by up to eight. For 32×32, and only
there, a stem that downsamples becomes a 3×3 convolution of stride 1, without its max-pools, as the
method does for resnet18; all other layers, and the names of the parameters, stay torchvision's. At
other sizes they are torchvision's altogether, and whether one can take a size is tried.

For grey images the first convolution's weights are summed over red, green and blue: the model does
what it would do to three equal channels, with pre-trained weights too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision.models as tv
from torch import Tensor, nn

from trainables.data_config import FIRST_SHAPE, ImageShape
from trainables.errors import InputError, nearest
from trainables.models.stored_weights import densenet_names, to_channels_of


@dataclass(frozen=True)
class _Stem:
    """Where a family's first convolution and its stem's max-pools are."""

    convolution: str
    pools: tuple[str, ...] = ()


_STEMS: Mapping[str, _Stem | None] = {
    "alexnet": _Stem("features.0", ("features.2",)),
    "convnext": _Stem("features.0.0"),
    "densenet": _Stem("features.conv0", ("features.pool0",)),
    "efficientnet": _Stem("features.0.0"),
    "googlenet": _Stem("conv1.conv", ("maxpool1", "maxpool2")),
    "mnasnet": _Stem("layers.0"),
    "mobilenet": _Stem("features.0.0"),
    "regnet": _Stem("stem.0"),
    "resnet": _Stem("conv1", ("maxpool",)),
    "resnext": _Stem("conv1", ("maxpool",)),
    "shufflenet": _Stem("conv1.0", ("maxpool",)),
    "squeezenet": _Stem("features.0", ("features.2",)),
    "swin": _Stem("features.0.0"),
    # No stem to speak of: 3×3 convolutions from the start.
    "vgg": None,
    "wide_resnet": _Stem("conv1", ("maxpool",)),
}

_EXCLUDED = {
    "inception": "it needs images of at least 75×75",
    "vit": "its position embedding is made for 224×224",
    "maxvit": "its attention windows are made for 224×224",
}

_VGG_WIDTH = 512


def torchvision_names(size: int = FIRST_SHAPE.size) -> tuple[str, ...]:
    """The names of torchvision's classifiers; at 32×32, those that can be brought to it."""
    names = tv.list_models(module=tv)
    return tuple(name for name in names if size != FIRST_SHAPE.size or _family(name, _STEMS))


def check_torchvision_name(
    name: str, further: Iterable[str] = (), size: int = FIRST_SHAPE.size
) -> None:
    """Refuse a name that can't be built; ``further`` names are allowed, too."""
    offered = torchvision_names(size)
    if name in offered:
        return
    reason = ""
    if name in tv.list_models(module=tv):
        family = _family(name, _EXCLUDED)
        why = _EXCLUDED[family] if family else "no adaptation of this family is known"
        reason = f"torchvision's model can't take 32×32 images: {why}, see --image-size; "
    raise InputError(f"classifier = {name!r}: {reason}{nearest(name, {*offered, *further})}")


def build_torchvision(name: str, num_classes: int, shape: ImageShape) -> nn.Module:
    """A freshly initialised torchvision classifier for images of ``shape``, giving logits.

    GoogLeNet and Inception come without their auxiliary classifiers, so that all models return one
    tensor.
    """
    small = shape.size == FIRST_SHAPE.size
    model = _build_small(name, num_classes) if small else _build(name, num_classes, shape.size)
    if shape.channels == 1:
        _to_grey(model)
    return model


def _build(name: str, num_classes: int, size: int) -> nn.Module:
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if name.startswith(("googlenet", "inception")):
        # Said explicitly, this is torchvision's own initialisation without its warning.
        options |= {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit"):
        options["image_size"] = size
    elif name.startswith("maxvit"):
        options["input_size"] = (size, size)
    model: nn.Module = tv.get_model(name, **options)
    return model


def _build_small(name: str, num_classes: int) -> nn.Module:
    """For 32×32 images: without what divides their sides."""
    family = _family(name, _STEMS)
    assert family is not None, name
    if family == "vgg":
        return _build_vgg(name, num_classes)
    model = _build(name, num_classes, FIRST_SHAPE.size)
    stem = _STEMS[family]
    assert stem is not None
    convolution = model.get_submodule(stem.convolution)
    assert isinstance(convolution, nn.Conv2d)
    model.set_submodule(stem.convolution, _undivided(convolution))
    for pool in stem.pools:
        model.set_submodule(pool, nn.Identity())
    return model


def _family(name: str, families: Mapping[str, Any]) -> str | None:
    return next((family for family in families if name.startswith(family)), None)


def _undivided(convolution: nn.Conv2d) -> nn.Conv2d:
    """A 3×3 convolution of stride 1 in place of one that divides the sides of the image."""
    if convolution.kernel_size == (3, 3):
        # Only the step changes: the initialisation stays the family's, and trained weights fit.
        convolution.stride, convolution.padding = (1, 1), (1, 1)
        return convolution
    replacement = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        3,
        padding=1,
        bias=convolution.bias is not None,
    )
    _init_convolution(replacement)
    return replacement


def _first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))


def _to_grey(model: nn.Module) -> None:
    """Let the first convolution take one channel in place of three equal ones."""
    _, first = _first_convolution(model)
    assert first.in_channels == 3
    assert first.groups == 1
    first.in_channels = 1
    first.weight = nn.Parameter(first.weight.detach().sum(1, keepdim=True))


def _init_convolution(convolution: nn.Conv2d) -> None:
    """He initialisation by fan-out, as torchvision's ResNet and VGG have it."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def _build_vgg(name: str, num_classes: int) -> nn.Module:
    """A VGG whose classifier reads the 512×1×1 that 32×32 images leave, with hidden width 512.

    torchvision's would blow that one position up to 7×7 equal ones and read it with 123 million
    weights, nine tenths of the model. Width 512 is what VGGs for CIFAR commonly have; the layers
    keep their names. The model is laid out on the meta device first: drawing 123 million numbers
    only to drop them takes seconds.
    """
    device = torch.get_default_device()
    with torch.device("meta"):
        model: nn.Module = tv.get_model(name, weights=None, init_weights=False)
        model.set_submodule("avgpool", nn.AdaptiveAvgPool2d(1))
        widths = (_VGG_WIDTH, _VGG_WIDTH, _VGG_WIDTH, num_classes)
        for layer, width, following in zip((0, 3, 6), widths, widths[1:], strict=False):
            model.set_submodule(f"classifier.{layer}", nn.Linear(width, following))
    model.to_empty(device=device)
    for module in model.modules():
        # As in torchvision's VGG, layer by layer in the same order.
        if isinstance(module, nn.Conv2d):
            _init_convolution(module)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return model


def pretrained_weights(name: str) -> Any:
    """torchvision's best weights for a model, not yet fetched."""
    available = list(tv.get_model_weights(name))
    if not available:
        raise InputError(
            f"download_weights = True: torchvision has no pre-trained weights for {name!r}; "
            "leave --download-weights out or take another classifier"
        )
    return tv.get_model_weights(name).DEFAULT


def fetch_weights(name: str, model: nn.Module) -> dict[str, Tensor]:
    """The tensors of torchvision's pre-trained model, from the cache or the network.

    For a ``model`` of grey images as it takes them.
    """
    weights = pretrained_weights(name)
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, HTTPException, UnpicklingError, EOFError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
        raise InputError(
            f"download_weights = True: the pre-trained weights of {name!r} can't be had from "
            f"{weights.url}: {error}. Connect to the network, or put that file at {file}, "
            "or leave --download-weights out"
        ) from error
    if name.startswith("densenet"):
        state = densenet_names(state)
    return to_channels_of(model, state)
