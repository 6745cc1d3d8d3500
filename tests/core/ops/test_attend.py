import pytest
import torch

from core.ops import attend as module
from core.ops.attend import attend, attend_reference, causal_mask


def heads(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def same(fast, slow, leaves):
    """Values and gradients agree in float64."""
    probe = torch.randn(slow.shape, generator=torch.Generator().manual_seed(9), dtype=slow.dtype)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    ours = torch.autograd.grad((fast * probe).sum(), leaves)
    theirs = torch.autograd.grad((slow * probe).sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


MASKS = {
    "none": None,
    "pairs": (5, 7),
    "keys of each sample": (2, 1, 1, 7),
    "all": (2, 3, 5, 7),
}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bias", [None, (5, 7), (3, 5, 7), (1, 3, 5, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize("causal", [False, True])
def test_attend_is_the_definition(monkeypatch, fused, mask, bias, causal):
    monkeypatch.setattr(module, "fused_is_faster", lambda q, k, bias: fused)
    q, k, v = heads(2, 3, 5, 4), heads(2, 3, 7, 4, seed=1), heads(2, 3, 7, 6, seed=2)
    leaves = [q, k, v]
    if bias is not None:
        bias = heads(*bias, seed=3)
        leaves.append(bias)
    if MASKS[mask] is not None:
        mask = torch.rand(MASKS[mask], generator=torch.Generator().manual_seed(4)) > 0.4
        mask[..., 0, :] = False  # a query, or a whole sample, without keys
    else:
        mask = None
    fast = attend(q, k, v, bias=bias, mask=mask, causal=causal)
    same(fast, attend_reference(q, k, v, bias=bias, mask=mask, causal=causal), leaves)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("mask", [(4, 4), (1, 4, 4), "full"])
def test_any_leading_axes(lead, mask):
    q = heads(*lead, 2, 4, 3)
    shape = (*lead, 1, 1, 4) if mask == "full" else mask
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.3
    bias = torch.randn(2, 4, 4, dtype=torch.float64)
    same(attend(q, q, q, mask=mask), attend_reference(q, q, q, mask=mask), [q])
    same(attend(q, q, q, bias=bias), attend_reference(q, q, q, bias=bias), [q])
    same(attend(q, q, q, causal=True), attend_reference(q, q, q, causal=True), [q])


def test_causal_is_aligned_at_the_right():
    assert causal_mask(2, 3).tolist() == [[True, True, False], [True, True, True]]
    q, k = heads(1, 1, 5, 4), heads(1, 1, 5, 4, seed=1)
    whole = attend(q, k, k, causal=True)
    torch.testing.assert_close(attend(q[:, :, 3:], k, k, causal=True), whole[:, :, 3:])
    torch.testing.assert_close(attend(q[:, :, 4:], k, k, causal=True), whole[:, :, 4:])


@pytest.mark.parametrize("learned", [True, False])
def test_query_without_keys_gives_zero_and_finite_gradients(learned):
    q = heads(2, 2, 3, 4)
    bias = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=learned)
    mask = torch.tensor([True, False])[:, None, None, None].expand(2, 1, 3, 3)
    y = attend(q, q, q, bias=bias, mask=mask)
    assert not y[1].any()
    y.sum().backward()
    assert q.grad.isfinite().all()
    assert not q.grad[1].any()


def test_no_keys_at_all():
    q, k = heads(2, 2, 3, 4), heads(2, 2, 0, 4)
    y = attend(q, k, k)
    assert y.shape == (2, 2, 3, 4)
    assert not y.any()
    y.sum().backward()


def test_scale_and_dropout():
    q = heads(1, 2, 6, 4)
    torch.testing.assert_close(attend(q, q, q, scale=2.0), attend_reference(q, q, q, scale=2.0))
    for bias in (None, torch.zeros(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)):
        ones = torch.ones(1, 2, 6, 4, dtype=torch.float64)
        torch.manual_seed(0)
        dropped = torch.stack([attend(q, q, ones, bias=bias, dropout=0.5).detach() for _ in range(400)])
        assert dropped.std() > 0.1
        assert abs(dropped.mean() - 1) < 0.05


def test_plain_form_only_for_short_learned_biases():
    q, long = heads(1, 1, 4, 2), heads(1, 1, 257, 2)
    bias = torch.zeros(1, 1, 4, 4, requires_grad=True)
    assert not module.fused_is_faster(q, q, bias)
    assert module.fused_is_faster(q, long, bias)
    assert module.fused_is_faster(q, q, bias.detach())
    assert module.fused_is_faster(q, q, None)
    with torch.no_grad():
        assert module.fused_is_faster(q, q, bias)
