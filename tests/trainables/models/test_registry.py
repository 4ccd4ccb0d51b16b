import itertools
import math
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from trainables.errors import InputError
from trainables.models.networks import DeepMLP, PlainCNN
from trainables.models.registry import (
    BUILT_IN,
    build_model,
    check_classifier,
    check_layers,
    check_slices,
    registered_networks,
    to_memory_format,
)
from trainables.models.torchvision_models import torchvision_names

CHANNELS_LAST = torch.channels_last


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images_and_labels(batch, seed=0):
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, 32, 32, generator=random)
    # Flat patches, as in the margins of the digits: there the windows of the pool have ties.
    images[:, :, 8:20, :16] = 0.25
    return images, torch.randint(0, 10, (batch,), generator=random)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("BabyCNN", 20_714),
        ("TinyCNN", 545_098),
        ("SimpleCNN", 22_954_506),
        ("resnet18", 11_173_962),
    ],
)
def test_parameter_counts_are_the_methods(name, count):
    with torch.device("meta"):
        model = build_model(name, 10)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("BabyCNN", ["conv1", "fc1"]),
        ("TinyCNN", ["conv1", "conv2", "fc1", "fc2"]),
        ("SimpleCNN", ["conv1", "conv2", "conv3", "fc1", "fc2", "fc3", "fc4"]),
    ],
)
def test_layers_are_named_as_the_method_says(name, layers):
    with torch.device("meta"):
        model = build_model(name, 7)
        logits = model(torch.zeros(2, 3, 32, 32))
    expected = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert [parameter for parameter, _ in model.named_parameters()] == expected
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("kind", "std", "layers"),
    [
        (partial(DeepMLP, depth=20), 0.1, [f"fc{n}" for n in range(1, 21)]),
        (partial(DeepMLP, depth=2, width=7, init_std=0.2), 0.2, ["fc1", "fc2"]),
        (partial(PlainCNN, depth=12), 0.05, ["stem", *(f"conv{n}" for n in range(1, 13)), "fc1"]),
        (partial(PlainCNN, depth=1, width=5, init_std=0.3), 0.3, ["stem", "conv1", "fc1"]),
    ],
)
def test_networks_that_stall_have_the_depth_and_the_weights_that_they_are_asked_for(
    kind, std, layers
):
    torch.manual_seed(1)
    model = to_memory_format(kind(7), "cpu")
    images, _ = images_and_labels(3)
    assert model(images.contiguous(memory_format=CHANNELS_LAST)).shape == (3, 7)
    expected = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert [parameter for parameter, _ in model.named_parameters()] == expected
    parameters = dict(model.named_parameters())
    assert not any(parameters[f"{layer}.bias"].any() for layer in layers)
    weights = torch.cat([parameters[f"{layer}.weight"].flatten() for layer in layers])
    # Six standard errors of the standard deviation of n draws: σ/√(2n).
    assert abs(weights.std() - std) < 6 * std / math.sqrt(2 * weights.numel())


def plain_forward(model, images):
    """The method's networks as it writes them down: convolution, ReLU, pool; linear, ReLU."""
    layers = dict(model.named_children())
    hidden = images
    for name in (name for name in layers if name.startswith("conv")):
        hidden = F.max_pool2d(F.relu(layers[name](hidden)), 2)
    linear = [layer for name, layer in layers.items() if name.startswith("fc")]
    hidden = linear[0](hidden.flatten(1))
    for layer in linear[1:]:
        hidden = layer(F.relu(hidden))
    return hidden


def loss_and_gradients(forward, model, images, labels):
    model.zero_grad()
    loss = F.cross_entropy(forward(images), labels)
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", ["BabyCNN", "TinyCNN"])
def test_pooling_before_the_relu_changes_no_bit(name):
    torch.manual_seed(1)
    model = build_model(name, 10)
    images, labels = images_and_labels(16)
    loss, gradients = loss_and_gradients(model, model, images, labels)
    plain_loss, plain = loss_and_gradients(lambda x: plain_forward(model, x), model, images, labels)
    assert torch.equal(loss, plain_loss)
    assert all(map(torch.equal, gradients, plain))


