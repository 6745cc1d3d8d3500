"""Attention with a learned bias that keeps no scores: equal to the definition, and linear in memory."""

import pytest
import torch

from core.ops import attend as attend_module
from core.ops import biased_attention as module
from core.ops.attend import attend, attend_reference
from core.ops.biased_attention import biased_attention
from core.ops.groups import attend_groups, attend_groups_reference
from core.partitions import Windows


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def heads(lead=(4,), width=5):
    return normal(*lead, 3, 6, 5), normal(*lead, 3, 7, 5, seed=1), normal(*lead, 3, 7, width, seed=2)


def same(fast, slow, leaves):
    probe = normal(*slow.shape, seed=9).detach()
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    pairs = (torch.autograd.grad((y * probe).sum(), leaves) for y in (fast, slow))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2 * 3 * 42, 10**6])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("allowed", [None, (1, 1, 6, 7), (4, 1, 6, 7), (4, 3, 1, 7)])
def test_equal_to_the_definition(monkeypatch, chunk, shared, allowed):
    monkeypatch.setattr(module, "_CHUNK_CPU", chunk)
    q, k, v = heads()
    bias = normal(1 if shared else 4, 3, 6, 7, seed=3)
    if allowed is not None:
        allowed = torch.rand(allowed, generator=torch.Generator().manual_seed(4)) > 0.4
        allowed[0, :, 0] = False  # queries without keys
    same(
        biased_attention(q, k, v, bias, allowed=allowed, scale=0.3),
        attend_reference(q, k, v, bias=bias, mask=allowed, scale=0.3),
        [q, k, v, bias],
    )


def test_values_may_have_another_width_and_heads_any_strides():
    packed = normal(4, 6, 3, 3, 5)
    q, k, _ = (t.transpose(1, 2) for t in packed.unbind(2))
    v, bias = normal(4, 3, 6, 2, seed=1), normal(1, 3, 6, 6, seed=2)
    same(biased_attention(q, k, v, bias), attend_reference(q, k, v, bias=bias), [packed, v, bias])


def test_gradients_by_differences():
    q, k, v = (t.detach()[:2, :1].requires_grad_() for t in heads())
    allowed = torch.ones(1, 1, 6, 7, dtype=torch.bool).tril()
    assert torch.autograd.gradcheck(
        lambda *given: biased_attention(*given, allowed=allowed), (q, k, v, normal(1, 1, 6, 7, seed=3))
    )


def test_second_derivatives_are_refused():
    q, k, v = heads()
    (first,) = torch.autograd.grad(biased_attention(q, k, v, normal(1, 3, 6, 7)).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def kept(run):
    """Numbers that autograd keeps for the backward pass, every storage once."""
    sizes = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (sizes.__setitem__(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()), t)[1], lambda t: t
    ):
        y = run()
    assert y.requires_grad
    return sum(sizes.values())


def test_no_scores_are_kept():
    groups, rows, width = 8, 128, 4
    q = torch.randn(groups, 2, rows, width, requires_grad=True)
    bias = torch.randn(1, 2, rows, rows, requires_grad=True)
    allowed = torch.ones(1, 1, rows, rows, dtype=torch.bool).tril()
    scores = 4 * groups * 2 * rows * rows
    assert kept(lambda: attend(q, q, q, bias=bias, mask=allowed)) < scores / 4
    assert kept(lambda: attend(q, q, q, bias=bias, mask=allowed, dropout=0.1)) > scores


@pytest.mark.parametrize("lead", [(), (2,), (2, 2)])
@pytest.mark.parametrize("bias", [(6, 7), (3, 6, 7), "shared", "whole"])
@pytest.mark.parametrize("mask", [None, (6, 7), "keys", "whole"])
@pytest.mark.parametrize("causal", [False, True])
def test_attend_takes_it_for_any_leading_axes(monkeypatch, lead, bias, mask, causal):
    monkeypatch.setattr(attend_module, "keeps_no_scores", lambda q, k, bias, dropout: True)
    q, k, v = heads(lead)
    shapes = {"whole": (*lead, 3, 6, 7), "keys": (*lead, 1, 1, 7), "shared": (*(1 for _ in lead), 3, 6, 7)}
    bias = normal(*shapes.get(bias, bias), seed=3)
    if mask is not None:
        mask = torch.rand(shapes.get(mask, mask), generator=torch.Generator().manual_seed(4)) > 0.3
    same(
        attend(q, k, v, bias=bias, mask=mask, causal=causal),
        attend_reference(q, k, v, bias=bias, mask=mask, causal=causal),
        [q, k, v, bias],
    )


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("own", [False, True])
def test_groups_of_shifted_windows(monkeypatch, batch, own):
    for where in ("core.ops.attend", "core.ops.groups"):
        monkeypatch.setattr(f"{where}.keeps_no_scores", lambda q, k, bias, dropout: bias is not None)
    plan = Windows((3, 2), (1, 1)).plan((6, 6))
    q, k, v = (normal(batch, 6, 6, 2, 3, seed=i) for i in range(3))
    counts = [part.shape[1] for part in plan.split_queries(q)]
    biases = [normal(count if own else 1, 2, 6, 6, seed=i) for i, count in enumerate(counts)]
    same(
        attend_groups(q, k, v, plan, biases=biases),
        attend_groups_reference(q, k, v, plan.as_index(), biases=biases),
        [q, k, v, *biases],
    )


def test_low_precision_and_autocast():
    q, k, v = (t.detach().bfloat16() for t in heads())
    bias = normal(1, 3, 6, 7).detach().float().requires_grad_()
    exact = attend_reference(q.double(), k.double(), v.double(), bias=bias.double())
    torch.testing.assert_close(biased_attention(q, k, v, bias).double(), exact, rtol=3e-2, atol=3e-2)
    q, k, v = (t.detach().float().requires_grad_() for t in heads())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = biased_attention(q, k, v, bias)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert bias.grad.isfinite().all() and q.grad.isfinite().all()
