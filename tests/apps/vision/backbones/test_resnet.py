"""ResNet against torchvision's, with and without the stem's level."""

import pytest
import torch

from apps.vision.backbones import Classifier
from apps.vision.backbones import resnet as module
from apps.vision.backbones.names_resnet import resnet_detectron, resnet_torchvision
from apps.vision.backbones.resnet import ResNet, resnet18, resnet50
from apps.vision.backbones.testing import check_backbone
from core.checkpoint import load

SMALL = {
    "basic": {"depths": (1, 2, 1), "dims": (4, 6, 8), "bottleneck": False, "stem_dim": 4},
    "bottleneck": {"depths": (2, 1, 1), "dims": (8, 12, 16), "stem_dim": 4},
}


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("kind", SMALL)
def test_promises(kind, stem, perturbed, trains):
    check_backbone(lambda: perturbed(ResNet(**SMALL[kind], stem=stem)))
    trains(ResNet(**SMALL[kind], stem=stem))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_published_number_of_parameters(name, count, parameters_of):
    assert parameters_of(getattr(module, name)) == count


def test_the_stem_is_a_level_of_its_own():
    assert resnet18(stem=True).strides == [4, 4, 8, 16, 32]
    assert resnet18(stem=True).channels == [64, 64, 128, 256, 512]
    torch.manual_seed(0)
    with_stem, without = ResNet(**SMALL["basic"], stem=True).eval(), ResNet(**SMALL["basic"]).eval()
    state = resnet_as(without, "torchvision")
    load(with_stem, state, resnet_torchvision(with_stem).mapping(with_stem))
    x = torch.randn(1, 3, 37, 50)
    for a, b in zip(with_stem(x)[1:], without(x), strict=True):
        torch.testing.assert_close(a, b)


def resnet_as(network, library):
    """Our weights under official names."""
    release = {"torchvision": resnet_torchvision, "detectron": resnet_detectron}[library](network)
    ours = network.state_dict()
    return {rule.sources[0]: ours[rule.target] for rule in release.trunk if rule.target in ours}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_equal_to_torchvision(name):
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    theirs = getattr(models, name)(num_classes=5)
    for part in theirs.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.8, 1.2)
    theirs = theirs.double().eval()
    network = Classifier(getattr(module, name)(), 5).double().eval()
    load(network, theirs.state_dict(), resnet_torchvision(network.backbone).mapping(network))
    x = torch.randn(2, 3, 71, 96, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), theirs(x), rtol=1e-9, atol=1e-9)


def test_names_of_detectron():
    network = resnet50(stem=True)
    state = resnet_as(network, "detectron")
    for name in (
        "stem.conv1.weight",
        "res2.0.shortcut.norm.running_var",
        "res5.2.conv3.norm.weight",
        "res4.5.conv1.weight",
    ):
        assert name in state
    assert len(state) == len([k for k in network.state_dict() if "num_batches" not in k])
    other = resnet50(stem=True)
    load(other, state, resnet_detectron(other).mapping(other))
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), network.state_dict().values(), strict=True)
    )


def test_constants_of_the_norms():
    norms = [p for p in resnet18(eps=1e-3, momentum=0.01).modules() if isinstance(p, torch.nn.BatchNorm2d)]
    assert norms and all((p.eps, p.momentum) == (1e-3, 0.01) for p in norms)