def test_simple_cnn_computes_what_the_method_writes_down():
    torch.manual_seed(1)
    model = build_model("SimpleCNN", 10)
    images, _ = images_and_labels(2)
    with torch.no_grad():
        assert torch.equal(model(images), plain_forward(model, images))


@pytest.mark.parametrize("name", ["BabyCNN", "TinyCNN"])
def test_memory_order_does_not_change_the_function(name):
    torch.manual_seed(1)
    model = build_model(name, 10)
    images, labels = images_and_labels(16)
    loss, gradients = loss_and_gradients(model, model, images, labels)
    converted = to_memory_format(model, "cpu")
    assert converted is model
    assert model.conv1.weight.is_contiguous(memory_format=CHANNELS_LAST)
    last = images.contiguous(memory_format=CHANNELS_LAST)
    loss_last, gradients_last = loss_and_gradients(model, model, last, labels)
    torch.testing.assert_close(loss_last, loss)
    torch.testing.assert_close(gradients_last, gradients, rtol=1e-4, atol=1e-6)
    for parameter in model.parameters():
        assert parameter.grad.stride() == parameter.stride()


def test_the_four_built_ins_are_checked_without_torch():
    code = (
        "import sys\n"
        "from trainables.models.registry import check_classifier\n"
        "for name in ('BabyCNN', 'TinyCNN', 'SimpleCNN', 'resnet18'):\n"
        "    check_classifier(name)\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


FAMILIES = [
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11",
    "vgg16_bn",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_families_train_on_small_images(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.manual_seed(3)
        model = to_memory_format(build_model(name, 10), "cpu")
    assert model.training
    images, labels = images_and_labels(4)
    logits = model(images.contiguous(memory_format=CHANNELS_LAST))
    assert logits.shape == (4, 10)
    F.cross_entropy(logits, labels).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any() or parameter.numel() < 100 or "bias" in key, key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t", "swin_v2_t"])
def test_transformer_like_families_train_on_small_images(name):
    test_families_train_on_small_images(name)


@pytest.mark.parametrize("name", ["vgg11_bn", "googlenet", "resnet18"])
def test_initial_weights_follow_from_torchs_generator(name):
    built = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        built.append(build_model(name, 10).state_dict())
    same, other = itertools.starmap(
        lambda a, b: all(torch.equal(a[key], b[key]) for key in a),
        [(built[0], built[1]), (built[0], built[2])],
    )
    assert same
    assert not other


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("resnet18", "layer1"),
        ("densenet121", "features.denseblock1"),
        ("mobilenet_v2", "features.1"),
        ("googlenet", "inception3a"),
    ],
)
def test_the_stem_keeps_the_sides(name, behind):
    """What enters the first layer behind the stem is as large as the image."""
    with torch.device("meta"):
        model = build_model(name, 10)
        seen = []
        model.get_submodule(behind).register_forward_pre_hook(lambda _, x: seen.append(x[0].shape))
        model(torch.zeros(2, 3, 32, 32))
    assert seen[0][-2:] == (32, 32)


def test_resnet18_keeps_torchvisions_names():
    with torch.device("meta"):
        ours = build_model("resnet18", 10)
        theirs = torchvision.models.resnet18(num_classes=10)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.conv1.weight.shape == (64, 3, 3, 3)


def test_vgg_is_initialised_as_torchvisions_and_not_enormous():
    torch.manual_seed(0)
    model = build_model("vgg16_bn", 100)
    assert sum(p.numel() for p in model.parameters()) < 16_000_000
    with torch.device("meta"):
        theirs = torchvision.models.vgg16_bn(num_classes=100)
    assert list(model.state_dict()) == list(theirs.state_dict())
    for key, tensor in model.state_dict().items():
        module = model.get_submodule(key.rpartition(".")[0])
        if key.endswith("running_var") or (
            isinstance(module, nn.BatchNorm2d) and key.endswith("weight")
        ):
            assert (tensor == 1).all(), key
        elif not key.endswith("weight"):
            assert (tensor == 0).all(), key
        elif isinstance(module, nn.Conv2d):
            expected = (2 / (module.out_channels * 9)) ** 0.5
            assert float(tensor.std()) == pytest.approx(expected, rel=0.1), key
        else:
            assert float(tensor.std()) == pytest.approx(0.01, rel=0.1), key


def test_unknown_classifier_is_answered_with_the_nearest():
    for name, near in [("BabyCN", "BabyCNN"), ("resnet19", "resnet18"), ("vgg16bn", "vgg16_bn")]:
        with pytest.raises(InputError, match=f"did you mean '{near}'") as info:
            check_classifier(name)
        assert repr(name) in str(info.value)
        with pytest.raises(InputError):
            build_model(name, 10)


@pytest.mark.parametrize("name", ["inception_v3", "vit_b_16", "maxvit_t"])
def test_models_for_large_images_only_are_refused_with_the_reason(name):
    assert name not in torchvision_names()
    with pytest.raises(InputError, match="can't take 32×32 images"):
        check_classifier(name)


def test_names_are_those_here_and_torchvisions():
    assert {*BUILT_IN} == {*registered_networks(), "resnet18"}
    names = torchvision_names()
    assert len(set(names)) == len(names)
    assert {"vgg19_bn", "resnet152", "densenet201", "mobilenet_v2", "googlenet"} <= set(names)


@pytest.mark.parametrize(
    "name",
    ["alexnet", "squeezenet1_0", "efficientnet_v2_s", "wide_resnet50_2", "vgg19_bn", "resnet50"],
)
def test_further_members_of_the_families_take_small_images(name):
    with torch.device("meta"):
        assert build_model(name, 11)(torch.zeros(2, 3, 32, 32)).shape == (2, 11)


# A user's own


OWN = """
import itertools
import random
import numpy as np
import torch
from torch import nn

class Flat(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, outputs)

    def forward(self, images):
        return self.head(images.flatten(1))

class Pair(Flat):
    def forward(self, images):
        return super().forward(images), None

def good(num_classes):
    return Flat(num_classes)

def computed(num_classes):
    return Flat(int(torch.tensor([float(num_classes)]).sum()))

def lazy(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

def fixed(num_classes):
    return Flat(7)

def pair(num_classes):
    return Pair(num_classes)

def no_module(num_classes):
    return "a string"

def no_arguments():
    return Flat(10)

def grey(num_classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(num_classes))

def frozen(num_classes):
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(num_classes))

class Training(Flat):
    def forward(self, images):
        logits = super().forward(images)
        return self.changed(logits) if self.training else logits

    def changed(self, logits):
        raise KeyError("labels")

class Auxiliary(Training):
    def changed(self, logits):
        return logits, logits

class Detached(Training):
    def changed(self, logits):
        return logits.detach()

class Random(Flat):
    def forward(self, images):
        return super().forward(images) * random.random()

def unseeded(num_classes):
    model = Flat(num_classes)
    weights = np.random.default_rng().normal(size=model.head.weight.shape)
    model.head.weight.data = torch.from_numpy(weights).float()
    return model

def another(num_classes):
    model = Flat(num_classes)
    model.add_module("extra", nn.Linear(1 + next(COUNT), 1))
    return model

COUNT = itertools.count()
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A working directory with a package ``mine_NAME.nets``; returns its dotted name."""
    package = f"mine_{tmp_path.name}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / package / "nets.py").write_text(OWN)
    (tmp_path / package / "broken.py").write_text("import no_such_library\n")
    (tmp_path / package / "wrong.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return package


@pytest.mark.parametrize("function", ["good", "computed", "lazy"])
def test_own_classifier_from_the_working_directory(own, function):
    name = f"{own}.nets:{function}"
    check_classifier(name)
    model = build_model(name, 10)
    assert model.training
    assert model(torch.zeros(4, 3, 32, 32)).shape == (4, 10)


def test_trying_an_own_classifier_draws_nothing(own):
    torch.manual_seed(0)
    tried = build_model(f"{own}.nets:good", 10)
    after = torch.rand(3)
    torch.manual_seed(0)
    plain = sys.modules[f"{own}.nets"].good(10)
    assert torch.equal(tried.head.weight, plain.head.weight)
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (".nets:bad_name", r"has no 'bad_name'; it has: .*good"),
        (".nets:number", "number is of type int"),
        (".nets:fixed", r"must return a tensor of shape \(2, 10\), but returns shape \(2, 7\)"),
        (".nets:pair", r"shape \(2, 10\), but returns tuple"),
        (".nets:no_module", "must return a torch.nn.Module, not str"),
        (".nets:no_arguments", "num_classes = 10 it raised TypeError"),
        (".nets:grey", r"must take images of shape \(batch, 3, 32, 32\).*RuntimeError"),
        (".nets:frozen", "no parameters to train"),
        (".broken:good", "raised ModuleNotFoundError: No module named 'no_such_library'"),
        (".wrong:good", "raised ZeroDivisionError"),
        (".absent:good", r"there is no module '.*\.absent'"),
        (":good", "has no 'good'; it has: nothing that can be called"),
        ("/nets.py:good", "package.module:function"),
        (".nets:", "package.module:function"),
    ],
)
def test_own_classifiers_mistakes_are_named(own, rest, message):
    name = own + rest
    for attempt in (check_classifier, lambda n: build_model(n, 10)):
        with pytest.raises(InputError, match=message) as info:
            attempt(name)
        assert str(info.value).startswith(f"classifier = {name!r}: ")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("Training", "but fails on them in train mode: KeyError: 'labels'"),
        ("Auxiliary", r"of shape \(2, 10\), but returns tuple in train mode"),
        ("Detached", "in train mode its logits have no gradient"),
        ("Random", "evaluated twice on the same images it returns other logits"),
        ("unseeded", "made twice with one seed it has other weights or layers"),
        ("another", "made twice with one seed it has other weights or layers"),
    ],
)
def test_what_would_fail_in_a_training_is_told_before_it(own, function, message):
    name = f"{own}.nets:{function}"
    torch.manual_seed(5)
    with pytest.raises(InputError, match=message) as told:
        check_classifier(name)
    assert str(told.value).startswith(f"classifier = {name!r}: ")
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_missing_package_is_named():
    with pytest.raises(InputError, match="there is no module 'surely_not_here'"):
        check_classifier("surely_not_here.nets:good")


