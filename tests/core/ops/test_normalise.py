"""Norms written for memory against their formulas, alone and with padding."""

import pytest
import torch
from torch.nn import functional as F

from core.ops.normalise import instance_prelu, over_time, prelu_moments, scale_normalise

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


def test_over_time_as_torch_has_it():
    torch.manual_seed(0)
    x = torch.randn(3, 9, 4).double()
    torch.testing.assert_close(over_time(x, None, 1e-5, jointly=False), F.instance_norm(x.mT).mT)
    torch.testing.assert_close(over_time(x, None, 1e-8, jointly=True), F.group_norm(x.mT, 1, eps=1e-8).mT)


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


@pytest.mark.parametrize("mask", [None, MASK])
def test_prelu_and_its_moments_over_frames_and_channels(mask):
    torch.manual_seed(0)
    x, slope = torch.randn(3, 9, 4, **WIDE), torch.full((1,), 0.3, **WIDE)
    real = torch.ones(3, 9, dtype=torch.bool) if mask is None else mask
    expected = torch.where(x > 0, x, slope * x)
    rows = [row[ok] for row, ok in zip(expected, real, strict=True)]
    normal = torch.cat([(row - row.mean()) / (row.var(correction=0) + 1e-3).sqrt() for row in rows])
    for normalised, result in ((False, expected[real]), (True, normal)):
        given = x if mask is None else x.masked_fill(~mask[..., None], torch.nan)
        p, mean, rate = prelu_moments(given, slope, mask, 1e-3)
        assert not p[~real].any()
        y = ((p - mean) * rate if normalised else p)[real]
        torch.testing.assert_close(y, result)
        torch.manual_seed(1)
        probe, leaves = torch.randn_like(result), (x, slope)
        theirs = torch.autograd.grad((result * probe).sum(), leaves, retain_graph=True)
        torch.testing.assert_close(gradients(y, leaves), theirs)


def test_moments_of_a_long_sequence_keep_their_digits():
    torch.manual_seed(0)
    x, slope = torch.randn(1, 4000, 64) + 1, torch.full((1,), 0.25)
    for ours, theirs in zip(prelu_moments(x, slope), prelu_moments(x.double(), slope.double()), strict=True):
        assert (ours - theirs).norm() < 1e-6 * theirs.norm()


def test_half_precision_of_a_long_sequence():
    torch.manual_seed(0)
    x = torch.randn(1, 5000, 16) + 3
    y = over_time(x.bfloat16(), None, 1e-8, jointly=True)
    assert y.dtype == torch.bfloat16
    assert (y.float() - over_time(x, None, 1e-8, jointly=True)).norm() < 2e-2 * y.float().norm()
