"""The fast forms of depthwise convolution against sums over shifted copies, values and gradients."""

import pytest
import torch
from torch.nn import functional as F

from core.ops import depthwise as module
from core.ops.depthwise import depthwise, depthwise_reference, silu_depthwise


def gradients(y, leaves):
    torch.manual_seed(1)
    return torch.autograd.grad((y * torch.randn_like(y)).sum(), leaves)


def tensors(length, kernel, channels=6):
    torch.manual_seed(0)
    shapes = ((2, length, channels), (channels, 1, kernel), (channels,))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", [1, 2, 4, 9, 17])
@pytest.mark.parametrize("length", [1, 2, 7, 30])
def test_sequences(length, kernel, causal, dilation):
    x, weight, bias = tensors(length, kernel)
    y = depthwise(x, weight, bias, causal=causal, dilation=dilation)
    expected = depthwise_reference(x, weight, bias, causal=causal, dilation=dilation)
    torch.testing.assert_close(y, expected)
    leaves = (x, weight, bias)
    torch.testing.assert_close(gradients(y, leaves), gradients(expected, leaves))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 30])
def test_silu_plus_its_convolution(length, causal):
    x, weight, _ = tensors(length, 9)
    y = silu_depthwise(x, weight, causal=causal)
    hidden = F.silu(x)
    expected = hidden + depthwise_reference(hidden, weight, causal=causal)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients(y, (x, weight)), gradients(expected, (x, weight)))
    with torch.no_grad():
        untouched = x.clone()
        torch.testing.assert_close(silu_depthwise(x, weight, causal=causal), expected)
        torch.testing.assert_close(x, untouched)
        torch.testing.assert_close(silu_depthwise(untouched, weight, causal=causal, overwrite=True), expected)


def test_gradients_of_a_weight_in_pieces(monkeypatch):
    x, weight, _ = tensors(30, 5)
    whole = gradients(depthwise(x, weight), (weight,))
    monkeypatch.setattr(module, "_PIECE", 6 * 7)
    torch.testing.assert_close(gradients(depthwise(x, weight), (weight,)), whole)


def test_one_gradient_alone_and_strided_input():
    x, weight, _ = tensors(7, 3)
    expected = gradients(depthwise_reference(x, weight), (x, weight))
    torch.testing.assert_close(gradients(depthwise(x, weight.detach()), (x,))[0], expected[0])
    torch.testing.assert_close(gradients(depthwise(x.detach(), weight), (weight,))[0], expected[1])
    turned = x.detach().mT.contiguous().mT
    torch.testing.assert_close(depthwise(turned, weight), depthwise_reference(x, weight))


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="only sequences have one"):
        depthwise(torch.randn(1, 2, 2, 4), torch.randn(4, 1, 3, 3), dilation=2)
