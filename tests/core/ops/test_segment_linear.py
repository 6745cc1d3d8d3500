import pytest
import torch

from core.ops import segment_linear
from core.ops.segment_linear import segment_linear_attention, segment_linear_attention_reference

# Queries and keys of each segment: single ones, none of either, few (pairs), many (states).
SIZES = [(1, 1), (0, 3), (4, 0), (3, 5), (40, 33), (2, 60), (50, 1), (0, 0), (17, 17)]


def given(dtype=torch.float64):
    made = torch.Generator().manual_seed(0)
    queries, keys = (torch.tensor([0, *sizes]).cumsum(0) for sizes in zip(*SIZES, strict=True))
    q, k, v = (
        torch.randn(n, 2, width, generator=made, dtype=torch.float64)
        for n, width in ((int(queries[-1]), 8), (int(keys[-1]), 8), (int(keys[-1]), 5))
    )
    return [t.to(dtype).requires_grad_() for t in (q.relu(), k.relu(), v)], queries, keys


@pytest.mark.parametrize("form", ["as chosen", "padded"])
def test_every_form_is_the_definition(form, monkeypatch):
    leaves, queries, keys = given()
    expected = segment_linear_attention_reference(*leaves, queries, keys, eps=1e-6)
    if form == "padded":
        made = segment_linear._padded(*leaves, queries, keys, 1e-6)
    else:
        made = segment_linear_attention(*leaves, queries, keys, eps=1e-6)
    torch.testing.assert_close(made, expected, rtol=1e-10, atol=1e-12)
    probe = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=expected.dtype)
    for ours, theirs in zip(
        torch.autograd.grad((made * probe).sum(), leaves),
        torch.autograd.grad((expected * probe).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("cheaper", [True, False])
def test_both_orders_of_the_products_agree(cheaper, monkeypatch):
    monkeypatch.setattr(segment_linear, "_pairs_are_cheaper", lambda q, k, v: cheaper)
    leaves, queries, keys = given()
    made = segment_linear_attention(*leaves, queries, keys, eps=1e-6)
    expected = segment_linear_attention_reference(*leaves, queries, keys, eps=1e-6)
    torch.testing.assert_close(made, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(made.sum(), leaves), torch.autograd.grad(expected.sum(), leaves), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_half_precision_sums_in_single():
    """Two thousand keys: sums in half precision would lose the last of them."""
    k = torch.full((2048, 1, 1), 1.0, dtype=torch.float16)
    v = torch.linspace(0, 1, 2048, dtype=torch.float16)[:, None, None]
    offsets = torch.tensor([0, 2048])
    y = segment_linear_attention(k[:4], k, v, torch.tensor([0, 4]), offsets)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), torch.full((4, 1, 1), 0.5), atol=1e-3, rtol=0)


def test_nothing_in_nothing_out():
    empty = torch.zeros(0, 2, 4, requires_grad=True)
    offsets = torch.zeros(3, dtype=torch.int64)
    y = segment_linear_attention(empty, empty, empty, offsets, offsets)
    y.sum().backward()
    assert y.shape == (0, 2, 4) and empty.grad.shape == empty.shape
