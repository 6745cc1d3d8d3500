"""MaxViT: equal to timm's conversion of its release, right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.backbones import Classifier, load_release
from apps.vision.backbones.goldens_maxvit import MAXVIT
from apps.vision.backbones.maxvit import MaxViT, MBConv, maxvit_base, maxvit_small, maxvit_tiny
from apps.vision.backbones.testing import check_backbone
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "maxvit").glob("*.safetensors"))


def small(**changes):
    return MaxViT(**{"dims": (8, 16), "depths": (2, 1), "stem": 8, "window": 3, "head_dim": 4} | changes)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, MAXVIT[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 3


def test_number_of_parameters():
    makes = (maxvit_tiny, maxvit_small, maxvit_base)
    with torch.device("meta"):
        found = [sum(p.numel() for p in Classifier(make()).parameters()) for make in makes]
    assert found == [30_916_528, 68_927_956, 119_467_708]


def test_any_size():
    check_backbone(small, masked=False)


def test_norms_fold_at_inference():
    torch.manual_seed(0)
    block = MBConv(4, 6, 2).double()
    for norm in (block.norm, block.enter_norm, block.local_norm):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 8, 4).double()
    block.train()
    for norm in (block.norm, block.enter_norm, block.local_norm):
        norm.eval()
    expected = block(x)
    block.eval()
    torch.testing.assert_close(block(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected)
        torch.testing.assert_close(block(x), expected)
        block.enter_norm.running_var.mul_(2)
        assert not torch.allclose(block(x), expected)


def test_timm_loads_and_agrees(tmp_path):
    timm = pytest.importorskip("timm")
    from timm.models import maxxvit

    torch.manual_seed(1)
    config = maxxvit.MaxxVitCfg(
        embed_dim=(8, 16),
        depths=(2, 1),
        block_type=("M", "M"),
        stem_width=8,
        stem_bias=True,
        head_hidden_size=16,
        **maxxvit._tf_cfg(),
    )
    config.transformer_cfg.dim_head = 4
    config.transformer_cfg.window_size = config.transformer_cfg.grid_size = (3, 3)
    other = timm.models.MaxxVit(config, img_size=48, num_classes=5).eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.save(other.state_dict(), tmp_path / "maxvit.pth")
    ours = Classifier(small(), 5).eval()
    load_release(ours, tmp_path / "maxvit.pth")
    x = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(ours(x), other(x), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), other(x), rtol=1e-5, atol=1e-5)
