"""The perturbations: their statistics, exact restoration, selection of layers, no waiting."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.errors import InputError
from trainables.noise.perturbations import (
    InputNoise,
    ParameterNoise,
    global_norm,
    perturb_labels,
    select_parameters,
    tensor_norms,
)

DISTRIBUTIONS = ["gaussian", "uniform"]
SCALINGS = ["absolute", "relative"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 4, 3, padding=1)
        self.fc1 = nn.Linear(4 * 64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc1(torch.relu(self.conv2(x)).flatten(1))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def parameters(*values: torch.Tensor) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros_like(value)) for value in values]
    for parameter, value in zip(made, values, strict=True):
        parameter.grad = value.clone()
    return made


def backward(model: nn.Module, batch: int = 6) -> None:
    g = seeded(9)
    x = torch.randn(batch, 3, 8, 8, generator=g)
    y = torch.randint(5, (batch,), generator=g)
    nn.functional.cross_entropy(model(x), y).backward()


# --- statistics --------------------------------------------------------------------------------


def check_distribution(sample: torch.Tensor, sigma: float, distribution: str) -> None:
    """Mean 0, variance σ², and the shape that tells the two distributions apart.

    The bounds are five standard errors of n draws: σ/√n for the mean; for the variance
    σ²·√((κ − 1)/n) with kurtosis κ = 3 (Gaussian) or 9/5 (uniform).
    """
    sample, n = sample.double().flatten(), sample.numel()
    kurtosis = 3.0 if distribution == "gaussian" else 1.8
    assert abs(sample.mean()) < 5 * sigma / math.sqrt(n)
    assert abs(sample.var() / sigma**2 - 1) < 5 * math.sqrt((kurtosis - 1) / n)
    assert (sample**4).mean() / sigma**4 == pytest.approx(kurtosis, rel=0.05)
    bound = math.sqrt(3) * sigma
    if distribution == "uniform":
        assert sample.abs().max() <= bound * (1 + 1e-6)
        assert sample.max() > 0.999 * bound
        assert sample.min() < -0.999 * bound
    else:
        assert sample.abs().max() > 3.5 * sigma  # 4.7e-4 of the draws lie beyond


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_absolute_gradient_noise_has_the_same_sigma_everywhere(distribution):
    large, small = torch.full((300, 300), 7.0), torch.full((40_000,), 1e-3)
    made = parameters(large, small)
    noise = ParameterNoise(made, distribution=distribution, scaling="absolute")
    noise.perturb_gradients(0.5, seeded())
    check_distribution(made[0].grad - large, 0.5, distribution)
    check_distribution(made[1].grad - small, 0.5, distribution)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_relative_gradient_noise_scales_with_each_tensors_rms(distribution):
    # RMS of values ±a is a; of a normal sample with σ = 3, measured here.
    signs = torch.where(torch.rand(300, 300, generator=seeded(1)) < 0.5, -2.0, 2.0)
    normal = 3.0 * torch.randn(40_000, generator=seeded(2))
    made = parameters(signs, normal, torch.zeros(100))
    noise = ParameterNoise(made, distribution=distribution, scaling="relative")
    noise.perturb_gradients(0.25, seeded())
    check_distribution(made[0].grad - signs, 0.25 * 2.0, distribution)
    rms = normal.square().mean().sqrt().item()
    check_distribution(made[1].grad - normal, 0.25 * rms, distribution)
    assert torch.equal(made[2].grad, torch.zeros(100))  # nothing to be relative to


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_gradient_noise_by_steps_has_one_sigma_from_the_weights_at_the_start(distribution):
    # 90,000 weights of 2, 60,000 of 0: their RMS is √2.4. A tensor of zeros gets its share.
    large, zeros = nn.Parameter(torch.full((300, 300), 2.0)), nn.Parameter(torch.zeros(60_000))
    noise = ParameterNoise([large, zeros], distribution=distribution, scaling="step", rate=0.25)
    with torch.no_grad():
        large.mul_(100)  # what becomes of the weights plays no part
    large.grad, zeros.grad = torch.full_like(large, 7.0), torch.full_like(zeros, 1e-3)
    noise.perturb_gradients(0.1, seeded())
    sigma = 0.1 * math.sqrt(2.4) / 0.25
    check_distribution(large.grad - 7.0, sigma, distribution)
    check_distribution(zeros.grad - 1e-3, sigma, distribution)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("scaling", [*SCALINGS, "step"])
def test_weight_and_input_noise_follow_the_same_law(distribution, scaling):
    clean = 2.0 * torch.randn(16, 3, 40, 40, generator=seeded(3))
    rms = 1.0 if scaling == "absolute" else clean.square().mean().sqrt().item()
    weight = nn.Parameter(clean.clone())
    ParameterNoise([weight], distribution=distribution, scaling=scaling, rate=0.1).perturb_weights(
        0.5, seeded()
    )
    check_distribution(weight.detach() - clean, 0.5 * rms, distribution)
    batch = clean.clone()
    noisy, norms = InputNoise(distribution=distribution, scaling=scaling).perturb(
        batch, 0.5, seeded()
    )
    check_distribution(noisy - clean, 0.5 * rms, distribution)
    assert norms is None
    assert torch.equal(batch, clean)


def test_tensors_and_steps_get_independent_noise():
    made = parameters(torch.zeros(50_000), torch.zeros(50_000))
    noise = ParameterNoise(made, scaling="absolute")
    generator = seeded()
    noise.perturb_gradients(1.0, generator)
    first = [p.grad.clone() for p in made]
    for p in made:
        p.grad.zero_()
    noise.perturb_gradients(1.0, generator)
    samples = torch.stack([*first, *(p.grad for p in made)])
    correlation = torch.corrcoef(samples) - torch.eye(4)
    assert correlation.abs().max() < 5 / math.sqrt(50_000)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_label_noise_replaces_with_probability_at_most_a_half(sigma):
    n, classes, p = 100_000, 4, min(sigma, 0.5)
    labels = torch.full((n,), 2)
    noisy = perturb_labels(labels, sigma, classes, seeded())
    assert torch.equal(labels, torch.full((n,), 2))
    assert noisy.dtype == torch.int64
    # The random class may be the true one: each other class gets p/4, the true one 1 − 3p/4.
    counts = torch.bincount(noisy, minlength=classes) / n
    expected = torch.tensor([p / 4, p / 4, 1 - 3 * p / 4, p / 4])
    assert (counts - expected).abs().max() < 5 * math.sqrt(0.25 / n)


# --- reproducible, and nothing where nothing is asked for ------------------------------------


def test_noise_follows_from_its_generator_alone():
    def noisy(seed, scaling):
        model = net()
        backward(model)
        torch.manual_seed(123 + seed)  # torch's global stream must not matter
        ParameterNoise(model.parameters(), scaling=scaling).perturb_gradients(0.3, seeded(seed))
        return [p.grad for p in model.parameters()]

    for scaling in SCALINGS:
        assert all(map(torch.equal, noisy(1, scaling), noisy(1, scaling)))
        assert not any(map(torch.equal, noisy(1, scaling), noisy(2, scaling)))


def test_torchs_global_generator_is_left_alone():
    model = net()
    backward(model)
    before = torch.get_rng_state()
    noise = ParameterNoise(model.parameters())
    noise.perturb_gradients(0.3, seeded())
    noise.perturb_weights(0.3, seeded())
    InputNoise().perturb(torch.ones(4, 3, 8, 8), 0.3, seeded())
    perturb_labels(torch.zeros(8, dtype=torch.int64), 0.3, 5, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_no_magnitude_changes_nothing():
    model = net()
    backward(model)
    weights = [p.detach().clone() for p in model.parameters()]
    gradients = [p.grad.clone() for p in model.parameters()]
    noise, generator = ParameterNoise(model.parameters()), seeded()
    noise.perturb_gradients(0.0, generator)
    noise.perturb_weights(0.0, generator)
    assert all(map(torch.equal, model.parameters(), weights))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    batch, labels = torch.randn(4, 3, 8, 8), torch.arange(5)
    assert InputNoise().perturb(batch, 0.0, generator)[0] is batch
    assert perturb_labels(labels, 0.0, 5, generator) is labels


def test_parameters_without_a_gradient_are_left_alone_and_shift_nothing():
    full = parameters(torch.ones(100), torch.ones(50), torch.ones(30))
    some = parameters(torch.ones(100), torch.ones(50), torch.ones(30))
    some[1].grad = None
    ParameterNoise(full).perturb_gradients(0.5, seeded())
    norms = ParameterNoise(some).perturb_gradients(0.5, seeded(), norms=True)
    assert some[1].grad is None
    assert torch.equal(some[0].grad, full[0].grad)
    assert torch.equal(some[2].grad, full[2].grad)
    assert norms.before.shape == (2,)


def test_no_gradient_at_all_and_no_parameter_at_all():
    unused = [nn.Parameter(torch.ones(3))]
    assert ParameterNoise(unused).perturb_gradients(0.5, seeded()) is None
    assert unused[0].grad is None
    nothing = ParameterNoise([])
    with nothing.noisy_weights(0.5, seeded(), norms=True) as norms:
        assert torch.linalg.vector_norm(norms.before) == 0


# --- restoration -----------------------------------------------------------------------------


def bits(tensors) -> list[torch.Tensor]:
    """The tensors' bytes: NaNs and signed zeros compared as well."""
    return [t.detach().clone().contiguous().view(torch.int32) for t in tensors]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_weights_are_restored_bit_for_bit_after_every_step(distribution, scaling, memory_format):
    model = net().to(memory_format=memory_format)
    noise = ParameterNoise(model.parameters(), distribution=distribution, scaling=scaling)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = seeded()
    for _ in range(4):
        before = bits(model.parameters())
        with noise.noisy_weights(0.3, generator):
            during = bits(model.parameters())
            backward(model)
        # BatchNorm's weight and bias take part; bias and running mean start at exactly 0.
        changed = [not torch.equal(a, b) for a, b in zip(before, during, strict=True)]
        names = [name for name, _ in model.named_parameters()]
        assert all(changed) or (scaling == "relative" and names[changed.index(False)] == "bn1.bias")
        assert all(map(torch.equal, bits(model.parameters()), before))
        optimizer.step()
        optimizer.zero_grad()


