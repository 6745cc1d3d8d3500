import pytest
import torch

from core.ops import selective_scan as module
from core.ops.selective_scan import selective_scan, selective_scan_reference


def inputs(batch=2, length=7, width=6, size=3, groups=None):
    random = torch.Generator().manual_seed(0)
    shape = (batch, length, size) if groups is None else (batch, length, groups, size)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    made = [
        draw(batch, length, width),
        draw(batch, length, width).abs(),
        -draw(width, size).exp(),
        draw(*shape),
        draw(*shape),
    ]
    return [t.requires_grad_() for t in made]


def gradients(outputs, leaves):
    random = torch.Generator().manual_seed(1)
    loss = sum((t * torch.randn(t.shape, generator=random, dtype=t.dtype)).sum() for t in outputs)
    return torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("length", [1, 2, 7, 33])
@pytest.mark.parametrize("chunk", [1, 200, 10**6])
def test_values_and_gradients_of_the_reference_whatever_the_chunk(length, chunk, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    leaves = inputs(length=length)
    start = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    ours = selective_scan(*leaves, initial_state=start)
    theirs = selective_scan_reference(*leaves, initial_state=start)
    torch.testing.assert_close(ours, theirs)
    leaves.append(start)
    torch.testing.assert_close(gradients(ours, leaves), gradients(theirs, leaves))


def test_gradcheck():
    assert torch.autograd.gradcheck(lambda *a: selective_scan(*a), inputs(1, 3, 2, 2))


def test_groups_are_scans_of_their_own_channels():
    u, dt, a, b, c = inputs(groups=2)
    y, state = selective_scan(u, dt, a, b, c)
    for group, part in enumerate((slice(0, 3), slice(3, 6))):
        own, after = selective_scan_reference(u[..., part], dt[..., part], a[part], b[:, :, group], c[:, :, group])
        torch.testing.assert_close(y[..., part], own)
        torch.testing.assert_close(state[:, part], after)


def test_two_halves_are_the_whole():
    u, dt, a, b, c = inputs(length=9)
    y, last = selective_scan(u, dt, a, b, c)
    first, state = selective_scan(u[:, :4], dt[:, :4], a, b[:, :4], c[:, :4])
    second, end = selective_scan(u[:, 4:], dt[:, 4:], a, b[:, 4:], c[:, 4:], initial_state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), y)
    torch.testing.assert_close(end, last)


def test_float32_at_sizes_where_products_of_decays_underflow():
    leaves = [t.detach() for t in inputs(1, 1000, 4, 16)]
    leaves[1] = leaves[1].clamp(min=0.1)
    exact = selective_scan_reference(*leaves)[0]
    y = selective_scan(*(t.float() for t in leaves))[0]
    assert ((y - exact).norm() / exact.norm()).item() < 1e-6


def test_nothing_as_large_as_all_states_is_kept():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        selective_scan(*inputs(1, 400, 4, 8))
    assert sum(kept) < 400 * 4 * 8


def test_an_empty_sequence_keeps_the_state():
    u, dt, a, b, c = inputs(length=0)
    start = torch.ones(2, 6, 3, dtype=torch.float64)
    y, state = selective_scan(u, dt, a, b, c, initial_state=start)
    assert y.shape == (2, 0, 6)
    assert torch.equal(state, start)


def test_shapes_that_do_not_belong_together_are_said():
    u, dt, a, b, c = inputs()
    with pytest.raises(ValueError, match=r"they must be \(B, T, D\)"):
        selective_scan(u, dt, a[:, :2], b, c)
