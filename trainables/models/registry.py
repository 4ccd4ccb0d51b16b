"""The registry of classifiers: (B, 3, 32, 32) normalised images in, (B, num_classes) logits out.

Importing this file, and checking one of the four built-in names, imports neither torch nor
torchvision, so that a mistake in a configuration is answered at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.code_identity import is_own
from trainables.config import ModelConfig
from trainables.errors import InputError
from trainables.own_import import check_unchanged, import_own

if TYPE_CHECKING:
    import torch
    from torch import nn

BUILT_IN = ("BabyCNN", "TinyCNN", "SimpleCNN", "resnet18")
"""The method's four classifiers, which are checked without torch. Further ones are those that
``networks.py`` has besides, torchvision's, and the user's own."""

_CHECK_CLASSES = 10


@dataclass(frozen=True)
class PretrainedReport:
    """What ``load_pretrained`` did.

    Attributes:
        skipped: name → reason, of the tensors in the file or in the model that were not.
    """

    classifier: str
    loaded: tuple[str, ...]
    skipped: dict[str, str]

    def summary(self) -> str:
        rest = ", ".join(f"{name} ({reason})" for name, reason in self.skipped.items())
        return (
            f"pre-trained weights of {self.classifier}: {len(self.loaded)} tensors loaded; "
            f"not loaded: {rest or 'none'}"
        )


def _networks() -> "dict[str, type[nn.Module]]":
    from torch import nn

    from trainables.models import networks

    return {
        name: kind
        for name, kind in vars(networks).items()
        if not name.startswith("_") and isinstance(kind, type) and issubclass(kind, nn.Module)
    }


def check_classifier(name: str) -> None:
    """Refuse a classifier that can't be built. A user's own is built once, for 10 classes."""
    if name in BUILT_IN:
        return
    if ":" in name:
        _build_own(name, _CHECK_CLASSES)
        return
    networks = _networks()
    if name in networks:
        return
    from trainables.models.torchvision_models import check_torchvision_name

    check_torchvision_name(name, networks)


def build_model(name: str, num_classes: int) -> "nn.Module":
    """A freshly initialised classifier, in train mode, on torch's default device.

    The initial weights are drawn from torch's global generator.

    Args:
        name: a class of ``networks.py``, a torchvision classifier, or a user's own as
            ``package.module:function``, called with ``num_classes``.
    """
    if ":" in name:
        return _build_own(name, num_classes)
    networks = _networks()
    if name in networks:
        return networks[name](num_classes)
    from trainables.models.torchvision_models import build_torchvision, check_torchvision_name

    check_torchvision_name(name, networks)
    return build_torchvision(name, num_classes)


def build_configured(config: ModelConfig, num_classes: int) -> "nn.Module":
    """As ``build_model``; code of one's own must be what it was when it was recorded."""
    if is_own(config.classifier):
        check_unchanged("classifier", config.classifier, config.code)
    return build_model(config.classifier, num_classes)


def check_layers(name: str, layers: Sequence[str]) -> None:
    """Check that each fragment is in the name of a parameter of the classifier."""
    if not layers:
        return
    from trainables.noise.perturbations import select_parameters

    select_parameters(_laid_out(name).named_parameters(), layers)


def check_pretrained(name: str) -> None:
    """Refuse ``download_weights`` for a classifier that has none; fetches nothing."""
    networks = _networks()
    if name in networks or ":" in name:
        raise InputError(
            f"download_weights = True: there are no pre-trained weights for {name!r}, "
            "only for torchvision's classifiers; leave --download-weights out"
        )
    from trainables.models.torchvision_models import check_torchvision_name, pretrained_weights

    check_torchvision_name(name, networks)
    pretrained_weights(name)


def load_pretrained(model: "nn.Module", name: str) -> PretrainedReport:
    """Load torchvision's pre-trained weights where the shapes fit, and name the rest.

    They are fetched once a machine, into torch.hub's cache.

    Args:
        model: what ``build_model(name, …)`` returned; changed in place.
    """
    check_pretrained(name)
    from trainables.models.torchvision_models import fetch_weights

    stored = fetch_weights(name)
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
    model.load_state_dict(fitting, strict=False)
    return PretrainedReport(name, tuple(fitting), skipped)


def to_memory_format(model: "nn.Module", device: "torch.device | str") -> "nn.Module":
    """Bring a model's weights, in place, into the memory order that its images have.

    Images come channels-last, in which convolutions and pools are faster: measured on one core at
    batch 256, a whole step 1.7 to 2 times for BabyCNN, 1.5 times for TinyCNN.
    """
    import torch

    if torch.device(device).type == "mps":
        # Its kernels know one order only, and copy.
        return model
    converted: nn.Module = model.to(memory_format=torch.channels_last)
    return converted


def _laid_out(name: str) -> "nn.Module":
    """A classifier whose parameters' names and shapes are needed only, where possible."""
    import torch

    if ":" not in name:
        try:
            # On the meta device nothing is allocated or drawn.
            with torch.device("meta"):
                return build_model(name, _CHECK_CLASSES)
        except NotImplementedError:
            # RegNets compute their widths with tensors, which then have no values. A user's
            # function may do so, too, and fail in any other way.
            pass
    return build_model(name, _CHECK_CLASSES)


def _shape(tensor: "torch.Tensor") -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _build_own(name: str, num_classes: int) -> "nn.Module":
    function = import_own(
        "classifier",
        name,
        "a function or class that takes num_classes and returns a torch.nn.Module",
    )
    import torch
    from torch import nn

    where = f"classifier = {name!r}"
    try:
        model = function(num_classes)
    except Exception as error:
        raise InputError(
            f"{where}: called with num_classes = {num_classes} it raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{where}: it must return a torch.nn.Module, not {type(model).__name__} "
            f"(called with num_classes = {num_classes})"
        )
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            logits = model.eval()(torch.zeros(2, 3, 32, 32))
    except Exception as error:
        raise InputError(
            f"{where}: the model must take images of shape (batch, 3, 32, 32), but fails on them: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, num_classes):
        found = (
            f"shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else type(logits).__name__
        )
        raise InputError(
            f"{where}: for 2 images and num_classes = {num_classes} the model must return a tensor "
            f"of shape (2, {num_classes}), but returns {found}"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{where}: the model has no parameters to train")
    return model.train()
