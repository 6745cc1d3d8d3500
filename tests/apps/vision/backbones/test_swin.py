"""Swin: equal to its release, torchvision and timm, right for any size."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch.nn import functional as F

from apps.vision.backbones import Classifier, Normed, load_release
from apps.vision.backbones.goldens_swin import SWIN
from apps.vision.backbones.swin import Swin, swin_base, swin_small, swin_tiny
from apps.vision.backbones.testing import check_backbone
from core.errors import UserError
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "swin").glob("backbone*.safetensors"))


def small(**changes):
    return Swin(**{"dim": 8, "depths": (2, 2), "heads": (1, 2), "window": 3, "drop_path": 0.0} | changes)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, SWIN[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 2


def test_number_of_parameters():
    with torch.device("meta"):
        found = [sum(p.numel() for p in Classifier(make()).parameters()) for make in (swin_tiny, swin_small, swin_base)]
    assert found == [28_288_354, 49_606_258, 87_768_224]


def test_any_size_and_padding():
    check_backbone(small)


def test_release_leaks_where_windows_are_filled_up():
    torch.manual_seed(0)
    ours = small().double().eval()
    torch.nn.init.normal_(ours.stages[0].blocks[0].mix.inner.groups.v.bias)
    theirs = small(official=True).double().eval()
    theirs.load_state_dict(ours.state_dict())
    even, odd = torch.randn(1, 3, 48, 48).double(), torch.randn(1, 3, 20, 20).double()
    assert torch.allclose(ours(even)[0], theirs(even)[0], atol=1e-12)
    assert not torch.allclose(ours(odd)[0], theirs(odd)[0], atol=1e-3)
    with pytest.raises(ValueError, match="official"):
        theirs(odd, mask=torch.ones(1, 20, 20).bool())


def test_drop_path_rises_over_all_blocks():
    with torch.device("meta"):
        shares = [block.mix.drop_path.share for stage in swin_tiny().stages for block in stage.blocks]
    assert shares == pytest.approx([0.2 * i / 11 for i in range(12)])


def peer():
    """torchvision's class, small, with weights that are not what they begin with."""
    torch.manual_seed(1)
    network = torchvision.models.SwinTransformer([4, 4], 8, [2, 2], [1, 2], [3, 3], num_classes=5).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def test_torchvision_loads_and_agrees(tmp_path):
    other, ours = peer(), Classifier(small(), 5).eval()
    torch.save(other.state_dict(), tmp_path / "swin.pth")
    load_release(ours, tmp_path / "swin.pth")
    x = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(ours(x), other(x), rtol=1e-5, atol=1e-5)
    bare, normed = small(), Normed(small())
    load_release(bare, tmp_path / "swin.pth")
    load_release(normed, tmp_path / "swin.pth")
    assert torch.equal(bare(x)[-1], ours.backbone(x)[-1])
    assert torch.equal(normed.backbone(x)[-1], bare(x)[-1])


def test_timm_loads_and_agrees(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    arguments = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 3}
    other = timm.models.SwinTransformer(img_size=48, num_classes=5, **arguments).eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save(other.state_dict(), tmp_path / "swin.pth")
    ours = Classifier(small(), 5).eval()
    load_release(ours, tmp_path / "swin.pth")
    x = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(ours(x), other(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [2, 5])
def test_files_of_another_window_have_their_tables_resized(window, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    arguments = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 3}
    # The second level is smaller than the window, so its tables have a size of their own.
    other = timm.models.SwinTransformer(img_size=16, num_classes=5, **arguments)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save(other.state_dict(), tmp_path / "swin.pth")
    ours = Classifier(small(window=window), 5).eval()
    load_release(ours, tmp_path / "swin.pth")
    for level, side in enumerate((5, 3)):
        given = other.layers[level].blocks[1].attn.relative_position_bias_table.T.reshape(1, level + 1, side, side)
        table = ours.backbone.stages[level].blocks[1].mix.inner.groups.score_bias.table
        wanted = F.interpolate(given, size=(2 * window - 1,) * 2, mode="bicubic", align_corners=False)
        torch.testing.assert_close(table.T.view_as(wanted), wanted)
    assert ours(torch.randn(1, 3, 30, 41)).isfinite().all()


def test_what_does_not_fit_is_said(tmp_path):
    torch.save(peer().state_dict(), tmp_path / "swin.pth")
    with pytest.raises(UserError, match=r"swin\.pth does not fit"):
        load_release(Classifier(small(dim=16), 5), tmp_path / "swin.pth")
    with pytest.raises(UserError, match="no release"):
        load_release(torch.nn.Linear(1, 1), tmp_path / "swin.pth")
