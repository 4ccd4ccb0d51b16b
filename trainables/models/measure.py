"""How large a classifier is, in numbers."""

from torch import Tensor, nn, no_grad, zeros

from trainables.data_config import ImageShape
from trainables.memory import ModelSize

_IMAGES = 2
"""More than one: a model may lose the axis of a single one."""


def size_of(model: nn.Module, shape: ImageShape) -> ModelSize:
    """A model's size; whatever it raises if it can't take images of that shape.

    It is in eval mode afterwards. On the meta device nothing is computed but shapes.
    """
    given, trained = 0, False

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal given, trained
        # Of frozen layers at the beginning nothing is kept.
        trained = trained or any(p.requires_grad for p in module.parameters())
        if trained and isinstance(output, Tensor):
            given += output.numel()

    leaves = [module for module in model.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    device = next((p.device for p in model.parameters()), None)
    images = zeros(_IMAGES, shape.channels, shape.size, shape.size, device=device)
    try:
        with no_grad():
            model.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
    return ModelSize(sum(p.numel() for p in model.parameters()), given // _IMAGES)
