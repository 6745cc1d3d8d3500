"""Norms written for memory against their formulas, alone and with padding."""

import pytest
import torch
from torch.nn import functional as F

from core.norms import FoldedLayerNorm, FrameNorm, GlobalNorm, InstanceNorm, ScaleNorm
from core.ops.normalise import instance_prelu, over_time, scale_normalise

WIDE = {"dtype": torch.float64, "requires_grad": True}
MASK = torch.arange(9) < torch.tensor([[9], [4], [1]])


def gradients(y, leaves):
    torch.manual_seed(1)
    return torch.autograd.grad((y * torch.randn_like(y)).sum(), leaves)


@pytest.mark.parametrize("eps", [1e-5, 1.0])
def test_scale_normalise_on_both_sides_of_eps(eps):
    torch.manual_seed(0)
    x = (torch.randn(5, 8, **WIDE) * torch.tensor([[0.01], [0.5], [1.0], [2.0], [0.0]])).detach().requires_grad_()
    y = scale_normalise(x[:4], eps)
    expected = x[:4] / (x[:4].norm(dim=-1, keepdim=True) * 8**-0.5).clamp(min=eps)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients(y, (x,)), gradients(expected, (x,)))
    assert not scale_normalise(x)[4].any()
    assert gradients(scale_normalise(x), (x,))[0].isfinite().all()


@pytest.mark.parametrize("norm", [ScaleNorm, FoldedLayerNorm])
def test_folded_into_a_linear_layer(norm):
    torch.manual_seed(0)
    layer = norm(6).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x, weight, bias = torch.randn(4, 6).double(), torch.randn(3, 6).double(), torch.randn(3).double()
    expected = F.linear(layer(x), weight, bias)
    torch.testing.assert_close(F.linear(layer.normalised(x), *layer.folded(weight, bias)), expected)


def test_over_time_as_torch_has_it():
    torch.manual_seed(0)
    x = torch.randn(3, 9, 4).double()
    torch.testing.assert_close(over_time(x, None, 1e-5, jointly=False), F.instance_norm(x.mT).mT)
    torch.testing.assert_close(over_time(x, None, 1e-8, jointly=True), F.group_norm(x.mT, 1, eps=1e-8).mT)


@pytest.mark.parametrize("norm", [FrameNorm, GlobalNorm, InstanceNorm])
def test_padding_does_not_count(norm):
    torch.manual_seed(0)
    layer = norm(4).double()
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


@pytest.mark.parametrize("mask", [None, MASK])
def test_instance_norm_and_prelu_together(mask):
    torch.manual_seed(0)
    x = torch.randn(3, 9, 4, **WIDE)
    weight, bias, slope = (torch.randn(4, **WIDE) for _ in range(3))
    leaves = (x, weight, bias, slope)
    real = torch.ones(3, 9, dtype=torch.bool) if mask is None else mask
    y = instance_prelu(x, weight, bias, slope, mask)[real]
    normal = over_time(x, mask, 1e-5, jointly=False) * weight + bias
    expected = torch.where(normal > 0, normal, slope * normal)[real]
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients(y, leaves), gradients(expected, leaves))


def test_silence_stays_finite():
    for norm in (FrameNorm(4), GlobalNorm(4), InstanceNorm(4)):
        x = torch.zeros(2, 5, 4, requires_grad=True)
        y = norm(x)
        assert not y.any() and torch.autograd.grad(y.sum(), x)[0].isfinite().all()
