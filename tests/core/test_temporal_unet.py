"""Layers at half the rate: any length, padding without a trace, the sum that the formula says."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from core.blocks import blocks
from core.channels import MLP
from core.mixers import Attention
from core.resample import TimeReduction
from core.temporal_unet import TemporalUNet

DIM = 6


def network(depth=2, **options):
    torch.manual_seed(0)
    inner = blocks(DIM, depth, partial(Attention, heads=2), partial(MLP, hidden=8))
    return TemporalUNet(DIM, inner, **options).double()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 10])
def test_reduction_by_its_formula(length):
    torch.manual_seed(0)
    reduce = TimeReduction(DIM).double()
    x = torch.randn(2, length, DIM, dtype=torch.float64)
    wide = F.pad(x, (0, 0, 0, 6))
    count = -(-length // 2)
    expected = sum(wide[:, tap : tap + 2 * count : 2] * reduce.conv.weight[:, 0, tap] for tap in range(5))
    tokens, mask, way = reduce(x)
    torch.testing.assert_close(tokens, reduce.linear(expected + reduce.conv.bias))
    assert mask is None and way.restore(tokens).shape == x.shape


def test_every_coarse_token_is_given_to_its_fine_ones():
    unet = network(depth=0)
    x = torch.randn(1, 5, DIM, dtype=torch.float64)
    coarse = unet.reduce(x).tokens
    expected = x + unet.restore(coarse[:, [0, 0, 1, 1, 2]])
    torch.testing.assert_close(unet(x), expected)


@pytest.mark.parametrize("options", [{}, {"kernel": 4, "stride": 3}, {"kernel": 3, "stride": 1}])
def test_a_sequence_in_a_batch_is_what_it_is_alone(options):
    unet = network(**options)
    lengths = torch.tensor([9, 1, 6, 4])
    mask = torch.arange(9) < lengths[:, None]
    x = torch.randn(4, 9, DIM, dtype=torch.float64).masked_fill(~mask[..., None], torch.nan).requires_grad_()
    y = unet(x, mask)
    assert not y[~mask].any()
    probe = torch.randn_like(y)
    (given,) = torch.autograd.grad((y * probe).sum(), x)
    for row, result, length, weight, gradient in zip(x.detach(), y, lengths.tolist(), probe, given, strict=True):
        alone = row[None, :length].requires_grad_()
        own = unet(alone)
        torch.testing.assert_close(result[:length], own[0])
        expected = torch.autograd.grad((own * weight[:length]).sum(), alone)[0][0]
        torch.testing.assert_close(gradient[:length], expected)
        assert not gradient[length:].any()


def test_inside_there_are_half_as_many_tokens():
    unet, seen = network(), []
    for layer in unet.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    unet(torch.randn(1, 11, DIM, dtype=torch.float64))
    assert seen == [6, 6]


def test_a_kernel_shorter_than_its_stride():
    with pytest.raises(ValueError, match="leaves tokens out"):
        TimeReduction(DIM, kernel=2, stride=3)