# Layers


def test_check_layers_takes_fragments_of_names(own):
    check_layers("BabyCNN", ())
    check_layers("TinyCNN", ("conv", "fc2.bias"))
    check_layers("resnet18", ("layer4.1", "fc"))
    check_layers("regnet_y_400mf", ("stem",))
    check_layers(f"{own}.nets:computed", ("head",))


@pytest.mark.parametrize("name", ["TinyCNN", "resnet18", "vgg16_bn"])
def test_check_layers_lists_the_names(name):
    with torch.device("meta"):
        names = [key for key, _ in build_model(name, 10).named_parameters()]
    with pytest.raises(InputError, match="'conv9'") as info:
        check_layers(name, ("weight", "conv9"))
    assert all(key in str(info.value) for key in names)


def test_what_needs_whole_batches_is_given_no_slices():
    for name in (
        "BabyCNN",
        "TinyCNN",
        "SimpleCNN",
        "DeepMLP",
        "PlainCNN",
        "convnext_tiny",
        "vgg11",
    ):
        check_slices(name, 32)
    for name in ("resnet18", "mobilenet_v2", "vgg11_bn"):
        check_slices(name, 0)
        with pytest.raises(InputError, match=rf"slice.*= 32: classifier '{name}'.*BatchNorm2d in"):
            check_slices(name, 32)
    own = "tests.support.own_models"
    check_slices(f"{own}:normalised_by_image", 32)
    for name, kind in (("centred", "Centred"), ("tracked", "InstanceNorm2d")):
        with pytest.raises(InputError, match=rf"whole batches: what {kind} in \d gives"):
            check_slices(f"{own}:{name}", 32)