def test_hostile_values_are_restored_bit_for_bit():
    values = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-45, 3.4e38, 1e30])
    weight = nn.Parameter(values.clone())
    noise = ParameterNoise([weight], scaling="absolute")
    with noise.noisy_weights(1e30, seeded()):
        assert not torch.equal(bits([weight])[0], bits([values])[0])
    assert torch.equal(bits([weight])[0], bits([values])[0])


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=40),
    st.floats(1e-6, 1e6),
    st.sampled_from(DISTRIBUTIONS),
    st.sampled_from(SCALINGS),
)
@settings(max_examples=60, deadline=None)
def test_any_weights_are_restored_bit_for_bit(values, sigma, distribution, scaling):
    weight = nn.Parameter(torch.tensor(values))
    noise = ParameterNoise([weight], distribution=distribution, scaling=scaling)
    before = bits([weight])
    with noise.noisy_weights(sigma, seeded()):
        pass
    assert torch.equal(bits([weight])[0], before[0])


def test_weights_are_restored_when_the_step_fails():
    model = net()
    noise = ParameterNoise(model.parameters())
    before = bits(model.parameters())
    with pytest.raises(RuntimeError, match="out of memory"), noise.noisy_weights(0.3, seeded()):
        raise RuntimeError("out of memory")
    assert all(map(torch.equal, bits(model.parameters()), before))
    with noise.noisy_weights(0.3, seeded()):  # and can be perturbed again
        pass


