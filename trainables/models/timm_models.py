"""timm's classifiers by name, ``timm:NAME`` (extra ``timm``), freshly initialised, as they are."""

from types import ModuleType
from typing import Any

from torch import nn

from trainables.code_identity import TIMM
from trainables.data_config import ImageShape
from trainables.errors import InputError, nearest


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"classifier = '{TIMM}…': timm can't be imported ({error}); "
            "pip install 'noise-study[timm]', on every node of a cluster"
        ) from None
    module: ModuleType = timm
    return module


def check_timm_name(name: str) -> None:
    """Refuse a name that timm does not have, or a machine without timm."""
    names = _timm().list_models()
    short = name.removeprefix(TIMM)
    if short not in names:
        # There are more than a thousand: the nearest few say it.
        near = nearest(short, _alike(short, names))
        raise InputError(f"classifier = {name!r}: timm has no such model; {near}")


def build_timm(name: str, num_classes: int, shape: ImageShape) -> nn.Module:
    """A model of timm's for images of ``shape``; those made for one size are made for that one."""
    timm, short = _timm(), name.removeprefix(TIMM)
    check_timm_name(name)
    config = timm.get_pretrained_cfg(short)
    sized = {"img_size": shape.size} if config is not None and config.fixed_input_size else {}
    model: Any = timm.create_model(
        short, pretrained=False, num_classes=num_classes, in_chans=shape.channels, **sized
    )
    assert isinstance(model, nn.Module)
    return model


def _alike(name: str, names: list[str]) -> list[str]:
    """Names that begin as this one does, the longer the better; at most ten."""
    for length in range(len(name), 0, -1):
        found = [each for each in names if each.startswith(name[:length])]
        if found:
            return found[:10]
    return names[:10]
