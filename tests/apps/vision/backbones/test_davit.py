"""DaViT: equal to its release and timm, right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.backbones import Classifier, load_release
from apps.vision.backbones.davit import DaViT, davit_base, davit_small, davit_tiny
from apps.vision.backbones.goldens_davit import DAVIT
from apps.vision.backbones.testing import check_backbone
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "davit").glob("*.safetensors"))


def small(**changes):
    return DaViT(**{"dims": (8, 12), "depths": (1, 1), "heads": (2, 3), "window": 3, "drop_path": 0.0} | changes)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, DAVIT[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 3


def test_number_of_parameters():
    makes = (davit_tiny, davit_small, davit_base)
    with torch.device("meta"):
        found = [sum(p.numel() for p in Classifier(make()).parameters()) for make in makes]
    assert found == [28_360_168, 49_745_896, 87_954_408]


def test_any_size_and_padding():
    check_backbone(small)


def test_drop_path_rises_by_blocks_and_not_by_pairs():
    with torch.device("meta"):
        shares = [block.mix.drop_path.share for stage in davit_tiny().stages for block in stage.blocks]
    assert shares == pytest.approx([0.1 * i / 11 for i in range(12)])


def test_timm_loads_and_agrees(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    other = timm.models.DaVit(depths=(1, 1), embed_dims=(8, 12), num_heads=(2, 3), window_size=3, num_classes=5).eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save(other.state_dict(), tmp_path / "davit.pth")
    ours = Classifier(small(official=True), 5).eval()
    load_release(ours, tmp_path / "davit.pth")
    for x in (torch.randn(2, 3, 48, 48), torch.randn(1, 3, 41, 55)):
        torch.testing.assert_close(ours(x), other(x), rtol=1e-5, atol=1e-5)