def test_noise_on_noise_is_refused_and_does_no_harm():
    model = net()
    noise = ParameterNoise(model.parameters())
    before = bits(model.parameters())
    again = noise.noisy_weights(0.3, seeded())
    with noise.noisy_weights(0.3, seeded()):
        noisy = bits(model.parameters())
        with pytest.raises(AssertionError, match="noise already"), again:
            pass
        assert all(map(torch.equal, bits(model.parameters()), noisy))
    assert all(map(torch.equal, bits(model.parameters()), before))


def test_the_gradient_is_taken_at_the_perturbed_point():
    # loss = w²/2, so the gradient is the weight it was taken at.
    weight = nn.Parameter(torch.tensor([3.0, -1.0]))
    noise = ParameterNoise([weight])
    with noise.noisy_weights(0.5, seeded()):
        point = weight.detach().clone()
        (weight.square().sum() / 2).backward()
    assert torch.equal(weight.grad, point)
    assert torch.equal(weight.detach(), torch.tensor([3.0, -1.0]))
    assert not torch.equal(point, weight.detach())


def test_permanent_noise_stays_and_adds_up():
    weight = nn.Parameter(torch.zeros(50_000))
    noise = ParameterNoise([weight], scaling="absolute")
    generator = seeded()
    for _ in range(4):
        noise.perturb_weights(0.5, generator)
    check_distribution(weight.detach(), 1.0, "gaussian")  # √4 · 0.5


def test_buffers_and_running_statistics_are_untouched():
    model = net()
    before = [b.clone() for b in model.buffers()]
    ParameterNoise(model.parameters(), scaling="absolute").perturb_weights(1.0, seeded())
    assert all(map(torch.equal, model.buffers(), before))


