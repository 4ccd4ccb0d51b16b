"""Weights that a classifier starts from: what of a stored model fits is loaded, the rest named."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.config import ModelConfig
from trainables.data_config import FIRST_SHAPE, ImageShape
from trainables.errors import InputError
from trainables.models.registry import laid_out, registered_networks

if TYPE_CHECKING:
    import torch
    from torch import nn


_shapes: "dict[str | None, Mapping[str, torch.Tensor]]" = {}
"""Of the files that were checked: hash → tensors by name, without what they hold."""


@dataclass(frozen=True)
class PretrainedReport:
    """What was loaded.

    Attributes:
        source: what the weights came from, in words.
        skipped: name → reason, of the tensors in the file or in the model that were not.
    """

    source: str
    loaded: tuple[str, ...]
    skipped: dict[str, str]

    def summary(self) -> str:
        rest = ", ".join(f"{name} ({reason})" for name, reason in self.skipped.items())
        return (
            f"pre-trained weights of {self.source}: {len(self.loaded)} tensors loaded; "
            f"not loaded: {rest or 'none'}"
        )


def check_pretrained(name: str, size: int = FIRST_SHAPE.size) -> None:
    """Refuse ``download_weights`` for a classifier that has none; fetches nothing."""
    networks = registered_networks()
    if name in networks or ":" in name:
        raise InputError(
            f"download_weights = True: there are no pre-trained weights for {name!r}, "
            "only for torchvision's classifiers; leave --download-weights out"
        )
    from trainables.models.torchvision_models import check_torchvision_name, pretrained_weights

    check_torchvision_name(name, networks, size)
    pretrained_weights(name)


def load_pretrained(
    model: "nn.Module", name: str, size: int = FIRST_SHAPE.size
) -> PretrainedReport:
    """Load torchvision's pre-trained weights where the shapes fit, and name the rest.

    They are fetched once a machine, into torch.hub's cache.

    Args:
        model: what ``build_model(name, …)`` returned; changed in place.
        size: of its images.
    """
    check_pretrained(name, size)
    from trainables.models.torchvision_models import fetch_weights

    fitting, skipped = _fitting(model, fetch_weights(name, model))
    return _load(model, fitting, skipped, name)


def checked_weights(config: ModelConfig, shape: ImageShape) -> ModelConfig:
    """Refuse a file of weights that is not the recorded one, or has nothing for the classifier.

    Returns the configuration with the file's hash, by which every run knows it again.
    """
    if config.weights is None:
        return config
    from trainables.models.stored_weights import read_weights

    stored, content = read_weights(config.weights, config.content)
    model = laid_out(config.classifier, shape)
    fitting, _ = _best_naming(model, config.classifier, stored)
    # Counters have one name and shape in all networks.
    if not any(name in fitting and p.numel() > 1 for name, p in model.named_parameters()):
        named = ", ".join(list(stored)[:3])
        raise InputError(
            f"model.weights (--weights) = {config.weights!r}: none of its {len(stored)} tensors "
            f"({named}, …) has the name and the shape of one of {config.classifier}'s; give "
            "weights of that classifier, or the --classifier that they are of"
        )
    _shapes[content] = {name: tensor.to("meta") for name, tensor in stored.items()}
    return config.model_copy(update={"content": content})


def check_stored(config: ModelConfig) -> None:
    """Refuse a machine where the file of weights is missing, or another one."""
    if config.weights is not None:
        from trainables.models.stored_weights import read_weights

        read_weights(config.weights, config.content)


def what_fits(config: ModelConfig, shape: ImageShape, classes: int) -> PretrainedReport:
    """What ``load_weights`` is going to load into a classifier of so many classes.

    Args:
        config: as ``checked_weights`` returned it, which has read the file.
    """
    assert config.weights is not None
    model = laid_out(config.classifier, shape, classes)
    fitting, skipped = _best_naming(model, config.classifier, _shapes[config.content])
    return PretrainedReport(config.weights, tuple(fitting), skipped)


def load_weights(model: "nn.Module", config: ModelConfig) -> PretrainedReport:
    """Load the tensors of the file ``config.weights`` where the shapes fit, and name the rest.

    Args:
        model: of ``config.classifier``; changed in place.

    Raises:
        InputError: the file can't be read, or is not the one that was recorded.
    """
    from trainables.models.stored_weights import read_weights

    assert config.weights is not None
    stored, _ = read_weights(config.weights, config.content)
    fitting, skipped = _best_naming(model, config.classifier, stored)
    return _load(model, fitting, skipped, config.weights)


def _best_naming(
    model: "nn.Module", classifier: str, stored: "Mapping[str, torch.Tensor]"
) -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """What fits, and what does not, by the names with which most tensors fit."""
    from trainables.models.stored_weights import namings

    found = [_fitting(model, tensors) for tensors in namings(classifier, model, stored)]
    return max(found, key=lambda each: len(each[0]))


def _load(
    model: "nn.Module",
    fitting: "Mapping[str, torch.Tensor]",
    skipped: dict[str, str],
    source: str,
) -> PretrainedReport:
    model.load_state_dict(fitting, strict=False)
    return PretrainedReport(source, tuple(fitting), skipped)


def _fitting(
    model: "nn.Module", stored: "Mapping[str, torch.Tensor]"
) -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """The stored tensors that the model has, too; of all others, why not."""
    own = model.state_dict()
    fitting, skipped = {}, {}
    for key, tensor in stored.items():
        if key not in own:
            skipped[key] = "not in the model"
        elif own[key].shape != tensor.shape:
            skipped[key] = f"stored {_shape(tensor)}, the model's {_shape(own[key])}"
        else:
            fitting[key] = tensor
    skipped |= {key: "not in the file" for key in own if key not in stored}
    return fitting, skipped


def _shape(tensor: "torch.Tensor") -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
