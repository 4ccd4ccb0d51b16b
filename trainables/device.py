"""Which device a run uses, and how torch is set up on it.

torch is imported inside the functions: a run on the CPU is checked without it.
"""

import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.config import Precision
from trainables.errors import InputError

if TYPE_CHECKING:
    import torch

_DEVICE = re.compile(r"cpu|cuda(?::(\d+))?|mps|auto")


@dataclass(frozen=True)
class GpuOption:
    """The device that ``--gpu`` means here, and what to tell the user if it is not as asked."""

    device: str
    note: str | None = None


def resolve_device(text: str, *, elsewhere: bool = False) -> str:
    """The device that ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``auto`` means on this machine.

    ``auto`` is a GPU if there is one, else MPS, else the CPU.

    Args:
        elsewhere: runs are trained on other machines; whether those have GPUs is not known here.
    """
    match = _DEVICE.fullmatch(text)
    if match is None:
        raise InputError(f"device = {text!r}: allowed: cpu, cuda, cuda:N, mps, auto")
    if text == "cpu" or (elsewhere and text.startswith("cuda")):
        return text
    gpus = _gpu_count()
    if text == "auto":
        return "cuda" if gpus else "mps" if _has_mps() else "cpu"
    if text == "mps":
        if not _has_mps():
            raise InputError("device = 'mps': torch has no MPS here; use --device cpu or auto")
        return text
    if not gpus:
        raise InputError(
            f"device = {text!r}: there is no GPU that torch can use {_why_no_gpu()}; "
            "use --device cpu or auto"
        )
    if match[1] is not None and int(match[1]) >= gpus:
        raise InputError(f"device = {text!r}: this machine has {_gpu_names(gpus)}")
    return text


def parse_gpu_option(text: str) -> GpuOption:
    """The device that ``--gpu`` asks for: a number, ``cpu``, ``mps`` or ``auto``.

    Where there is no GPU at all, a number falls back to MPS or the CPU, with a note to be shown.
    """
    wanted = text.strip().lower()
    if wanted == "cpu":
        return GpuOption("cpu")
    if wanted == "mps":
        if not _has_mps():
            raise InputError(f"--gpu = {text}: torch has no MPS here; use cpu or auto")
        return GpuOption("mps")
    if re.fullmatch(r"\d+(\s*,\s*\d+)+", wanted):
        raise InputError(
            f"--gpu = {text}: one run uses one GPU; to use several, start one run for each "
            "(--gpu 0, --gpu 1, …), or let noise-study run or noise-study experiment "
            "spread runs over them with --gpus-per-trial 1"
        )
    if wanted != "auto" and not wanted.isdecimal():
        raise InputError(f"--gpu = {text}: allowed: the number of a GPU, e.g. 0; cpu; mps; auto")
    gpus = _gpu_count()
    if not gpus:
        device = "mps" if _has_mps() else "cpu"
        used = "MPS" if device == "mps" else "the CPU"
        return GpuOption(device, f"--gpu {text}: no CUDA GPU here {_why_no_gpu()}; using {used}")
    if wanted == "auto":
        return GpuOption("cuda")
    if int(wanted) >= gpus:
        raise InputError(f"--gpu = {text}: this machine has {_gpu_names(gpus)}")
    return GpuOption(f"cuda:{int(wanted)}")


def set_up_torch(threads: int, device: str, precision: Precision, deterministic: bool) -> None:
    """Set everything in torch that decides a run's numbers; call it before the first tensor.

    Threads are CPU threads. On a GPU ``deterministic`` chooses kernels that give the same sums each
    time. An operation that has none, as some models of users and of torchvision contain, warns with
    its name and runs on, without that promise. fp32 there means whole fp32, not TF32.
    """
    import torch

    torch.set_num_threads(threads)
    on_gpu = device.startswith("cuda")
    fixed = deterministic and on_gpu
    if fixed:
        # cuBLAS reads it when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # A safeguard against reading empty tensors: it fills each of them, which costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Also switched off: one process may train on a GPU first and on the CPU afterwards. The call
    # imports torch's compiler, 100 MB of it, so a run on the CPU alone goes without.
    if fixed or torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(fixed, warn_only=True)
    torch.backends.cudnn.deterministic = fixed
    torch.backends.cudnn.benchmark = on_gpu and not deterministic
    torch.backends.cuda.matmul.allow_tf32 = precision == "bf16"
    torch.backends.cudnn.allow_tf32 = precision == "bf16"


def autocast(precision: Precision, device: "torch.device | str") -> AbstractContextManager[None]:
    """The context in which a model runs: bf16 autocast, or nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    import torch

    context: AbstractContextManager[None] = torch.autocast(
        torch.device(device).type, dtype=torch.bfloat16
    )
    return context


def _gpu_count() -> int:
    import torch

    # device_count alone counts GPUs that the driver shows but torch can't use.
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


def _why_no_gpu() -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return "(torch is built without CUDA)"
    return f"(torch is built for CUDA {torch.version.cuda}, but finds no GPU with a driver)"


def _gpu_names(count: int) -> str:
    return "one GPU, number 0" if count == 1 else f"{count} GPUs, numbers 0 to {count - 1}"