def test_channels_last_weights_keep_their_layout():
    model = net().to(memory_format=torch.channels_last)
    noise = ParameterNoise(model.parameters(), scaling="absolute")
    with noise.noisy_weights(0.3, seeded()):
        weight = model.conv2.weight
        assert weight.is_contiguous(memory_format=torch.channels_last)
    batch = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    noisy, _ = InputNoise().perturb(batch, 0.5, seeded())
    assert noisy.is_contiguous(memory_format=torch.channels_last)


def test_input_noise_follows_a_change_of_shape():
    noise = InputNoise(scaling="absolute")
    for shape in [(4, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)]:
        batch = torch.randn(shape)
        noisy, _ = noise.perturb(batch, 0.5, seeded())
        assert noisy.shape == shape
        assert not torch.equal(noisy, batch)


def test_input_noise_passes_no_gradient_but_is_trained_on():
    model = net()
    noisy, _ = InputNoise().perturb(torch.randn(4, 3, 8, 8), 0.5, seeded())
    assert not noisy.requires_grad
    model(noisy).sum().backward()
    assert model.conv1.weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floating_types(dtype):
    made = parameters(torch.ones(20_000, dtype=dtype), torch.ones(5, dtype=dtype))
    ParameterNoise(made).perturb_gradients(0.5, seeded())
    assert made[0].grad.dtype == dtype
    assert (made[0].grad - 1).double().std().item() == pytest.approx(0.5, rel=0.05)


# --- norms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_norms_before_and_after(scaling, sigma):
    model = net()
    backward(model)
    made = list(model.parameters())
    noise = ParameterNoise(made, scaling=scaling)

    def measured(tensors):
        return torch.stack([t.detach().double().norm().float() for t in tensors])

    before = measured(p.grad for p in made)
    norms = noise.perturb_gradients(sigma, seeded(), norms=True)
    after = measured(p.grad for p in made)
    torch.testing.assert_close(norms.before, before)
    torch.testing.assert_close(norms.after, after)
    torch.testing.assert_close(torch.linalg.vector_norm(norms.before), before.norm())
    torch.testing.assert_close(torch.linalg.vector_norm(norms.after), after.norm())
    torch.testing.assert_close(global_norm(made), measured(made).norm())
    torch.testing.assert_close(tensor_norms(made).detach(), measured(made))


def test_norms_are_measured_where_they_are_asked_for():
    noise = ParameterNoise(parameters(torch.ones(3)))
    assert noise.perturb_gradients(0.5, seeded()) is None
    assert noise.perturb_weights(0.5, seeded()) is None
    with noise.noisy_weights(0.5, seeded()) as measured:
        assert measured is None
    assert InputNoise().perturb(torch.ones(2, 3), 0.5, seeded())[1] is None
    nothing = ParameterNoise([]).perturb_weights(0.5, seeded(), norms=True)
    assert (nothing.before.shape, nothing.after.shape) == ((0,), (0,))


def test_a_magnitude_of_one_is_relative_too():
    """Twice the noise of a half, drawn alike, on a gradient of 2, 2: its RMS is 2."""
    drawn = []
    for sigma in (0.5, 1.0):
        (parameter,) = parameters(torch.full((2,), 2.0))
        ParameterNoise([parameter]).perturb_gradients(sigma, seeded())
        drawn.append(parameter.grad - 2.0)
    torch.testing.assert_close(drawn[1], 2 * drawn[0])


def test_norms_of_inputs_and_of_weights():
    batch = torch.randn(4, 3, 8, 8)
    noisy, norms = InputNoise().perturb(batch, 0.5, seeded(), norms=True)
    torch.testing.assert_close(torch.linalg.vector_norm(norms.before), batch.norm())
    torch.testing.assert_close(torch.linalg.vector_norm(norms.after), noisy.norm())
    model = net()
    clean = global_norm(list(model.parameters())).detach()
    noise = ParameterNoise(model.parameters())
    with noise.noisy_weights(0.5, seeded(), norms=True) as measured:
        torch.testing.assert_close(torch.linalg.vector_norm(measured.before), clean)
        noisy_norm = global_norm(list(model.parameters())).detach()
        torch.testing.assert_close(torch.linalg.vector_norm(measured.after), noisy_norm)
        assert noisy_norm > clean


