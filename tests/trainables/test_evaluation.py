import math

import numpy as np
import pytest
import torch
from torch import nn

import trainables.evaluation
from trainables.evaluation import evaluate, sharpness

CLASSES = 4


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    """Reads a few pixels; BatchNorm and dropout tell train mode from eval mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, images):
        return self.fc(self.drop(self.norm(images)[:, :, :2, :2].flatten(1)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = Net()
    nn.init.normal_(net.norm.weight)
    return net


@pytest.fixture
def data():
    random = torch.Generator().manual_seed(1)
    images = torch.randn(53, 3, 32, 32, generator=random)
    # Class 2 has no sample.
    labels = torch.tensor([0, 1, 3])[torch.randint(0, 3, (53,), generator=random)]
    return images, labels


def batches(data, size=16):
    images, labels = data
    return list(zip(images.split(size), labels.split(size), strict=True))


def reference(model, data):
    """Losses and hits of each sample, by numpy in fp64."""
    net = Net()
    net.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = net.eval()(data[0]).numpy().astype(np.float64)
    labels = data[1].numpy()
    log_sum = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    return log_sum - logits[np.arange(len(labels)), labels], logits.argmax(1) == labels, labels


@pytest.mark.parametrize("first", [16_384, 5])
def test_means_are_over_samples_whatever_the_batches(model, data, first, monkeypatch):
    monkeypatch.setattr(trainables.evaluation, "_FIRST_SAMPLES", first)
    losses, hits, labels = reference(model, data)
    for size in (53, 16, 1):
        result = evaluate(model, batches(data, size), CLASSES)
        assert result.total == 53
        assert result.correct == hits.sum()
        assert result.accuracy == result.correct / 53
        assert result.loss == pytest.approx(losses.mean(), rel=1e-5)
        for index in range(CLASSES):
            own = labels == index
            if index == 2:
                assert result.per_class_accuracy[index] is None
                assert result.per_class_loss[index] is None
            else:
                assert result.per_class_accuracy[index] == pytest.approx(hits[own].mean())
                assert result.per_class_loss[index] == pytest.approx(losses[own].mean(), rel=1e-5)


def test_without_classes_the_rest_is_the_same_bit_for_bit(model, data):
    whole = evaluate(model, batches(data), CLASSES)
    quick = evaluate(model, batches(data), CLASSES, per_class=False)
    assert quick.per_class_accuracy == quick.per_class_loss == ()
    assert (quick.loss, quick.accuracy) == (whole.loss, whole.accuracy)
    assert (quick.correct, quick.total) == (whole.correct, whole.total)


def test_evaluation_leaves_the_model_as_it_was(model, data):
    model.norm.eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    modes = []

    def watched():
        for batch in batches(data):
            modes.append((model.training, model.drop.training))
            yield batch

    evaluate(model, watched(), CLASSES)
    assert set(modes) == {(False, False)}
    assert (model.training, model.drop.training, model.norm.training) == (True, True, False)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert model.fc.weight.grad is None
    model(data[0]).sum().backward()


def test_a_model_in_eval_mode_stays_in_it(model, data):
    model.eval()
    evaluate(model, batches(data), CLASSES)
    assert not any(module.training for module in model.modules())


def test_modes_return_after_an_error(model, data):
    def failing():
        yield data
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        evaluate(model, failing(), CLASSES)
    assert model.training


def test_nothing_to_evaluate_is_an_error(model):
    with pytest.raises(ValueError, match="no images"):
        evaluate(model, [], CLASSES)


def test_a_diverged_model_gives_a_loss_that_is_not_finite(model, data):
    with torch.no_grad():
        model.fc.weight.fill_(float("nan"))
    result = evaluate(model, batches(data), CLASSES)
    assert math.isnan(result.loss)
    assert 0 <= result.accuracy <= 1


def test_bf16_is_near_fp32_and_not_the_same(model, data):
    whole = evaluate(model, batches(data), CLASSES)
    half = evaluate(model, batches(data), CLASSES, precision="bf16")
    assert half.loss == pytest.approx(whole.loss, rel=0.02)
    assert half.loss != whole.loss


# Sharpness


def measure(model, data, **settings):
    settings = {"epsilon": 0.5, "draws": 3, "seed": 7, **settings}
    return sharpness(model, lambda: batches(data), CLASSES, **settings)


@pytest.fixture
def learnt(model, data):
    """Samples that the model is right about: a step away from its weights costs accuracy."""
    with torch.no_grad():
        labels = model.eval()(data[0]).argmax(1)
    assert len(labels.unique()) > 2
    return data[0], labels


def test_sharpness_is_the_mean_drop_and_restores_every_bit(model, learnt):
    with torch.no_grad():
        model.fc.weight[0, 0] = -0.0
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    result = measure(model, learnt, epsilon=1.0, draws=5)
    assert (result.epsilon, result.draws) == (1.0, 5)
    assert len(result.drops) == 5
    assert result.mean_drop == pytest.approx(np.mean(result.drops))
    assert result.mean_drop > 0.1
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])
        assert torch.equal(tensor.signbit(), before[key].signbit())


def test_sharpness_grows_with_the_steps(model, learnt):
    drops = [measure(model, learnt, epsilon=e, draws=10).mean_drop for e in (0.01, 0.3, 3.0)]
    assert drops[0] < 0.05
    assert drops[0] < drops[1] < drops[2]


def test_the_steps_have_the_stated_size():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))
    with torch.no_grad():
        net[1].weight.mul_(100)
    clean = net[1].weight.detach().clone()
    steps = []
    # The batches are asked for within each step.
    sample = torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64)

    def spy():
        steps.append(net[1].weight.detach() - clean)
        return [sample]

    sharpness(net, spy, 8, epsilon=0.3, draws=2, seed=1)
    assert not steps[0].any()
    for step in steps[1:]:
        rms = float(clean.norm()) / math.sqrt(clean.numel())
        # Of 24,576 elements: the standard error of the deviation is 0.5 %.
        assert float(step.std()) == pytest.approx(0.3 * rms, rel=0.02)
        assert abs(float(step.mean())) < 0.3 * rms * 0.03
    assert not torch.equal(steps[1], steps[2])


def test_sharpness_follows_from_the_seed_and_leaves_the_global_generator_alone(model, learnt):
    torch.manual_seed(3)
    first = measure(model, learnt)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert measure(model, learnt) == first
    assert measure(model, learnt, seed=8).drops != first.drops


def test_no_step_costs_nothing(model, data):
    result = measure(model, data, epsilon=0.0, draws=1)
    assert result.mean_drop == 0


def test_weights_return_after_an_error(model, data):
    before = model.fc.weight.detach().clone()
    calls = []

    def failing():
        calls.append(1)
        if len(calls) == 2:
            assert not torch.equal(model.fc.weight, before)
            raise KeyboardInterrupt
        return batches(data)

    with pytest.raises(KeyboardInterrupt):
        sharpness(model, failing, CLASSES, epsilon=0.1, draws=2, seed=0)
    assert torch.equal(model.fc.weight, before)


@pytest.mark.parametrize(
    "settings", [{"epsilon": -0.1}, {"epsilon": math.nan}, {"epsilon": math.inf}, {"draws": 0}]
)
def test_bounds_are_checked(model, data, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        measure(model, data, **settings)
