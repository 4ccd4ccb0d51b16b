"""Classifiers of images of any size, grey ones too; and those that can't take some."""

import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from trainables.data_config import FIRST_SHAPE, ImageShape
from trainables.errors import InputError
from trainables.memory import ModelSize, training_bytes
from trainables.models.measure import size_of
from trainables.models.pretrained import load_pretrained
from trainables.models.registry import build_model, check_classifier, check_layers
from trainables.models.torchvision_models import torchvision_names

OURS = ("BabyCNN", "TinyCNN", "SimpleCNN", "DeepMLP", "PlainCNN")


def _logits(name: str, shape: ImageShape) -> torch.Size:
    with torch.device("meta"):
        model = build_model(name, 7, shape).eval()
        logits: torch.Tensor = model(torch.zeros(2, shape.channels, shape.size, shape.size))
    return logits.shape


@pytest.mark.parametrize("name", [*OURS, "resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("size", [8, 28, 31, 64, 224, 512])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_take_every_size_and_number_of_channels(
    name: str, size: int, channels: int
) -> None:
    assert _logits(name, ImageShape(size, channels)) == (2, 7)


@pytest.mark.parametrize("name", OURS)
def test_a_network_is_what_it_was_at_the_size_that_all_images_had(name: str) -> None:
    with torch.device("meta"):
        first, given = build_model(name, 10), build_model(name, 10, ImageShape(32, 3))
        other = build_model(name, 10, ImageShape(28, 1))
    shapes = [[(n, p.shape) for n, p in model.named_parameters()] for model in (first, given)]
    assert shapes[0] == shapes[1]
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in shapes[0]]


@pytest.mark.parametrize("size", [28, 64, 224])
def test_resnet18_has_torchvisions_own_stem_where_images_are_not_32_pixels(size: int) -> None:
    torch.manual_seed(0)
    ours = build_model("resnet18", 10, ImageShape(size, 3))
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10)
    assert isinstance(ours.maxpool, nn.MaxPool2d)
    assert ours.conv1.kernel_size == (7, 7)
    for (name, tensor), (their_name, expected) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert name == their_name
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("name", ["vit_b_16", "maxvit_t", "inception_v3", "vgg11", "convnext_tiny"])
def test_all_of_torchvisions_classifiers_take_224(name: str) -> None:
    shape = ImageShape(224, 3)
    assert name in torchvision_names(224)
    check_classifier(name, shape)
    assert _logits(name, shape) == (2, 7)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("alexnet", 28, "Output size is too small"),
        ("vit_b_16", 40, "indivisible by patch size"),
        ("maxvit_t", 64, "not divisible by partition size"),
        ("inception_v3", 64, "Kernel size can't be greater"),
    ],
)
def test_what_cannot_take_a_size_says_so(name: str, size: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        check_classifier(name, ImageShape(size, 1))
    said = str(refused.value)
    assert f"data.image_size (--image-size) = {size}, data.channels (--channels) = 1" in said
    assert f"classifier {name!r} can't take such images" in said
    assert said.endswith("give another size or another classifier")
    assert "\n" not in said


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1", "regnet_y_400mf"])
def test_a_model_does_to_grey_images_what_it_does_to_three_equal_channels(
    name: str, size: int
) -> None:
    torch.manual_seed(0)
    colour = build_model(name, 10, ImageShape(size, 3)).eval()
    torch.manual_seed(0)
    grey = build_model(name, 10, ImageShape(size, 1)).eval()
    images = torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(
            grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4
        )


def test_trained_weights_fit_the_standard_stem_and_grey_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    stored = torchvision.models.resnet18(num_classes=1000).state_dict()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        "torch.hub.download_url_to_file", lambda url, dst, *_, **__: torch.save(stored, dst)
    )
    for channels in (3, 1):
        model = build_model("resnet18", 10, ImageShape(64, channels))
        report = load_pretrained(model, "resnet18", 64)
        assert set(report.skipped) == {"fc.weight", "fc.bias"}
        weight = stored["conv1.weight"]
        expected = weight if channels == 3 else weight.sum(1, keepdim=True)
        assert torch.equal(model.conv1.weight, expected)


def test_layers_are_those_of_the_model_at_its_size() -> None:
    check_layers("resnet18", ("conv1",), ImageShape(64, 1))
    check_layers("vit_b_16", ("encoder.layers.encoder_layer_0",), ImageShape(224, 3))
    with pytest.raises(InputError, match="no_such"):
        check_layers("vit_b_16", ("no_such",), ImageShape(224, 3))


def test_a_models_size_is_its_parameters_and_what_its_layers_give() -> None:
    size = check_classifier("BabyCNN", ImageShape(64, 1))
    assert size == ModelSize(8 * 9 + 8 + 10 * (8 * 32 * 32 + 1), 8 * 64 * 64)
    assert check_classifier("BabyCNN", FIRST_SHAPE) is None
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    assert size_of(model, ImageShape(8, 1)) == ModelSize(3 * 65, 3)
    assert not model[1]._forward_hooks


def test_what_frozen_layers_give_takes_no_memory_in_training() -> None:
    model = nn.Sequential(nn.Conv2d(1, 5, 1), nn.Flatten(), nn.Linear(5 * 64, 2))
    assert size_of(model, ImageShape(8, 1)).activations == 2 * 5 * 64 + 2
    model[0].requires_grad_(False)
    assert size_of(model, ImageShape(8, 1)).activations == 2


def test_the_memory_of_a_training_is_its_parameters_and_what_is_kept_for_the_backward_pass() -> (
    None
):
    size = ModelSize(1_000_000, 50_000)
    assert training_bytes(size, 100) == 12_000_000 + 20_000_000
    assert training_bytes(size, 100, "bf16") == 12_000_000 + 10_000_000


# A user's own

OWN = """
import torch
from torch import nn

def any_size(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.LazyLinear(num_classes))

def told(num_classes, image_size, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

class Net(nn.Sequential):
    def __init__(self, num_classes, *, image_size=20, width=5):
        super().__init__(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, num_classes))
        self.image_size = image_size

def fixed(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))

def forwards(num_classes, **options):
    assert not options
    return any_size(num_classes)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"shapes_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return name


@pytest.mark.parametrize("function", ["any_size", "told", "forwards"])
@pytest.mark.parametrize("shape", [FIRST_SHAPE, ImageShape(28, 1), ImageShape(64, 3)])
def test_own_classifiers_are_told_what_they_ask_for(
    own: str, function: str, shape: ImageShape
) -> None:
    name = f"{own}:{function}"
    check_classifier(name, shape)
    model = build_model(name, 4, shape)
    images = torch.zeros(2, shape.channels, shape.size, shape.size)
    assert model(images).shape == (2, 4)


def test_what_a_function_was_not_told_before_there_was_a_choice_it_is_not_told_now(
    own: str,
) -> None:
    built = [build_model(f"{own}:Net", 4, shape) for shape in (FIRST_SHAPE, ImageShape(28, 1))]
    assert [model.image_size for model in built] == [20, 28]


def test_an_own_classifier_that_does_not_fit_says_how_to_be_told(own: str) -> None:
    with pytest.raises(InputError, match=r"images of shape \(batch, 1, 28, 28\)") as refused:
        check_classifier(f"{own}:fixed", ImageShape(28, 1))
    assert "parameters image_size and in_channels is told" in str(refused.value)
