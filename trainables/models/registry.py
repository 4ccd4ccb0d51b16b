"""The registry of classifiers: normalised images (B, channels, size, size) in, logits out.

Importing this file, and checking one of the built-in names for 32×32 RGB, imports neither torch
nor torchvision, so that a mistake in a configuration is answered at once.
"""

import hashlib
import inspect
from collections.abc import Sequence
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from trainables.code_identity import TIMM, is_own
from trainables.config import TrainConfig
from trainables.data_config import FIRST_SHAPE, ImageShape
from trainables.errors import FOREIGN, InputError, failures_named
from trainables.memory import ModelSize
from trainables.own_import import check_unchanged, import_own

if TYPE_CHECKING:
    import torch
    from torch import nn

BUILT_IN = ("BabyCNN", "TinyCNN", "SimpleCNN", "DeepMLP", "PlainCNN", "resnet18")
"""The classifiers of this project, and the fourth of the method's, which are checked without torch.
Further ones are torchvision's, timm's, and the user's own."""

_CHECK_CLASSES = 10

_OWN_REMEDY = (
    ". A function with parameters image_size and in_channels is told what --image-size and "
    "--channels say"
)


def registered_networks() -> "dict[str, type[nn.Module]]":
    """The networks of this project by name."""
    from torch import nn

    from trainables.models import networks

    return {
        name: kind
        for name, kind in vars(networks).items()
        if not name.startswith("_") and isinstance(kind, type) and issubclass(kind, nn.Module)
    }


def check_classifier(name: str, shape: ImageShape = FIRST_SHAPE) -> ModelSize | None:
    """Refuse a classifier that can't be built, or can't take images of ``shape``; its size.

    A user's own is built, for 10 classes. That those here take 32×32 RGB is known: they are not
    asked, and None is returned.
    """
    if name in BUILT_IN and shape == FIRST_SHAPE:
        return None
    model = None
    if name.startswith(TIMM):
        from trainables.models.timm_models import check_timm_name

        # Which sizes one takes is known to nobody: all are asked.
        check_timm_name(name)
        return _asked(name, shape, None)
    if is_own(name):
        with failures_named(f"classifier = {name!r}: it"):
            model = _tried_own(name, shape)
    else:
        networks = registered_networks()
        if name not in networks:
            from trainables.models.torchvision_models import check_torchvision_name

            check_torchvision_name(name, networks, shape.size)
    return None if shape == FIRST_SHAPE else _asked(name, shape, model)


def _asked(name: str, shape: ImageShape, model: "nn.Module | None") -> ModelSize:
    try:
        return _size(name, shape, model)
    # What torch and torchvision raise of shapes that do not fit: asserts, and their own kinds.
    except FOREIGN as error:
        raise InputError(
            f"data.image_size (--image-size) = {shape.size}, data.channels (--channels) = "
            f"{shape.channels}: classifier {name!r} can't take such images "
            f"({' '.join(str(error).split())}); give another size or another classifier"
        ) from None


def _size(name: str, shape: ImageShape, model: "nn.Module | None") -> ModelSize:
    from trainables.models.measure import size_of

    try:
        return size_of(laid_out(name, shape) if model is None else model, shape)
    except Exception:
        if not name.startswith(TIMM):
            raise
    # What goes by the values of its tensors fails without any.
    return size_of(build_model(name, _CHECK_CLASSES, shape), shape)


def build_model(name: str, num_classes: int, shape: ImageShape = FIRST_SHAPE) -> "nn.Module":
    """A freshly initialised classifier, in train mode, on torch's default device.

    The initial weights are drawn from torch's global generator.

    Args:
        name: a class of ``networks.py``, a torchvision classifier, timm's as ``timm:NAME``, or a
            user's own as ``package.module:function``, called with ``num_classes`` (see ``_told``).
        shape: of the images that it is to take.
    """
    if is_own(name):
        return _build_own(name, num_classes, shape)
    if name.startswith(TIMM):
        from trainables.models.timm_models import build_timm

        return build_timm(name, num_classes, shape)
    networks = registered_networks()
    if name in networks:
        return networks[name](num_classes, shape)
    from trainables.models.torchvision_models import build_torchvision, check_torchvision_name

    check_torchvision_name(name, networks, shape.size)
    return build_torchvision(name, num_classes, shape)


def build_configured(config: TrainConfig, num_classes: int) -> "nn.Module":
    """A run's classifier; code of one's own must be what it was when it was recorded."""
    model = config.model
    if is_own(model.classifier):
        check_unchanged("classifier", model.classifier, model.code)
    return build_model(model.classifier, num_classes, config.data.shape)


def check_layers(name: str, layers: Sequence[str], shape: ImageShape = FIRST_SHAPE) -> None:
    """Check that each fragment is in the name of a parameter of the classifier."""
    if not layers:
        return
    from trainables.noise.perturbations import select_parameters

    select_parameters(laid_out(name, shape).named_parameters(), layers)


