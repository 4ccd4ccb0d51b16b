"""The moving average against its formula, written out here, and against torch's own."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainables.errors import InputError
from trainables.weight_average import WeightAverage


def moved(model: nn.Module, step: int) -> None:
    draws = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws))
        model(torch.randn(4, 3, 6, 6, generator=draws))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_follows_the_formula(decay: float) -> None:
    model = net()
    average = WeightAverage(model, decay)
    expected = {name: tensor.clone().double() for name, tensor in model.state_dict().items()}
    for step in range(60):
        moved(model, step)
        average.update(step)
        n = step + 1
        d = min(decay, (1 + n) / (10 + n))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = d * expected[name] + (1 - d) * tensor.double()
            else:
                expected[name] = tensor.clone().double()
    found = average.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert int(found["1.num_batches_tracked"]) == 60


def test_past_its_beginning_it_is_torchs() -> None:
    model, decay, late = net(), 0.9, 1000
    average = WeightAverage(model, decay)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    torchs.update_parameters(model)
    for step in range(20):
        moved(model, step)
        average.update(late + step)
        torchs.update_parameters(model)
    for name, tensor in torchs.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(average.state_dict()[name], tensor)


def test_it_goes_on_from_its_state_to_the_bit_and_trains_nothing() -> None:
    model = net()
    whole = WeightAverage(model, 0.99)
    for step in range(5):
        moved(model, step)
        whole.update(step)
    other = WeightAverage(model, 0.99)
    other.model.load_state_dict(whole.state_dict())
    moved(model, 5)
    whole.update(5)
    other.update(5)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    assert not any(p.requires_grad for p in whole.model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_a_model_that_cant_be_copied_is_refused() -> None:
    model = net()
    model.lock = (n for n in range(3))  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"--ema.*can't be copied"):
        WeightAverage(model, 0.9)


def test_weights_that_layers_share_are_averaged_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight

    model = Tied()
    average = WeightAverage(model, 0.5)
    before = model.first.weight.detach().clone()
    with torch.no_grad():
        model.first.weight.add_(1.0)
    late = 1000
    average.update(late)
    found = average.state_dict()
    for name in ("first.weight", "second.weight"):
        torch.testing.assert_close(found[name], before + 0.5)
