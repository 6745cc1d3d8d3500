"""SHViT and EfficientViT."""

import pytest
import torch

from apps.vision.backbones import Classifier, efficientvit, load_release, shvit
from apps.vision.backbones.efficientvit import EfficientViT
from apps.vision.backbones.shvit import SHViT
from apps.vision.backbones.testing import check_backbone
from core.conv_norm import folded

COUNTS = {
    "shvit_s1": 6_330_808,
    "shvit_s2": 11_483_072,
    "shvit_s3": 14_245_273,
    "shvit_s4": 16_588_484,
    "efficientvit_m0": 2_349_436,
    "efficientvit_m1": 2_980_560,
    "efficientvit_m2": 4_187_554,
    "efficientvit_m3": 6_900_722,
    "efficientvit_m4": 8_804_228,
    "efficientvit_m5": 12_473_772,
}
SMALL = {
    "shvit": lambda: SHViT((1, 1, 1), (8, 12, 16), (0, 4, 6), head_dim=4),
    "efficientvit": lambda: EfficientViT((1, 1, 2), (8, 12, 16), (2, 3, 2), windows=(3, 2, 2), image=80),
}


@pytest.mark.parametrize("name", SMALL)
def test_promises(name, perturbed, trains):
    check_backbone(lambda: perturbed(SMALL[name]()), masked=False)
    trains(SMALL[name]())


@pytest.mark.parametrize("name", COUNTS)
def test_published_number_of_parameters(name, parameters_of):
    assert parameters_of(getattr(shvit if name.startswith("shvit") else efficientvit, name)) == COUNTS[name]


@pytest.mark.parametrize("name", SMALL)
def test_folded_is_the_same_network(name, perturbed):
    torch.manual_seed(0)
    network = Classifier(perturbed(SMALL[name]()), 5).eval()
    deployed = folded(network)
    assert sum(p.numel() for p in deployed.parameters()) < sum(p.numel() for p in network.parameters())
    x = torch.randn(2, 3, 80, 93)
    with torch.no_grad():
        torch.testing.assert_close(deployed(x), network(x), rtol=1e-5, atol=1e-5)


def _timm(name):
    timm = pytest.importorskip("timm.models")
    if name == "shvit":
        return timm.SHViT(
            num_classes=5, embed_dim=(8, 12, 16), partial_dim=(4, 4, 6), qk_dim=(4, 4, 4), depth=(1, 1, 1), types="iss"
        )
    return timm.EfficientVitMsra(
        img_size=80,
        num_classes=5,
        embed_dim=(8, 12, 16),
        key_dim=(16, 16, 16),
        depth=(1, 1, 2),
        num_heads=(2, 3, 2),
        window_size=(3, 2, 2),
        kernels=(7, 5, 3, 3),
    )


@pytest.mark.parametrize("name", SMALL)
def test_weights_of_timm(name, tmp_path, perturbed):
    torch.manual_seed(0)
    theirs = perturbed(_timm(name)).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    backbone = SMALL[name]()
    if name == "efficientvit":
        backbone = EfficientViT((1, 1, 2), (8, 12, 16), (2, 3, 2), windows=(3, 2, 2), image=80, official=True)
    ours = Classifier(backbone, 5).eval()
    load_release(ours, tmp_path / "weights.pth")
    x = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
