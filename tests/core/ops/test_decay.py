import pytest
import torch

from core.ops.decay import decay_linear_attention, decay_linear_attention_reference


def inputs(length):
    random = torch.Generator().manual_seed(0)
    shapes = [(2, length, 3, 4), (2, length, 3, 4), (2, length, 3, 5), (2, length, 3)]
    q, k, v, g = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in shapes)
    return [t.requires_grad_() for t in (q, k, v, -g.abs())]


@pytest.mark.parametrize("length", [1, 7, 33])
@pytest.mark.parametrize("chunk", [1, 8, 64])
def test_values_and_gradients_of_the_recurrence(length, chunk):
    leaves = inputs(length)
    start = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    ours = decay_linear_attention(*leaves, initial_state=start, chunk=chunk)
    theirs = decay_linear_attention_reference(*leaves, initial_state=start)
    torch.testing.assert_close(ours, theirs)
    probe, leaves = [torch.randn_like(t) for t in ours], [*leaves, start]
    torch.testing.assert_close(torch.autograd.grad(ours, leaves, probe), torch.autograd.grad(theirs, leaves, probe))


def test_two_halves_are_the_whole():
    leaves = inputs(20)
    y, last = decay_linear_attention(*leaves, chunk=8)
    first, state = decay_linear_attention(*(t[:, :9] for t in leaves), chunk=8)
    second, end = decay_linear_attention(*(t[:, 9:] for t in leaves), initial_state=state, chunk=8)
    torch.testing.assert_close(torch.cat([first, second], 1), y)
    torch.testing.assert_close(end, last)


def test_decays_that_underflow_stay_finite():
    q, k, v, g = (t.detach().float() for t in inputs(300))
    y, _ = decay_linear_attention(q, k, v, 50 * g)
    exact, _ = decay_linear_attention_reference(q.double(), k.double(), v.double(), 50 * g.double())
    assert ((y - exact).norm() / exact.norm()).item() < 1e-5
