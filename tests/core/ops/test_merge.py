import pytest
import torch

from core.ops.attend import attend_reference
from core.ops.merge import KeySet, attend_sets, merge


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def test_sets_under_one_softmax_are_one_attention():
    q, k, v = draw(2, 3, 5, 4), draw(2, 3, 9, 4, seed=1), draw(2, 3, 9, 6, seed=2)
    mask = torch.rand(2, 1, 5, 9, generator=torch.Generator().manual_seed(3)) > 0.3
    mask[1, :, 2] = False
    bias = draw(1, 3, 5, 9, seed=4)
    whole = attend_reference(q, k, v, bias=bias, mask=mask)
    sets = [KeySet(k[..., s, :], v[..., s, :], bias[..., s], mask[..., s]) for s in (slice(0, 2), slice(2, 9))]
    parts = attend_sets(q, sets)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)
    ours = torch.autograd.grad(parts.sum(), [q, k, v, bias])
    theirs = torch.autograd.grad(whole.sum(), [q, k, v, bias])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_empty_sets_and_shared_keys():
    q, k = draw(2, 3, 5, 4), draw(1, 3, 7, 4, seed=1)
    empty = KeySet(k[..., :0, :], k[..., :0, :])
    expected = attend_reference(q, k.expand(2, -1, -1, -1), k.expand(2, -1, -1, -1))
    torch.testing.assert_close(attend_sets(q, [empty, KeySet(k, k)]), expected)
    assert not attend_sets(q, [empty, empty]).any()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_merging_does_not_depend_on_order(order):
    q, k, v = (draw(1, 2, n, 4, seed=n).detach() for n in (5, 9, 9))
    scores = q @ k.transpose(-2, -1) * 0.5
    parts = [
        (scores[..., s].softmax(-1) @ v[..., s, :], scores[..., s].logsumexp(-1))
        for s in (slice(0, 2), slice(2, 3), slice(3, 9))
    ]
    out, lse = merge([parts[i] for i in order])
    torch.testing.assert_close(out, scores.softmax(-1) @ v)
    torch.testing.assert_close(lse, scores.logsumexp(-1))
    nothing = (torch.zeros_like(out), torch.full_like(lse, -torch.inf))
    torch.testing.assert_close(merge([nothing, (out, lse)])[0], out)
    assert not merge([nothing, nothing])[0].any()