# --- selection ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (
            (),
            "conv1.weight conv1.bias bn1.weight bn1.bias conv2.weight conv2.bias fc1.weight "
            "fc1.bias",
        ),
        (("conv",), "conv1.weight conv1.bias conv2.weight conv2.bias"),
        (("fc1", "conv2.b"), "conv2.bias fc1.weight fc1.bias"),  # the model's order
        (("weight",), "conv1.weight bn1.weight conv2.weight fc1.weight"),
    ],
)
def test_select_parameters(layers, expected):
    model = net()
    chosen = select_parameters(model.named_parameters(), layers)
    assert " ".join(chosen) == expected
    assert all(model.get_parameter(name) is chosen[name] for name in chosen)


def test_a_fragment_that_matches_nothing_lists_the_names():
    with pytest.raises(InputError) as caught:
        select_parameters(net().named_parameters(), ("conv1", "layer7"))
    message = str(caught.value)
    assert "'layer7'" in message
    assert "conv1.weight, conv1.bias, bn1.weight" in message
    assert message.endswith("fc1.bias")


def test_frozen_parameters_do_not_take_part():
    model = net()
    model.conv1.requires_grad_(False)
    assert "conv1.weight" not in select_parameters(model.named_parameters())
    with pytest.raises(InputError, match="conv1"):
        select_parameters(model.named_parameters(), ("conv1",))


def test_only_the_chosen_layers_are_perturbed():
    model = net()
    backward(model)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    chosen = select_parameters(model.named_parameters(), ("conv2",))
    ParameterNoise(chosen.values(), scaling="absolute").perturb_gradients(0.3, seeded())
    changed = {n for n, p in model.named_parameters() if not torch.equal(p.grad, before[n])}
    assert changed == {"conv2.weight", "conv2.bias"}


# --- the device is never waited for --------------------------------------------------------------


class NoSync(TorchDispatchMode):
    """Fails on the operations by which the host waits for a GPU's values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item", "_to_cpu")
        assert not any(word in name for word in waits), f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


def test_no_perturbation_reads_a_value_back():
    model = net()
    backward(model)
    batch, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
    with pytest.raises(AssertionError, match="waits"), NoSync():
        batch.sum().item()  # the check itself works
    with NoSync():
        for scaling in SCALINGS:
            noise, generator = ParameterNoise(model.parameters(), scaling=scaling), seeded()
            for norms in (False, True):
                noise.perturb_gradients(0.3, generator, norms=norms)
                with noise.noisy_weights(0.3, generator, norms=norms):
                    pass
                InputNoise(scaling=scaling).perturb(batch, 0.3, generator, norms=norms)
        perturb_labels(labels, 0.3, 5, generator)


def test_buffers_are_reused():
    model = net()
    backward(model)
    noise, generator = ParameterNoise(model.parameters()), seeded()

    def storages():
        noise.perturb_gradients(0.1, generator)
        with noise.noisy_weights(0.1, generator):
            pass
        return [t.data_ptr() for t in (noise._noise._flat, *noise._clean)]

    assert storages() == storages()
    inputs, batch = InputNoise(), torch.randn(4, 3, 8, 8)
    first = inputs.perturb(batch, 0.1, generator)[0].data_ptr()
    assert inputs.perturb(batch, 0.1, generator)[0].data_ptr() == first


def test_a_single_number_has_a_relative_noise_of_its_own_size():
    """Its RMS is its absolute value: relative noise is absolute noise times that."""
    (relative,) = parameters(torch.tensor([2.0]))
    (absolute,) = parameters(torch.tensor([2.0]))
    ParameterNoise([relative], scaling="relative").perturb_gradients(0.5, seeded())
    ParameterNoise([absolute], scaling="absolute").perturb_gradients(1.0, seeded())
    torch.testing.assert_close(relative.grad, absolute.grad)
    batch = torch.full((1, 1, 1, 1), -2.0)
    one, _ = InputNoise(scaling="relative").perturb(batch, 0.5, seeded())
    other, _ = InputNoise(scaling="absolute").perturb(batch, 1.0, seeded())
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("second", "exact"), [(torch.float64, False), (torch.float32, True)])
def test_noise_is_drawn_in_the_tensors_own_type_or_in_fp32_where_they_differ(second, exact):
    double, other = parameters(torch.zeros(50, dtype=torch.float64), torch.zeros(50, dtype=second))
    ParameterNoise([double, other], scaling="absolute").perturb_gradients(1.0, seeded())
    assert double.grad.dtype == torch.float64
    assert torch.equal(double.grad.float().double(), double.grad) is exact
