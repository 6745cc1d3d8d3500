"""Attention to chosen regions against a loop over regions."""

import pytest
import torch

from core.ops import routed
from core.ops.routed import routed_attention, routed_attention_reference, top_regions


@pytest.mark.parametrize("chosen", [1, 2, 4, 6])
@pytest.mark.parametrize("filled", [False, True])
def test_fast_form_is_the_definition(chosen, filled, monkeypatch):
    torch.manual_seed(0)
    q, k = (torch.randn(2, 6, 4, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    v = torch.randn(2, 6, 4, 2, 5, dtype=torch.float64, requires_grad=True)
    regions = top_regions(*(t.flatten(3).mean(2) for t in (q, k)), chosen)
    real = None
    if filled:
        real = torch.rand(6, 4) > 0.4
        real[:, 0] = True
    monkeypatch.setattr(routed, "_PIECE", 200)  # several pieces
    ours = routed_attention(q, k, v, regions, real=real, scale=0.7)
    theirs = routed_attention_reference(q, k, v, regions, real=real, scale=0.7)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(ours)
    both = (torch.autograd.grad(y, [q, k, v], probe) for y in (ours, theirs))
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_choice_is_by_the_product_of_means_and_carries_no_gradient():
    queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], requires_grad=True)
    keys = torch.tensor([[[0.0, 2.0], [3.0, 0.0]]])
    assert top_regions(queries, keys, 1).tolist() == [[[1], [0]]]
    assert top_regions(queries, keys, 5).shape == (1, 2, 2)
    assert not top_regions(queries, keys, 1).is_floating_point()
