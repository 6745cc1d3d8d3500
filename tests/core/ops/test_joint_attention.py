"""Joint attention against (T, T) matrices; the turned copies against the position class."""

import pytest
import torch

from core.ops.joint_attention import joint_attention, joint_attention_reference, offset_rotate, turns
from core.positions.rotary import RotaryInterleaved

WIDE = {"dtype": torch.float64, "requires_grad": True}


def gradients(y, leaves):
    torch.manual_seed(1)
    return torch.autograd.grad((y * torch.randn_like(y)).sum(), leaves)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 5, 8, 16, 21])
def test_equals_its_definition(length, causal, padded):
    torch.manual_seed(0)
    projections = torch.randn(3, length, 4, 6, **WIDE)
    values = torch.randn(3, length, 10, **WIDE)
    lengths = torch.tensor([length, max(length // 2, 1), 0]) if padded else None
    if lengths is not None:
        real = torch.arange(length) < lengths[:, None]
        values = (values * real[..., None]).detach().requires_grad_()
    y = joint_attention(projections, values, 8, lengths=lengths, causal=causal)
    expected = joint_attention_reference(projections, values, 8, lengths=lengths, causal=causal)
    torch.testing.assert_close(y, expected)
    leaves = (projections, values)
    torch.testing.assert_close(gradients(y, leaves), gradients(expected, leaves))


def test_dropped_weights_and_their_gradient():
    torch.manual_seed(0)
    projections, values = torch.randn(1, 7, 4, 6, **WIDE), torch.randn(1, 7, 3, **WIDE)

    def run(projections, values):
        torch.manual_seed(2)
        return joint_attention(projections, values, 4, rate=0.5)

    assert not torch.allclose(run(projections, values), joint_attention(projections, values, 4))
    torch.autograd.gradcheck(run, (projections, values))


def test_the_mean_over_dropped_weights_is_the_whole():
    torch.manual_seed(0)
    projections, values = torch.randn(1, 4, 4, 6), torch.randn(1, 4, 3)
    whole = joint_attention(projections, values, 4)
    many = joint_attention(projections.expand(20000, -1, -1, -1), values.expand(20000, -1, -1), 4, rate=0.3)
    torch.testing.assert_close(many.mean(0, keepdim=True), whole, atol=0.02 * whole.abs().max().item(), rtol=0)


@pytest.mark.parametrize(("width", "turned"), [(10, 6), (7, 4), (6, 6), (5, 0)])
def test_turned_copies(width, turned):
    torch.manual_seed(0)
    x, scale, offset = torch.randn(2, 9, width, **WIDE), torch.randn(4, width, **WIDE), torch.randn(4, width, **WIDE)
    y = offset_rotate(x, scale, offset, turns(9, turned, like=x))
    copies = x[..., None, :] * scale + offset
    places = torch.arange(9, dtype=torch.float64)[:, None]
    first = RotaryInterleaved()(copies[..., :turned], places) if turned else copies[..., :0]
    expected = torch.cat([first, copies[..., turned:]], -1)
    torch.testing.assert_close(y, expected)
    leaves = (x, scale, offset)
    torch.testing.assert_close(gradients(y, leaves), gradients(expected, leaves))


def test_half_precision():
    torch.manual_seed(0)
    projections, values = torch.randn(1, 30, 4, 6), torch.randn(1, 30, 4)
    expected = joint_attention(projections, values, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = joint_attention(projections.bfloat16(), values.bfloat16(), 8)
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() < 2e-2 * expected.norm()


def test_turns_of_a_long_recording_keep_their_digits():
    late = turns(600_001, 32, like=torch.zeros(1))[-1]
    angle = 600_000 * 10000.0 ** -(torch.arange(0, 32, 2, dtype=torch.float64) / 32)
    torch.testing.assert_close(late.real.double(), angle.cos(), atol=1e-6, rtol=0)
