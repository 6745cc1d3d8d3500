import pytest
import torch

from apps.vision.backbones import Classifier, load_release
from apps.vision.backbones.convnext import ConvNeXt, convnext_base, convnext_small, convnext_tiny
from apps.vision.backbones.testing import check_backbone
from core.errors import UserError

SMALL = {"depths": (1, 1, 2, 1), "dims": (4, 6, 8, 10)}


def test_promises(perturbed, trains):
    check_backbone(lambda: perturbed(ConvNeXt(**SMALL)))
    trains(ConvNeXt(**SMALL, drop_path=0.1))


@pytest.mark.parametrize(
    ("make", "count"), [(convnext_tiny, 28_589_128), (convnext_small, 50_223_688), (convnext_base, 88_591_464)]
)
def test_published_number_of_parameters(make, count, parameters_of):
    assert parameters_of(make) == count


def test_official_drops_what_fills_no_patch():
    torch.manual_seed(0)
    network = ConvNeXt(**SMALL, official=True).eval()
    x = torch.randn(1, 3, 71, 67)
    features = network(x)
    assert [tuple(f.shape[1:3]) for f in features] == [(17, 16), (8, 8), (4, 4), (2, 2)]
    torch.testing.assert_close(network(x[..., :64, :64])[0][:, :14, :14], features[0][:, :14, :14])


def _official(library):
    """The same small network by another library, with no scale that hides its branches."""
    if library == "torchvision":
        convnext = pytest.importorskip("torchvision").models.convnext
        rows = zip(SMALL["dims"], (*SMALL["dims"][1:], None), SMALL["depths"], strict=True)
        theirs = convnext.ConvNeXt([convnext.CNBlockConfig(*row) for row in rows], num_classes=5)
    else:
        theirs = pytest.importorskip("timm").models.ConvNeXt(**SMALL, num_classes=5)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0)
    return theirs.eval()


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_weights_of_other_libraries(library, tmp_path):
    torch.manual_seed(0)
    theirs = _official(library)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = Classifier(ConvNeXt(**SMALL), 5).eval()
    load_release(ours, tmp_path / "weights.pth")
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_another_size_is_refused_in_one_sentence(tmp_path):
    network = Classifier(ConvNeXt(**SMALL), 5)
    official = {"downsample_layers.0.0.weight": torch.zeros(8, 3, 4, 4)}
    torch.save(official, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"checkpoint other.pth does not fit the model; missing: .*; wrong shape"):
        load_release(network, tmp_path / "other.pth")
