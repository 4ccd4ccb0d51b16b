import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainables.device import GpuOption, autocast, parse_gpu_option, resolve_device, set_up_torch
from trainables.errors import InputError


@pytest.fixture
def machine(monkeypatch):
    """Pretend that torch finds a number of GPUs, and MPS or not."""

    def pretend(gpus=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    pretend()
    return pretend


@pytest.mark.parametrize(
    ("gpus", "mps", "text", "device"),
    [
        (0, False, "cpu", "cpu"),
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (0, True, "mps", "mps"),
        (1, True, "auto", "cuda"),
        (1, False, "cuda", "cuda"),
        (2, False, "cuda:1", "cuda:1"),
        (2, False, "cpu", "cpu"),
    ],
)
def test_devices_that_are_there(machine, gpus, mps, text, device):
    machine(gpus, mps)
    assert resolve_device(text) == device


def test_the_gpus_of_other_machines_are_theirs_to_know(machine):
    machine(0)
    for text in ("cuda", "cuda:3"):
        assert resolve_device(text, elsewhere=True) == text
    assert resolve_device("auto", elsewhere=True) == "cpu"
    with pytest.raises(InputError, match="allowed: cpu"):
        resolve_device("cuda:", elsewhere=True)


@pytest.mark.parametrize(
    ("gpus", "text", "message"),
    [
        (0, "cuda", "there is no GPU .*use --device cpu or auto"),
        (0, "cuda:0", "there is no GPU .*use --device cpu or auto"),
        (1, "cuda:1", "this machine has one GPU, number 0"),
        (3, "cuda:7", "this machine has 3 GPUs, numbers 0 to 2"),
        (0, "mps", "torch has no MPS here; use --device cpu or auto"),
        (1, "gpu", "allowed: cpu, cuda, cuda:N, mps, auto"),
        (1, "cuda:", "allowed: cpu"),
        (1, "cuda:-1", "allowed: cpu"),
    ],
)
def test_devices_that_are_not_there_are_refused(machine, gpus, text, message):
    machine(gpus)
    with pytest.raises(InputError, match=message) as info:
        resolve_device(text)
    assert str(info.value).startswith(f"device = {text!r}: ")


def test_the_cpu_is_resolved_without_torch():
    code = (
        "import sys\n"
        "from trainables.device import parse_gpu_option, resolve_device\n"
        "assert resolve_device('cpu') == parse_gpu_option('cpu').device == 'cpu'\n"
        "assert 'torch' not in sys.modules\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


@pytest.mark.parametrize(
    ("gpus", "text", "device"),
    [(1, "0", "cuda:0"), (3, " 2 ", "cuda:2"), (1, "auto", "cuda"), (1, "cpu", "cpu")],
)
def test_gpu_option(machine, gpus, text, device):
    machine(gpus)
    assert parse_gpu_option(text) == GpuOption(device)


@pytest.mark.parametrize("text", ["0", "1", "auto"])
def test_gpu_option_says_aloud_that_there_is_none(machine, text):
    option = parse_gpu_option(text)
    assert option.device == "cpu"
    assert f"--gpu {text}" in option.note
    assert "using the CPU" in option.note
    machine(mps=True)
    option = parse_gpu_option(text)
    assert option.device == "mps"
    assert "using MPS" in option.note


def test_gpu_option_takes_mps_where_it_is(machine):
    with pytest.raises(InputError, match="--gpu = mps: torch has no MPS here; use cpu or auto"):
        parse_gpu_option("mps")
    machine(mps=True)
    assert parse_gpu_option("MPS") == GpuOption("mps")


def test_gpu_option_without_a_gpu_takes_the_cpu_silently():
    assert parse_gpu_option("cpu") == GpuOption("cpu")


@pytest.mark.parametrize(
    ("gpus", "text", "message"),
    [
        (4, "0,1,2", "one run uses one GPU.*--gpu 0.*--gpus-per-trial"),
        (0, "0, 1", "one run uses one GPU"),
        (2, "2", "this machine has 2 GPUs, numbers 0 to 1"),
        (1, "-1", "allowed: the number of a GPU"),
        (1, "", "allowed: the number of a GPU"),
        (1, "first", "allowed: the number of a GPU"),
        (1, "0,", "allowed: the number of a GPU"),
        (1, "²", "allowed: the number of a GPU"),
    ],
)
def test_gpu_option_mistakes(machine, gpus, text, message):
    machine(gpus)
    with pytest.raises(InputError, match=message) as info:
        parse_gpu_option(text)
    assert str(info.value).startswith(f"--gpu = {text}: ")


@pytest.fixture
def torch_state(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    fill = torch.utils.deterministic.fill_uninitialized_memory
    threads = torch.get_num_threads()
    yield
    set_up_torch(threads, "cpu", "fp32", deterministic=True)
    torch.utils.deterministic.fill_uninitialized_memory = fill


@pytest.mark.usefixtures("torch_state")
def test_set_up_on_the_cpu():
    set_up_torch(2, "cpu", "fp32", deterministic=True)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.usefixtures("torch_state")
def test_set_up_on_a_gpu_and_back():
    set_up_torch(1, "cuda:0", "bf16", deterministic=True)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.backends.cuda.matmul.allow_tf32
    set_up_torch(1, "cuda", "fp32", deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    set_up_torch(1, "cpu", "fp32", deterministic=True)
    assert not torch.backends.cudnn.benchmark


def test_autocast():
    layer, images = torch.nn.Linear(4, 2), torch.zeros(1, 4)
    with autocast("fp32", "cpu"):
        assert layer(images).dtype == torch.float32
    with autocast("bf16", torch.device("cpu")):
        assert layer(images).dtype == torch.bfloat16
    assert layer(images).dtype == torch.float32
