"""Norms that fold into linear layers, and norms over time that leave padding out."""

import pytest
import torch
from torch.nn import functional as F

from core.norms import FoldedLayerNorm, FrameBatchNorm, FrameNorm, GlobalNorm, InstanceNorm, MapNorm, ScaleNorm

MASK = torch.arange(9) < torch.tensor([[9], [4], [1]])
WIDE = {"dtype": torch.float64, "requires_grad": True}


@pytest.mark.parametrize("norm", [ScaleNorm, FoldedLayerNorm])
def test_folded_into_a_linear_layer(norm):
    torch.manual_seed(0)
    layer = norm(6).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x, weight, bias = torch.randn(4, 6).double(), torch.randn(3, 6).double(), torch.randn(3).double()
    expected = F.linear(layer(x), weight, bias)
    torch.testing.assert_close(F.linear(layer.normalised(x), *layer.folded(weight, bias)), expected)


@pytest.mark.parametrize("norm", [FrameBatchNorm, FrameNorm, GlobalNorm, InstanceNorm])
def test_padding_does_not_count(norm):
    torch.manual_seed(0)
    layer = norm(4).double().eval()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(3, 9, 4, **WIDE)
    garbage = x.detach().masked_fill(~MASK[..., None], torch.nan).requires_grad_()
    y = layer(garbage, MASK)
    alone = torch.cat([layer(row[None, real]) for row, real in zip(x, MASK, strict=True)], 1)[0]
    torch.testing.assert_close(y[MASK], alone)
    assert not y[~MASK].any()
    probe = torch.randn(3, 9, 4, dtype=torch.float64)
    ours = torch.autograd.grad((y * probe).sum(), garbage)[0]
    torch.testing.assert_close(ours[MASK], torch.autograd.grad((alone * probe[MASK]).sum(), x)[0][MASK])
    assert not ours[~MASK].any()


def test_silence_stays_finite():
    for norm in (FrameNorm(4), GlobalNorm(4), InstanceNorm(4)):
        x = torch.zeros(2, 5, 4, requires_grad=True)
        y = norm(x)
        assert not y.any() and torch.autograd.grad(y.sum(), x)[0].isfinite().all()


def test_map_norm_is_group_norm_of_one_group_and_leaves_padding_out():
    torch.manual_seed(0)
    norm = MapNorm(6).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (torch.randn(2, 3, 5, 6, dtype=torch.float64) * 3 + 2).requires_grad_()
    expected = F.group_norm(x.movedim(-1, 1), 1, norm.weight, norm.bias).movedim(1, -1)
    torch.testing.assert_close(norm(x), expected)
    wide = torch.full((2, 4, 7, 6), torch.nan, dtype=torch.float64)
    wide[:, :3, :5] = x.detach()
    mask = torch.zeros(2, 4, 7, dtype=torch.bool)
    mask[:, :3, :5] = True
    y = norm(wide, mask)
    torch.testing.assert_close(y[:, :3, :5], expected)
    assert not y[~mask].any()
    assert not norm(wide, torch.zeros_like(mask)).any()
    probe = torch.randn_like(expected)
    ours = torch.autograd.grad((norm(x, mask[:, :3, :5]) * probe).sum(), x)
    torch.testing.assert_close(ours, torch.autograd.grad((expected * probe).sum(), x))
    without = MapNorm(6, bias=False).double()
    torch.testing.assert_close(without(x), F.group_norm(x.movedim(-1, 1), 1).movedim(1, -1))