def check_slices(name: str, slice: int, shape: ImageShape = FIRST_SHAPE) -> None:
    """Refuse slices for a classifier that learns other things from a part of a batch.

    BatchNorm does, and whatever keeps statistics of its inputs. A module of one's own says so by an
    attribute ``whole_batches = True``.
    """
    if not slice:
        return
    from torch import nn

    of_batches = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    for part, module in laid_out(name, shape).named_modules():
        if isinstance(module, of_batches) or any(
            getattr(module, says, False) is True
            for says in ("track_running_stats", "whole_batches")
        ):
            where = f" in {part}" if part else ""
            raise InputError(
                f"slice (--slice) = {slice}: classifier {name!r} needs whole batches: what "
                f"{type(module).__name__}{where} gives for an image depends on the others of its "
                "batch; give 0, or another classifier"
            )


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


def laid_out(name: str, shape: ImageShape, classes: int = _CHECK_CLASSES) -> "nn.Module":
    """A classifier whose parameters' names and shapes are needed only, where possible."""
    import torch

    if not is_own(name):
        # RegNets compute their widths with tensors, which then have no values. So may a user's
        # function, and timm's, and fail in any other way.
        failures = Exception if name.startswith(TIMM) else NotImplementedError
        try:
            # On the meta device nothing is allocated or drawn.
            with torch.device("meta"):
                return build_model(name, classes, shape)
        except InputError:
            raise
        except failures:
            pass
    return build_model(name, classes, shape)


def _told(function: Any, shape: ImageShape) -> dict[str, int]:
    """What a user's function is told of the images: the parameters by these names that it has.

    Of 32×32 RGB only those without a default, as functions were called before there was a choice.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # Some classes in C say nothing of theirs.
        return {}
    named = {"image_size": shape.size, "in_channels": shape.channels}
    return {
        key: value
        for key, value in named.items()
        if key in parameters
        and parameters[key].kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        and (shape != FIRST_SHAPE or parameters[key].default is Parameter.empty)
    }


def _build_own(name: str, num_classes: int, shape: ImageShape) -> "nn.Module":
    function = import_own(
        "classifier",
        name,
        "a function or class that takes num_classes and returns a torch.nn.Module",
    )
    told = _told(function, shape)
    called = ", ".join(f"{key} = {value}" for key, value in told.items())
    called = f"num_classes = {num_classes}" + (f", {called}" if called else "")
    import torch
    from torch import nn

    where = f"classifier = {name!r}"
    try:
        model = function(num_classes, **told)
    except FOREIGN as error:
        raise InputError(
            f"{where}: called with {called} it raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{where}: it must return a torch.nn.Module, not {type(model).__name__} "
            f"(called with {called})"
        )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        images = torch.zeros(2, shape.channels, shape.size, shape.size)
        _own_logits(where, model.eval(), images, num_classes)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{where}: the model has no parameters to train")
    return model.train()


def _own_logits(
    where: str, model: "nn.Module", images: "torch.Tensor", num_classes: int
) -> "torch.Tensor":
    """What one's own model gives for two images, refused if it is no logits."""
    import torch

    sides, mode = tuple(images.shape[1:]), " in train mode" if model.training else ""
    try:
        logits: Any = model(images)
    except FOREIGN as error:
        first = (FIRST_SHAPE.channels, FIRST_SHAPE.size, FIRST_SHAPE.size)
        remedy = "" if sides == first else _OWN_REMEDY
        raise InputError(
            f"{where}: the model must take images of shape (batch, {str(sides)[1:-1]}), but fails "
            f"on them{mode}: {type(error).__name__}: {error}{remedy}"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, num_classes):
        found = (
            f"shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else type(logits).__name__
        )
        raise InputError(
            f"{where}: for 2 images and num_classes = {num_classes} the model must return a tensor "
            f"of shape (2, {num_classes}), but returns {found}{mode}"
        )
    return logits


def _tried_own(name: str, shape: ImageShape) -> "nn.Module":
    """One's own model, after it was made twice alike, and has made a step's passes."""
    import torch

    where = f"classifier = {name!r}"
    images = torch.rand(
        2, shape.channels, shape.size, shape.size, generator=torch.Generator().manual_seed(0)
    )
    made = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            torch.default_generator.manual_seed(0)
            model = _build_own(name, _CHECK_CLASSES, shape)
            weights = _hash_of(model)
            with torch.no_grad():
                logits = _own_logits(where, model.eval(), images, _CHECK_CLASSES)
            made.append((weights, logits))
        (first, logits), (second, again) = made
        if first != second:
            raise InputError(
                f"{where}: made twice with one seed it has other weights or layers; draw them from "
                "torch's global generator, which is seeded, or runs can't be paired or resumed"
            )
        if not torch.equal(logits, again):
            raise InputError(
                f"{where}: evaluated twice on the same images it returns other logits; they must "
                "follow from images and weights alone"
            )
        logits = _own_logits(where, model.train(), images, _CHECK_CLASSES)
        if not logits.requires_grad:
            raise InputError(f"{where}: in train mode its logits have no gradient (detached?)")
        torch.nn.functional.cross_entropy(logits, torch.arange(2)).backward()
        model.zero_grad()
    return model


def _hash_of(model: "nn.Module") -> str:
    """Of all tensors, so that no second copy is kept."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
