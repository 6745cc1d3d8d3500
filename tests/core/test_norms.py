"""Norms that fold into linear layers, and norms over time that leave padding out."""

import pytest
import torch
from torch.nn import functional as F

from core.norms import FoldedLayerNorm, FrameBatchNorm, FrameNorm, GlobalNorm, InstanceNorm, ScaleNorm

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
